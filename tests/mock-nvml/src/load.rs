//! How busy a device is, and with what.

use std::ffi::{c_uint, c_ulonglong};

use crate::{
    abi::{Handle, INSUFFICIENT_SIZE, INVALID_ARGUMENT, OK, Ret, VERSION_MISMATCH, getter, put},
    device::{Device, device},
    identity::whole,
    state::Process,
};

getter!(nvmlDeviceGetUtilizationRates, Utilization, |device: Device| {
    whole(&device).map(|gpu| Utilization { gpu: gpu.utilization, memory: 0 })
});
getter!(nvmlDeviceGetPowerUsage, c_uint, |device: Device| whole(&device).map(|gpu| gpu.power));
getter!(nvmlDeviceGetEnforcedPowerLimit, c_uint, |device: Device| whole(&device).map(|gpu| gpu.power_limit));
getter!(nvmlDeviceGetCurrentClocksThrottleReasons, c_ulonglong, |device: Device| {
    whole(&device).map(|gpu| gpu.throttle)
});

/// `nvmlUtilization_t`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

/// `nvmlMemory_v2_t`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct MemoryV2 {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

/// `NVML_STRUCT_VERSION(Memory, 2)`.
const MEMORY_V2: usize = size_of::<MemoryV2>() | 2 << 24;

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(handle: Handle, out: *mut MemoryV2) -> Ret {
    let device = match device(handle) {
        Ok(device) => device,
        Err(code) => return code,
    };
    // SAFETY: NVML's callers give a structure in which they have written its version.
    let version = unsafe { (*out).version };
    if version as usize != MEMORY_V2 {
        return VERSION_MISMATCH;
    }
    let (total, used) = match device.slice() {
        Some(slice) => (slice.memory_total, slice.memory_used),
        None => (device.gpu().memory_total, device.gpu().memory_used),
    };
    let answer = MemoryV2 { version, total, reserved: 0, free: total.saturating_sub(used), used };
    // SAFETY: as above.
    unsafe { put(Ok(answer), out) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetTemperature(handle: Handle, _sensor: c_uint, out: *mut c_uint) -> Ret {
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { put(device(handle).and_then(|device| whole(&device).map(|gpu| gpu.temperature)), out) }
}

/// `nvmlProcessInfo_t`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ProcessInfo {
    pid: c_uint,
    memory: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

/// With too little room, only says how much is needed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    handle: Handle,
    count: *mut c_uint,
    out: *mut ProcessInfo,
) -> Ret {
    let device = match device(handle) {
        Ok(device) => device,
        Err(code) => return code,
    };
    let processes: &[Process] = device.slice().map_or(&device.gpu().processes, |slice| &slice.processes);
    if count.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: not null; NVML's callers write there how much room they have.
    let room = unsafe { count.replace(c_uint::try_from(processes.len()).unwrap_or(c_uint::MAX)) };
    if processes.is_empty() {
        return OK;
    }
    if out.is_null() || processes.len() > room as usize {
        return INSUFFICIENT_SIZE;
    }
    for (at, process) in processes.iter().enumerate() {
        let none = c_uint::MAX;
        let info = ProcessInfo { pid: process.pid, memory: process.memory, gpu_instance: none, compute_instance: none };
        // SAFETY: there is room for all.
        unsafe { out.add(at).write(info) };
    }
    OK
}
