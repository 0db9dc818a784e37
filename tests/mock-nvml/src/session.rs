//! Initialisation, the system, and how callers come by handles.

use std::ffi::{CStr, c_char, c_int, c_uint};

use crate::{
    abi::{Handle, INVALID_ARGUMENT, NOT_FOUND, OK, Ret, UNINITIALIZED, put, put_text},
    device::handle,
    identity::uuid,
    world::{state, world},
};

#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlInit_v2() -> Ret {
    let mut world = world();
    world.look_again();
    if world.state.init_error == 0 {
        world.sessions += 1;
    }
    world.state.init_error
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> Ret {
    nvmlInit_v2()
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlShutdown() -> Ret {
    let mut world = world();
    match world.sessions.checked_sub(1) {
        Some(left) => {
            world.sessions = left;
            OK
        }
        None => UNINITIALIZED,
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlErrorString(_code: Ret) -> *const c_char {
    c"mock NVML".as_ptr()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetDriverVersion(out: *mut c_char, room: c_uint) -> Ret {
    // SAFETY: NVML's callers say how much room there is.
    unsafe { put_text(state().map(|state| state.driver_version.clone()), out, room) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(out: *mut c_int) -> Ret {
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { put(Ok(12_080), out) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetCount_v2(out: *mut c_uint) -> Ret {
    let count = state().map(|state| c_uint::try_from(state.gpus.len()).unwrap_or(c_uint::MAX));
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { put(count, out) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, out: *mut Handle) -> Ret {
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { put(handle_of(index as usize), out) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetHandleByUUID(wanted: *const c_char, out: *mut Handle) -> Ret {
    // SAFETY: NVML's callers give a text that ends with zero.
    let wanted = unsafe { CStr::from_ptr(wanted) }.to_string_lossy();
    let named = |gpus: &[crate::state::Gpu]| (0..gpus.len()).find(|&index| uuid(index, &gpus[index]) == wanted);
    let found = state().and_then(|state| named(&state.gpus).ok_or(NOT_FOUND)).and_then(handle_of);
    // SAFETY: NVML's callers give a place for the answer.
    unsafe { put(found, out) }
}

fn handle_of(index: usize) -> Result<Handle, Ret> {
    let state = state()?;
    let gpu = state.gpus.get(index).ok_or(INVALID_ARGUMENT)?;
    if gpu.handle_error == 0 { Ok(handle(index, None)) } else { Err(gpu.handle_error) }
}
