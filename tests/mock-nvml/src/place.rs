//! Which file this copy of the library takes its state from.

use std::{
    env,
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    ptr,
};

/// `Dl_info` of `<dlfcn.h>`.
#[repr(C)]
struct DlInfo {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
}

/// The file beside the library if there is one, else the one that the environment names.
pub(crate) fn state_file() -> Option<PathBuf> {
    let beside = library().map(|mut path| {
        path.as_mut_os_string().push(".json");
        path
    });
    beside.filter(|path| path.exists()).or_else(|| env::var_os("MOCK_NVML_STATE").map(PathBuf::from))
}

/// Where the dynamic loader found this library.
fn library() -> Option<PathBuf> {
    static OWN: u8 = 0;
    let mut info = DlInfo { file: ptr::null(), base: ptr::null_mut(), symbol: ptr::null(), address: ptr::null_mut() };
    // SAFETY: `info` outlives the call, and any address may be asked for.
    let found = unsafe { dladdr(ptr::from_ref(&OWN).cast(), &raw mut info) };
    if found == 0 || info.file.is_null() {
        return None;
    }
    // SAFETY: the loader keeps the name for as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(info.file) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}
