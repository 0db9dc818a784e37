//! Event sets. Each event of the file is told to one set, once.

use std::{
    ffi::{c_uint, c_ulonglong, c_void},
    ptr,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    abi::{Handle, OK, Ret, TIMEOUT, UNINITIALIZED, getter, put},
    device::{Device, device, handle},
    world::{Registration, World, world},
};

/// Time between two looks at the file of somebody who waits.
const LOOK: Duration = Duration::from_millis(50);
/// Single-bit and double-bit ECC errors, and critical Xids.
const SUPPORTED: c_ulonglong = 1 | 2 | 8;

/// `nvmlEventSet_t`.
type Set = *mut c_void;

/// `nvmlEventData_t`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct EventData {
    device: Handle,
    kind: c_ulonglong,
    data: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

getter!(nvmlDeviceGetSupportedEventTypes, c_ulonglong, |_: Device| Ok(SUPPORTED));

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlEventSetCreate(out: *mut Set) -> Ret {
    let mut world = world();
    if world.sessions == 0 {
        return UNINITIALIZED;
    }
    world.sets += 1;
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { put(Ok(ptr::without_provenance_mut(world.sets)), out) }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlEventSetFree(set: Set) -> Ret {
    world().registrations.retain(|registration| registration.set != set.addr());
    OK
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlDeviceRegisterEvents(handle: Handle, mask: c_ulonglong, set: Set) -> Ret {
    match device(handle) {
        Err(code) => code,
        Ok(device) => {
            world().registrations.push(Registration { set: set.addr(), gpu: device.index, mask });
            OK
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlEventSetWait_v2(set: Set, out: *mut EventData, timeout_ms: c_uint) -> Ret {
    let (begin, limit) = (Instant::now(), Duration::from_millis(timeout_ms.into()));
    loop {
        if let Some(event) = world().next_event(set.addr()) {
            // SAFETY: NVML's callers give a place for the answer.
            return unsafe { put(Ok(event), out) };
        }
        if begin.elapsed() >= limit {
            return TIMEOUT;
        }
        sleep(LOOK);
    }
}

impl World {
    /// The first event that `set` waits for and that its GPU was not told. Those that came before somebody waited are
    /// kept, unlike by the driver, so that who writes the file need not know when that is.
    fn next_event(&mut self, set: usize) -> Option<EventData> {
        for registration in self.registrations.iter().filter(|registration| registration.set == set) {
            let told = self.told.entry(registration.gpu).or_default();
            let wanted =
                |event: &crate::state::Event| event.gpu == registration.gpu && event.kind & registration.mask != 0;
            let mut untold = self.state.events.iter().enumerate().skip(*told);
            if let Some((at, event)) = untold.find(|(_, event)| wanted(event)) {
                *told = at + 1;
                let (gpu_instance, compute_instance) = (c_uint::MAX, c_uint::MAX);
                let device = handle(event.gpu, None);
                return Some(EventData { device, kind: event.kind, data: event.xid, gpu_instance, compute_instance });
            }
        }
        None
    }
}
