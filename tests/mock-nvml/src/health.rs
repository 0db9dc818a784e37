//! How well a device is.

use std::ffi::{c_int, c_longlong, c_uint, c_ulonglong};

use crate::{
    abi::{Handle, INVALID_ARGUMENT, NOT_SUPPORTED, OK, Ret, put},
    device::device,
    identity::whole,
    state::{Gpu, NVLINKS},
};

/// Kinds of `nvmlMemoryErrorType_t`: only uncorrected errors are in the state.
const UNCORRECTED: c_uint = 1;
/// `NVML_VALUE_TYPE_UNSIGNED_INT`.
const UNSIGNED_INT: c_uint = 1;

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    handle: Handle,
    kind: c_uint,
    _counter: c_uint,
    out: *mut c_ulonglong,
) -> Ret {
    let count = |gpu: &Gpu| if kind == UNCORRECTED { gpu.ecc_uncorrected } else { 0 };
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { put(device(handle).and_then(|device| whole(&device).map(count)), out) }
}

/// `nvmlFieldValue_t`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct FieldValue {
    field: c_uint,
    scope: c_uint,
    timestamp: c_longlong,
    latency: c_longlong,
    value_type: c_uint,
    code: Ret,
    /// A union; its integers begin where it does.
    value: c_ulonglong,
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetFieldValues(handle: Handle, count: c_int, values: *mut FieldValue) -> Ret {
    let device = match device(handle) {
        Ok(device) => device,
        Err(code) => return code,
    };
    let Ok(count) = usize::try_from(count) else { return INVALID_ARGUMENT };
    if values.is_null() {
        return INVALID_ARGUMENT;
    }
    for at in 0..count {
        // SAFETY: NVML's callers give `count` structures in which they have written which field they want.
        let value = unsafe { &mut *values.add(at) };
        value.value_type = UNSIGNED_INT;
        let answer = whole(&device).and_then(|gpu| field(gpu, value.field));
        (value.code, value.value) = answer.map_or_else(|code| (code, 0), |number| (OK, number.into()));
    }
    OK
}

/// Numbers of fields are NVML's `NVML_FI_*`.
fn field(gpu: &Gpu, field: c_uint) -> Result<c_uint, Ret> {
    match field {
        91 => Ok(NVLINKS),
        142..=145 => Ok(gpu.remapped[field as usize - 142]),
        230 => gpu.recovery_action.ok_or(NOT_SUPPORTED),
        _ => Err(NOT_SUPPORTED),
    }
}
