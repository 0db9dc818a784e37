//! Small files of the state directory: JSON, replaced whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// Most of a file that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// Why such a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateFileError {
    /// The file system refuses.
    #[error("cannot {doing} {path}, {purpose}: {source}")]
    File {
        /// To read or to write.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What it is for.
        purpose: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path}, {purpose}, is damaged: {source}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        purpose: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// One file that holds one `T`.
#[derive(Debug, Clone)]
pub(crate) struct StateFile<T> {
    path: PathBuf,
    purpose: &'static str,
    content: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned + Default> StateFile<T> {
    /// The file `name` of `state_dir`. `purpose` completes "PATH, ..." in errors, such as "which says who holds what".
    pub(crate) fn new(state_dir: &Path, name: &str, purpose: &'static str) -> Self {
        Self { path: state_dir.join(name), purpose, content: PhantomData }
    }

    /// What it holds; the default where there is no file. Blocks.
    ///
    /// # Errors
    /// If it is there and cannot be read, or is not what was written.
    pub(crate) fn read(&self) -> Result<T, StateFileError> {
        let mut text = Vec::new();
        match File::open(&self.path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(source) => return Err(self.refused("read", source)),
        }
        let (path, purpose) = (self.path.clone(), self.purpose);
        serde_json::from_slice(&text).map_err(|source| StateFileError::Damaged { path, purpose, source })
    }

    /// On disk when it returns; a crash leaves the old content or the new. Blocks.
    ///
    /// # Errors
    /// Of the file system; the old content is then in place.
    pub(crate) fn write(&self, content: &T) -> Result<(), StateFileError> {
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec(content)?;
            let half = self.path.with_added_extension("new");
            let mut file = File::create(&half)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(half, &self.path)?;
            self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        write().map_err(|source| self.refused("write", source))
    }

    fn refused(&self, doing: &'static str, source: io::Error) -> StateFileError {
        StateFileError::File { doing, path: self.path.clone(), purpose: self.purpose, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(dir: &Path) -> StateFile<Vec<u32>> {
        StateFile::new(dir, "numbers.json", "which holds numbers")
    }

    #[test]
    fn what_was_written_is_read_and_nothing_is_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = numbers(dir.path());
        assert_eq!(file.read().unwrap(), [0; 0]);
        file.write(&vec![1, 2]).unwrap();
        assert_eq!(file.read().unwrap(), [1, 2]);
    }

    #[test]
    fn damage_and_refusal_name_the_file_and_its_purpose() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("numbers.json"), "[1,").unwrap();
        let error = numbers(dir.path()).read().unwrap_err().to_string();
        assert!(error.contains("numbers.json, which holds numbers, is damaged: "), "{error}");
        let error = numbers(Path::new("/nonexistent")).write(&vec![1]).unwrap_err().to_string();
        assert!(error.starts_with("cannot write /nonexistent/numbers.json, which holds numbers: "), "{error}");
    }
}
