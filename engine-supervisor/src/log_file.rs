//! A log file that stays within its size: when it is full it becomes `.1`, in place of the one before. Those of one
//! launch are set aside as `.previous` when the next begins: four files at the most.

use std::{
    fs::{File as StdFile, rename},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use tokio::{
    fs::{self, File, OpenOptions},
    io::AsyncWriteExt as _,
};

/// Name of the log in a replica's directory.
const FILE: &str = "engine.log";
/// Bytes of the end of a file in which its last lines are looked for.
const TAIL: u64 = 1 << 20;

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    max: u64,
    open: Option<(File, u64)>,
}

/// Where the log of the current launch is in the directory of a replica.
pub(crate) fn path_in(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Makes the log of `directory` that of the launch before.
pub(crate) fn set_aside(directory: &Path) -> io::Result<()> {
    let (current, previous) = (path_in(directory), previous_in(directory));
    for extension in ["", "1"] {
        let [from, to] = [&current, &previous].map(|path| path.with_added_extension(extension));
        let moved = match rename(from, &to) {
            // What is there is of the launch before the one that is set aside now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::remove_file(to),
            moved => moved,
        };
        moved.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}

/// The last lines, at most `max`, of the launch before; none if it left no log.
pub(crate) fn read_previous(directory: &Path, max: usize) -> io::Result<Vec<String>> {
    let path = previous_in(directory);
    let text = [read_tail(&path.with_added_extension("1"))?, read_tail(&path)?].concat();
    let mut lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    Ok(lines.split_off(lines.len().saturating_sub(max)))
}

fn previous_in(directory: &Path) -> PathBuf {
    path_in(directory).with_added_extension("previous")
}

/// The last bytes of `path`, from the start of a line; none if there is no such file.
fn read_tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = match StdFile::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let skipped = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(skipped))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    if skipped > 0 {
        let line = tail.iter().position(|&byte| byte == b'\n').map_or(tail.len(), |end| end + 1);
        tail.drain(..line);
    }
    Ok(tail)
}

impl LogFile {
    /// At `path`, with at most `max` bytes in it and as many in the one before it. Opened at the first line.
    pub const fn new(path: PathBuf, max: u64) -> Self {
        Self { path, max, open: None }
    }

    /// Lets go of the file, which somebody may have moved away; the next line opens one at its path, or makes it.
    pub fn let_go(&mut self) {
        self.open = None;
    }

    /// Appends one or more lines, each with its end; they go into one file.
    ///
    /// # Errors
    /// Those of the file system; the lines are lost, the next ones try again.
    pub async fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let size = lines.len() as u64;
        let (mut file, mut written) = match self.open.take() {
            Some(open) => open,
            None => open(&self.path).await?,
        };
        if written + size > self.max && written > 0 {
            drop(file);
            fs::rename(&self.path, self.path.with_added_extension("1")).await?;
            (file, written) = open(&self.path).await?;
        }
        file.write_all(lines).await?;
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
            log.append(format!("line {number:04}\n").as_bytes()).await.unwrap();
        }
        let now = std::fs::read_to_string(&path).unwrap();
        let before = std::fs::read_to_string(path.with_added_extension("1")).unwrap();
        assert!(now.len() <= 100 && before.len() <= 100);
        assert!((before + &now).ends_with("line 0998\nline 0999\n"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn the_last_lines_of_the_launch_before_are_kept_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_previous(directory.path(), 3).unwrap(), [""; 0]);
        for launch in 0..3 {
            set_aside(directory.path()).unwrap();
            // The last launch fills one file only: nothing of those before may be left beside it.
            let mut log = LogFile::new(path_in(directory.path()), if launch < 2 { 40 } else { 1000 });
            for number in 0..9 {
                log.append(format!("launch {launch} line {number}\n").as_bytes()).await.unwrap();
            }
        }
        let last = ["launch 1 line 6", "launch 1 line 7", "launch 1 line 8"];
        assert_eq!(read_previous(directory.path(), 3).unwrap(), last);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
        set_aside(directory.path()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(read_previous(directory.path(), 100).unwrap().len(), 9);
    }

    #[test]
    fn a_tail_begins_with_a_whole_line() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(previous_in(directory.path()), "0123456789\n".repeat(200_000)).unwrap();
        let lines = read_previous(directory.path(), usize::MAX).unwrap();
        assert!(lines.len() as u64 > TAIL / 11 - 2 && lines.iter().all(|line| line == "0123456789"));
    }
}
