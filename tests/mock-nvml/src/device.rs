//! Device handles: addresses in a table that nobody reads.

use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    abi::{Handle, INVALID_ARGUMENT, Ret},
    state::{Gpu, Slice, State},
    world::state,
};

/// Most GPUs of the host.
const GPUS_MAX: usize = 64;
/// Most slices of a GPU.
pub(crate) const SLICES_MAX: usize = 7;
/// Handles of one GPU: its own, then those of its slices.
const ROW: usize = SLICES_MAX + 1;
/// A call that takes long looks this often whether it still does.
const DELAY_STEP: Duration = Duration::from_millis(10);

static TABLE: [u8; GPUS_MAX * ROW] = [0; GPUS_MAX * ROW];

/// What a handle stands for.
pub(crate) struct Device {
    pub(crate) index: usize,
    pub(crate) slice: Option<usize>,
    state: Arc<State>,
}

/// The handle of a GPU, or of one of its slices.
pub(crate) fn handle(gpu: usize, slice: Option<usize>) -> Handle {
    let place = gpu * ROW + slice.map_or(0, |slice| slice + 1);
    TABLE.as_ptr().wrapping_add(place).cast_mut().cast()
}

/// What a call on `handle` works with, after as long as that call takes.
pub(crate) fn device(handle: Handle) -> Result<Device, Ret> {
    let place = handle.addr().wrapping_sub(TABLE.as_ptr().addr());
    let (index, slot) = (place / ROW, place % ROW);
    let slice = slot.checked_sub(1);
    if place >= TABLE.len() {
        return Err(INVALID_ARGUMENT);
    }
    let state = after_delay(index)?;
    let gpu = state.gpus.get(index).ok_or(INVALID_ARGUMENT)?;
    if slice.is_some_and(|slice| !gpu.mig || slice >= gpu.slices.len()) {
        return Err(INVALID_ARGUMENT);
    }
    if gpu.error == 0 { Ok(Device { index, slice, state }) } else { Err(gpu.error) }
}

/// The state, once the GPU's delay is over or the file no longer has it.
fn after_delay(index: usize) -> Result<Arc<State>, Ret> {
    let begin = Instant::now();
    loop {
        let state = state()?;
        let delay = state.gpus.get(index).map_or(0, |gpu| gpu.delay_ms);
        if begin.elapsed() >= Duration::from_millis(delay) {
            return Ok(state);
        }
        sleep(DELAY_STEP);
    }
}

impl Device {
    // The index was checked when the device was made, and the state is still the same.
    pub(crate) fn gpu(&self) -> &Gpu {
        &self.state.gpus[self.index]
    }

    pub(crate) fn slice(&self) -> Option<&Slice> {
        self.slice.map(|slice| &self.gpu().slices[slice])
    }
}
