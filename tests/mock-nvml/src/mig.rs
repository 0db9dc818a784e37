//! GPUs that are divided.

use std::ffi::c_uint;

use crate::{
    abi::{Handle, NOT_FOUND, OK, Ret, getter, put},
    device::{Device, SLICES_MAX, device, handle},
    identity::whole,
};

getter!(nvmlDeviceGetMaxMigDeviceCount, c_uint, |device: Device| {
    whole(&device).map(|gpu| if gpu.mig { c_uint::try_from(SLICES_MAX).unwrap_or(0) } else { 0 })
});

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigMode(
    parent: Handle,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> Ret {
    let mode = device(parent).and_then(|device| whole(&device).map(|gpu| c_uint::from(gpu.mig)));
    // SAFETY: NVML's callers give a place for each answer.
    let first = unsafe { put(mode, current) };
    // SAFETY: as above.
    if first == OK { unsafe { put(mode, pending) } } else { first }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    parent: Handle,
    index: c_uint,
    out: *mut Handle,
) -> Ret {
    let found = device(parent).and_then(|device| {
        let (gpu, index) = (whole(&device)?, index as usize);
        let there = gpu.mig && index < gpu.slices.len().min(SLICES_MAX);
        if there { Ok(handle(device.index, Some(index))) } else { Err(NOT_FOUND) }
    });
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { put(found, out) }
}
