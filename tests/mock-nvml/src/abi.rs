//! Types and codes of NVIDIA's header, and the writing of answers through its pointers.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// `nvmlReturn_t`.
pub(crate) type Ret = c_int;
/// `nvmlDevice_t`.
pub(crate) type Handle = *mut c_void;

pub(crate) const OK: Ret = 0;
pub(crate) const UNINITIALIZED: Ret = 1;
pub(crate) const INVALID_ARGUMENT: Ret = 2;
pub(crate) const NOT_SUPPORTED: Ret = 3;
pub(crate) const NOT_FOUND: Ret = 6;
pub(crate) const INSUFFICIENT_SIZE: Ret = 7;
pub(crate) const TIMEOUT: Ret = 10;
pub(crate) const VERSION_MISMATCH: Ret = 25;

/// Writes an answer.
///
/// # Safety
/// `out` is null or may be written to.
pub(crate) unsafe fn put<T>(answer: Result<T, Ret>, out: *mut T) -> Ret {
    match answer {
        Err(code) => code,
        Ok(_) if out.is_null() => INVALID_ARGUMENT,
        Ok(value) => {
            // SAFETY: not null, and the caller's to write to.
            unsafe { out.write(value) };
            OK
        }
    }
}

/// Writes a text with its final zero.
///
/// # Safety
/// `out` is null or has room for `room` characters.
pub(crate) unsafe fn put_text(answer: Result<String, Ret>, out: *mut c_char, room: c_uint) -> Ret {
    match answer {
        Err(code) => code,
        Ok(_) if out.is_null() => INVALID_ARGUMENT,
        Ok(text) if text.len() >= room as usize => INSUFFICIENT_SIZE,
        Ok(text) => {
            // SAFETY: not null, and text and zero are within `room`.
            unsafe {
                out.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
                out.add(text.len()).write(0);
            }
            OK
        }
    }
}

/// A function of NVML that gives one value of a device.
macro_rules! getter {
    ($name:ident, $type:ty, $value:expr) => {
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name(handle: $crate::abi::Handle, out: *mut $type) -> $crate::abi::Ret {
            // SAFETY: NVML's callers give a place for the answer.
            unsafe { $crate::abi::put($crate::device::device(handle).and_then($value), out) }
        }
    };
}

/// A function of NVML that gives one text of a device.
macro_rules! text_getter {
    ($name:ident, $value:expr) => {
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name(
            handle: $crate::abi::Handle,
            out: *mut ::std::ffi::c_char,
            room: ::std::ffi::c_uint,
        ) -> $crate::abi::Ret {
            // SAFETY: NVML's callers say how much room there is.
            unsafe { $crate::abi::put_text($crate::device::device(handle).and_then($value), out, room) }
        }
    };
}

pub(crate) use {getter, text_getter};
