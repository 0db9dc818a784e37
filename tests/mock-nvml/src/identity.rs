//! What a device is and where it sits.

use std::ffi::{c_uint, c_ulong};

use crate::{
    abi::{Handle, INVALID_ARGUMENT, NOT_SUPPORTED, OK, Ret, getter, text_getter},
    device::{Device, device},
    state::{Gpu, NVLINKS},
};

text_getter!(nvmlDeviceGetUUID, |device: Device| Ok(device.uuid()));
text_getter!(nvmlDeviceGetName, |device: Device| Ok(device.name()));
text_getter!(nvmlDeviceGetSerial, |device: Device| Ok(format!("16500000000{:02}", device.index)));
getter!(nvmlDeviceGetIndex, c_uint, |device: Device| c_uint::try_from(device.index).map_err(|_| INVALID_ARGUMENT));
getter!(nvmlDeviceGetCurrPcieLinkGeneration, c_uint, |device: Device| whole(&device).map(|gpu| gpu.pcie_gen));
getter!(nvmlDeviceGetCurrPcieLinkWidth, c_uint, |device: Device| whole(&device).map(|gpu| gpu.pcie_width));

/// The GPU of a call that slices do not support.
pub(crate) fn whole(device: &Device) -> Result<&Gpu, Ret> {
    if device.slice.is_none() { Ok(device.gpu()) } else { Err(NOT_SUPPORTED) }
}

/// The UUID of a GPU.
pub(crate) fn uuid(index: usize, gpu: &Gpu) -> String {
    gpu.uuid.clone().unwrap_or_else(|| format!("GPU-00000000-0000-4000-8000-{index:012x}"))
}

impl Device {
    fn uuid(&self) -> String {
        let Some((index, slice)) = self.slice.zip(self.slice()) else { return uuid(self.index, self.gpu()) };
        slice.uuid.clone().unwrap_or_else(|| format!("MIG-00000000-0000-4000-{:04x}-{index:012x}", self.index))
    }

    fn name(&self) -> String {
        let name = &self.gpu().name;
        self.slice().map_or_else(|| name.clone(), |slice| format!("{name} MIG {}", slice.profile))
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetNvLinkState(handle: Handle, link: c_uint, out: *mut c_uint) -> Ret {
    let state = |device: Device| {
        let gpu = whole(&device)?;
        if link < NVLINKS { Ok(c_uint::from(!gpu.nvlinks_down.contains(&link))) } else { Err(INVALID_ARGUMENT) }
    };
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { crate::abi::put(device(handle).and_then(state), out) }
}

/// A bit for each NUMA node near the device.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMemoryAffinity(
    handle: Handle,
    words: c_uint,
    out: *mut c_ulong,
    _scope: c_uint,
) -> Ret {
    let device = match device(handle) {
        Ok(device) => device,
        Err(code) => return code,
    };
    let node = device.gpu().numa.unwrap_or(if device.index < 4 { 0 } else { 1 });
    let (word, bit) = (node / c_ulong::BITS, node % c_ulong::BITS);
    if out.is_null() || word >= words {
        return INVALID_ARGUMENT;
    }
    for at in 0..words {
        // SAFETY: NVML's callers give room for `words` words.
        unsafe { out.add(at as usize).write(if at == word { 1 << bit } else { 0 }) };
    }
    OK
}
