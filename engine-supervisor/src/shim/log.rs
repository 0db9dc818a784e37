//! What an engine writes, on its way from the pipe into memory and the log files.

use std::{path::Path, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::Mutex,
};

use crate::{
    LogReader, LogSource,
    line::LineSplitter,
    log::ReplicaLog,
    log_file::{self, LogFile},
};

/// Largest log file, in bytes; each of the last two launches leaves at most two of them.
const FILE_MAX: u64 = 8 << 20;
/// Bytes read from a pipe at once.
const READ: usize = 16 << 10;

/// The log of one launch.
#[derive(Debug)]
pub(super) struct EngineLog {
    lines: Arc<ReplicaLog>,
    file: Mutex<FileState>,
}

#[derive(Debug)]
struct FileState {
    file: LogFile,
    /// Said once, not per line.
    complained: bool,
}

impl EngineLog {
    /// An empty log in `directory`; that of the launch before is set aside.
    pub(super) fn new(directory: &Path) -> Arc<Self> {
        let lines = ReplicaLog::new();
        if let Err(error) = log_file::set_aside(directory) {
            lines.append(LogSource::Supervisor, &format!("the log of the launch before cannot be kept: {error}"));
        }
        let file = LogFile::new(log_file::path_in(directory), FILE_MAX);
        Arc::new(Self { lines, file: Mutex::new(FileState { file, complained: false }) })
    }

    /// Follows it from the oldest line in memory.
    pub(super) fn reader(&self) -> LogReader {
        LogReader::new(self.lines.clone())
    }

    /// Copies a pipe until it is closed.
    pub(super) async fn copy(self: Arc<Self>, mut pipe: impl AsyncRead + Unpin, source: LogSource) {
        let mut splitter = LineSplitter::default();
        let mut buffer = vec![0; READ];
        while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
            self.append(source, splitter.push(&buffer[..read])).await;
        }
        self.append(source, splitter.finish().into_iter().collect()).await;
    }

    /// A line of the shim's own, for those who read the file: the daemon knows it already.
    pub(super) async fn note(&self, line: &str) {
        let mut state = self.file.lock().await;
        if let Err(error) = state.file.append(format!("{line}\n").as_bytes()).await
            && !std::mem::replace(&mut state.complained, true)
        {
            let complaint = format!("the log file cannot be written, only the last lines are kept: {error}");
            self.lines.append(LogSource::Supervisor, &complaint);
        }
    }

    /// The access log's lines about the daemon's own questions are left out: one a second would push everything else out.
    async fn append(&self, source: LogSource, mut lines: Vec<String>) {
        lines.retain(|line| !(line.contains("GET /health ") || line.contains("GET /metrics ")));
        lines.iter().for_each(|line| self.lines.append(source, line));
        if !lines.is_empty() {
            // At once: each write is a way to another thread and back, and the engine waits for it when it is fast.
            self.note(&lines.join("\n")).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_cannot_be_written_loses_no_line_in_memory() {
        let log = EngineLog::new(Path::new("/proc/no/such/directory"));
        log.clone().copy(&b"kept\n\"GET /health HTTP/1.1\" 200\nand this"[..], LogSource::Stdout).await;
        let mut reader = log.reader();
        let lines: Vec<_> = std::iter::from_fn(|| reader.available()).collect();
        let engine: Vec<&str> =
            lines.iter().filter(|line| line.source == LogSource::Stdout).map(|line| &*line.text).collect();
        assert_eq!(engine, ["kept", "and this"]);
        assert_eq!(lines.len(), 3, "it complains once: {lines:?}");
    }
}
