//! What an engine wrote: the last lines in memory, and readers that follow. Its shim keeps more of them in files.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Lines kept in memory per replica: a Python traceback through several processes is about 150.
pub(crate) const LINES_MAX: usize = 500;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The engine, on its standard output.
    Stdout,
    /// The engine, on its standard error.
    Stderr,
    /// The supervisor, about the engine.
    Supervisor,
}

/// Which launches of a replica's engine a log is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launch {
    /// All, the current one last, as far back as lines are kept.
    Current,
    /// The one before the current one, alone: why it had to be launched again.
    Previous,
}

/// The log of one replica, over all its launches.
#[derive(Debug)]
pub(crate) struct ReplicaLog {
    ring: Mutex<Ring>,
    /// The number of the next line, or `None` when there will be none.
    next: watch::Sender<Option<u64>>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    next: u64,
    /// The number of the first line of the current launch.
    launch: u64,
    /// What is kept of the launch before.
    previous: VecDeque<LogLine>,
}

impl ReplicaLog {
    /// An empty log.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { ring: Mutex::default(), next: watch::Sender::new(Some(0)) })
    }

    /// Appends one line.
    pub(crate) fn append(&self, source: LogSource, text: &str) {
        let next = self.ring().push(source, text);
        self.next.send_replace(Some(next));
    }

    /// Begins a launch; returns the number of its first line.
    pub(crate) fn begin_launch(&self) -> u64 {
        let mut ring = self.ring();
        ring.previous = ring.lines.iter().filter(|line| line.number >= ring.launch).cloned().collect();
        ring.launch = ring.next;
        ring.launch
    }

    /// Takes `lines` for those of the launch before, which nobody here has seen.
    pub(crate) fn set_previous(&self, lines: Vec<LogLine>) {
        self.ring().previous = lines.into();
    }

    /// The lines of the launch before; `None` if there are none.
    pub(crate) fn previous(&self) -> Option<Arc<Self>> {
        let lines = self.ring().previous.clone();
        let next = lines.back()?.number + 1;
        let ring = Ring { lines, next, ..Ring::default() };
        Some(Arc::new(Self { ring: Mutex::new(ring), next: watch::Sender::new(None) }))
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

    #[tokio::test]
    async fn the_ring_is_bounded_and_a_slow_reader_sees_the_gap() {
        let log = ReplicaLog::new();
        let mut reader = LogReader::new(log.clone());
        log.append(LogSource::Stdout, "first");
        assert_eq!(reader.next().await.unwrap().number, 0);
        for number in 0..LINES_MAX + 10 {
            log.append(LogSource::Stderr, &format!("line {number}"));
        }
        assert_eq!(log.since(0).len(), LINES_MAX);
        assert_eq!(reader.next().await.unwrap().number, 11);
    }

    #[tokio::test]
    async fn a_reader_follows_and_ends_with_the_replica() {
        let log = ReplicaLog::new();
        for number in 0..10 {
            log.append(LogSource::Stdout, &number.to_string());
        }
        let mut reader = LogReader::new(log.clone()).tail(2);
        assert_eq!(&*reader.next().await.unwrap().text, "8");
        assert_eq!(&*reader.next().await.unwrap().text, "9");
        assert_eq!(reader.available(), None);
        let writer = async {
            log.append(LogSource::Stdout, "last");
            log.close();
        };
        let (line, ()) = tokio::join!(reader.next(), writer);
        assert_eq!(&*line.unwrap().text, "last");
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn the_launch_before_is_kept_when_the_next_one_begins() {
        let log = ReplicaLog::new();
        log.begin_launch();
        log.append(LogSource::Stderr, "first");
        assert!(log.previous().is_none());
        assert_eq!(log.begin_launch(), 1);
        log.append(LogSource::Stderr, "second");
        let words = |log: &Arc<ReplicaLog>| -> Vec<String> {
            let mut reader = LogReader::new(log.previous().unwrap());
            std::iter::from_fn(|| reader.available()).map(|line| line.text.to_string()).collect()
        };
        assert_eq!(words(&log), ["first"]);
        assert_eq!(log.begin_launch(), 2);
        assert_eq!(words(&log), ["second"]);
        assert_eq!(LogReader::new(log.previous().unwrap()).tail(0).next().await, None, "it is over");
    }
}
