//! The file system that models are on.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW};

/// How much a file system can still take; tests have smaller ones.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Bytes that this process may still write to the file system of `path`.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// The one that is there.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn free(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Makes `path` and what is above it below `root`. None of them may be a link: it could lead out of the cache.
pub(super) fn make_directory(root: &Path, path: &Path) -> io::Result<()> {
    let below = path.strip_prefix(root).map_err(io::Error::other)?;
    let mut directory = root.to_owned();
    for part in below {
        directory.push(part);
        match fs::DirBuilder::new().mode(0o755).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ if is_directory(&directory) => {}
            _ => return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a link or a file")),
        }
    }
    Ok(())
}

/// Whether there is a directory, and not a link to one.
pub(super) fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Sets the time of the last change of `directory` to now.
pub(super) fn touch(directory: &Path) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    rustix::fs::futimens(File::open(directory)?, &Timestamps { last_access: now, last_modification: now })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_are_not_made_through_links() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make_directory(root.path(), &root.path().join("a/b")).unwrap();
        make_directory(root.path(), &root.path().join("a/b")).unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        assert!(make_directory(root.path(), &root.path().join("link/b")).is_err());
        assert!(make_directory(root.path(), outside.path()).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_real_disk_has_a_size() {
        assert!(RealDisk.free(Path::new("/")).unwrap() > 0);
        assert!(RealDisk.free(Path::new("/none")).is_err());
    }
}
