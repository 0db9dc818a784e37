//! Small facts on disk, for a daemon that comes after this one.

use std::{fs, io, path::Path};

use serde::{Serialize, de::DeserializeOwned};

/// Writes `value` to `path`: a reader sees the file before or the file after, never a part.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = path.with_added_extension("new");
    fs::write(&temporary, serde_json::to_vec(value)?)?;
    // No fsync: what loses the page cache ends the processes that it tells of, too.
    fs::rename(temporary, path)
}

/// What `path` holds; `None` if there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
