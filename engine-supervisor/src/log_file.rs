//! A log file that stays within its size: when it is full it becomes `.1`, in place of the one before.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::{
    fs::{self, File, OpenOptions},
    io::AsyncWriteExt as _,
};

/// An open log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    max: u64,
    open: Option<(File, u64)>,
}

impl LogFile {
    /// At `path`, with at most `max` bytes in it and as many in the one before it. Opened at the first line.
    pub(crate) const fn new(path: PathBuf, max: u64) -> Self {
        Self { path, max, open: None }
    }

    /// Appends `line` and a line end.
    ///
    /// # Errors
    /// Those of the file system; the line is lost, the next one tries again.
    pub(crate) async fn append(&mut self, line: &str) -> io::Result<()> {
        let size = line.len() as u64 + 1;
        let (mut file, mut written) = match self.open.take() {
            Some(open) => open,
            None => open(&self.path).await?,
        };
        if written + size > self.max && written > 0 {
            drop(file);
            fs::rename(&self.path, self.path.with_added_extension("1")).await?;
            (file, written) = open(&self.path).await?;
        }
        file.write_all(format!("{line}\n").as_bytes()).await?;
        file.flush().await?;
        self.open = Some((file, written + size));
        Ok(())
    }
}

/// The file, made if need be, and its length.
async fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path).await?;
    let written = file.metadata().await?.len();
    Ok((file, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_files_of_bounded_size_hold_the_last_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.log");
        let mut log = LogFile::new(path.clone(), 100);
        for number in 0..1000 {
            log.append(&format!("line {number:04}")).await.unwrap();
        }
        let now = std::fs::read_to_string(&path).unwrap();
        let before = std::fs::read_to_string(path.with_added_extension("1")).unwrap();
        assert!(now.len() <= 100 && before.len() <= 100);
        assert!((before + &now).ends_with("line 0998\nline 0999\n"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
