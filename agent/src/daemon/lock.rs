//! One daemon per state directory.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// Why the state directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// Somebody has it.
    #[error("another shoal agent runs with the state directory {0}: stop it first, or give this one its own stateDir")]
    Taken(PathBuf),
    /// The file system refuses.
    #[error("cannot use the state directory {dir}: {source}")]
    File {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The state directory is this daemon's; given back when the process ends, however it does.
#[derive(Debug)]
pub(super) struct StateLock {
    /// Open, it is the lock.
    _file: File,
}

impl StateLock {
    pub(super) fn take(dir: &Path) -> Result<Self, LockError> {
        let error = |source| LockError::File { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(error)?;
        let file = File::options().create(true).append(true).open(dir.join("lock")).map_err(error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Taken(dir.to_owned())),
            Err(errno) => Err(error(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_daemon_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path()).unwrap();
        assert!(matches!(StateLock::take(dir.path()), Err(LockError::Taken(_))));
        drop(first);
        StateLock::take(dir.path()).unwrap();
    }
}
