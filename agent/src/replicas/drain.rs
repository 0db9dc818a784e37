//! An operator's drain outlives a restart of the daemon: a file says so.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The file that is there while the node is drained.
#[derive(Debug)]
pub(super) struct DrainMark {
    dir: PathBuf,
}

impl DrainMark {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.to_owned() }
    }

    pub(super) fn is_set(&self) -> bool {
        self.path().exists()
    }

    /// Remembers it on disk before it returns.
    pub(super) fn set(&self, draining: bool) -> io::Result<()> {
        if draining {
            fs::File::create(self.path())?.sync_all()?;
        } else if let Err(error) = fs::remove_file(self.path())
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        fs::File::open(&self.dir)?.sync_all()
    }

    fn path(&self) -> PathBuf {
        self.dir.join("draining")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_remembered_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        DrainMark::new(dir.path()).set(true).unwrap();
        assert!(DrainMark::new(dir.path()).is_set());
        DrainMark::new(dir.path()).set(false).unwrap();
        DrainMark::new(dir.path()).set(false).unwrap();
        assert!(!DrainMark::new(dir.path()).is_set());
        assert!(DrainMark::new(Path::new("/nonexistent")).set(true).is_err());
    }
}
