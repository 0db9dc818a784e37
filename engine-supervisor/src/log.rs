//! What an engine wrote: the last lines in memory, more of them in a file, and readers that follow.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::log_file::LogFile;

/// Lines kept in memory per replica: a Python traceback through several processes is about 150.
const LINES_MAX: usize = 500;
/// Largest log file, in bytes; with the one before it, a replica's logs take at most twice this.
const FILE_MAX: u64 = 8 << 20;

/// One line of a replica's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its number, from 0; a gap to the line before says that the reader was too slow for what lies between.
    pub number: u64,
    /// Who wrote it.
    pub source: LogSource,
    /// The line without its end; longer ones than 2 KiB were cut.
    pub text: Arc<str>,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// The engine, on its standard output.
    Stdout,
    /// The engine, on its standard error.
    Stderr,
    /// The supervisor, about the engine.
    Supervisor,
}

/// The log of one replica, over all its launches.
#[derive(Debug)]
pub(crate) struct ReplicaLog {
    ring: Mutex<Ring>,
    /// The number of the next line, or `None` when there will be none.
    next: watch::Sender<Option<u64>>,
    file: AsyncMutex<FileState>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    next: u64,
}

#[derive(Debug)]
struct FileState {
    file: LogFile,
    /// Said once, not per line.
    complained: bool,
}

impl ReplicaLog {
    /// An empty log whose file is at `path`.
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            ring: Mutex::default(),
            next: watch::Sender::new(Some(0)),
            file: AsyncMutex::new(FileState { file: LogFile::new(path, FILE_MAX), complained: false }),
        })
    }

    /// Appends one line. A file that cannot be written costs a warning, not the line in memory.
    pub(crate) async fn append(&self, source: LogSource, text: &str) {
        let next = self.ring().push(source, text);
        self.next.send_replace(Some(next));
        let mut state = self.file.lock().await;
        if let Err(error) = state.file.append(text).await
            && !std::mem::replace(&mut state.complained, true)
        {
            tracing::warn!(%error, "cannot write the log file of an engine; its last lines are kept in memory only");
        }
    }

    /// Says that no line will follow: readers end.
    pub(crate) fn close(&self) {
        self.next.send_replace(None);
    }

    /// The number of the next line.
    pub(crate) fn position(&self) -> u64 {
        self.ring().next
    }

    /// The lines from `number` on that are still there.
    pub(crate) fn since(&self, number: u64) -> Vec<LogLine> {
        self.ring().lines.iter().filter(|line| line.number >= number).cloned().collect()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, source: LogSource, text: &str) -> u64 {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(LogLine { number: self.next, source, text: text.into() });
        self.next += 1;
        self.next
    }

    fn at(&self, number: u64) -> Option<LogLine> {
        let first = self.lines.front()?.number;
        let index = usize::try_from(number.max(first) - first).ok()?;
        self.lines.get(index).cloned()
    }
}

/// Reads a replica's log from the oldest line that is still in memory, and follows it.
#[derive(Debug, Clone)]
pub struct LogReader {
    log: Arc<ReplicaLog>,
    position: u64,
    next: watch::Receiver<Option<u64>>,
}

impl LogReader {
    pub(crate) fn new(log: Arc<ReplicaLog>) -> Self {
        let next = log.next.subscribe();
        Self { log, position: 0, next }
    }

    /// Goes to the last `lines` lines.
    #[must_use]
    pub fn tail(mut self, lines: u64) -> Self {
        self.position = self.log.position().saturating_sub(lines);
        self
    }

    /// The next line, if there is one already.
    pub fn available(&mut self) -> Option<LogLine> {
        let line = self.log.ring().at(self.position)?;
        self.position = line.number + 1;
        Some(line)
    }

    /// The next line, waited for; `None` once the replica is gone and all was read. Cancel safe.
    pub async fn next(&mut self) -> Option<LogLine> {
        loop {
            // Marked as seen before looking, so that a line written in between wakes the wait below.
            let open = self.next.borrow_and_update().is_some();
            if let Some(line) = self.available() {
                return Some(line);
            }
            if !open || self.next.changed().await.is_err() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, Arc<ReplicaLog>) {
        let directory = tempfile::tempdir().unwrap();
        let log = ReplicaLog::new(directory.path().join("engine.log"));
        (directory, log)
    }

    #[tokio::test]
    async fn the_ring_is_bounded_and_a_slow_reader_sees_the_gap() {
        let (_directory, log) = log();
        let mut reader = LogReader::new(log.clone());
        log.append(LogSource::Stdout, "first").await;
        assert_eq!(reader.next().await.unwrap().number, 0);
        for number in 0..LINES_MAX + 10 {
            log.append(LogSource::Stderr, &format!("line {number}")).await;
        }
        assert_eq!(log.since(0).len(), LINES_MAX);
        assert_eq!(reader.next().await.unwrap().number, 11);
    }

    #[tokio::test]
    async fn a_reader_follows_and_ends_with_the_replica() {
        let (_directory, log) = log();
        for number in 0..10 {
            log.append(LogSource::Stdout, &number.to_string()).await;
        }
        let mut reader = LogReader::new(log.clone()).tail(2);
        assert_eq!(&*reader.next().await.unwrap().text, "8");
        assert_eq!(&*reader.next().await.unwrap().text, "9");
        assert_eq!(reader.available(), None);
        let writer = async {
            log.append(LogSource::Stdout, "last").await;
            log.close();
        };
        let (line, ()) = tokio::join!(reader.next(), writer);
        assert_eq!(&*line.unwrap().text, "last");
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_loses_no_line_in_memory() {
        let log = ReplicaLog::new(PathBuf::from("/proc/no/such/directory/engine.log"));
        log.append(LogSource::Stdout, "kept").await;
        assert_eq!(&*log.since(0)[0].text, "kept");
    }
}
