//! An operator's drain outlives a restart of the daemon: a file says so.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tracing::error;

/// The file that is there while the node is drained.
#[derive(Debug)]
pub(super) struct DrainMark {
    path: PathBuf,
}

impl DrainMark {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("draining") }
    }

    pub(super) fn is_set(&self) -> bool {
        self.path.exists()
    }

    /// Remembers it, as well as the disk allows: a drain is worth doing even if a restart would forget it.
    pub(super) fn set(&self, draining: bool) {
        let result = if draining { fs::write(&self.path, "") } else { fs::remove_file(&self.path) };
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                error!(%error, path = %self.path.display(), "cannot remember the drain: it ends with a restart");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
