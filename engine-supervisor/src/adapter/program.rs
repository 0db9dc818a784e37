//! Whether a program is there, before a launch would find that it is not.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use crate::RefusalReason;

/// `program` as it will be executed: one without a `/` is looked for on `path`.
///
/// # Errors
/// [`RefusalReason::NoProgram`].
pub(super) fn find(program: &Path, path: Option<&OsString>) -> Result<PathBuf, RefusalReason> {
    let found = if program.components().count() > 1 {
        Some(program.to_owned()).filter(|file| is_executable(file))
    } else {
        path.and_then(|path| env::split_paths(path).map(|dir| dir.join(program)).find(|file| is_executable(file)))
    };
    found.ok_or_else(|| RefusalReason::NoProgram(program.display().to_string()))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_an_executable_file() {
        let path = OsString::from("/no/such:/usr/bin:/bin");
        assert!(find(Path::new("sh"), Some(&path)).is_ok_and(|found| found.is_absolute()));
        assert_eq!(find(Path::new("/bin/sh"), None), Ok("/bin/sh".into()));
        for missing in ["no-such-program", "/no/such/program", "/etc/passwd", "/bin"] {
            assert_eq!(find(Path::new(missing), Some(&path)), Err(RefusalReason::NoProgram(missing.to_owned())));
        }
        assert!(find(Path::new("sh"), None).is_err());
    }
}
