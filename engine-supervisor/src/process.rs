//! One running engine: a child that leads its own process group, its output, and its end.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    group::ProcessGroup,
    line::LineSplitter,
    log::{LogSource, ReplicaLog},
    record::ProcessRecord,
};

/// How long the last lines of an ended process are waited for: a child of it may hold the pipe open.
const LAST_LINES: Duration = Duration::from_millis(300);
/// Bytes read from a pipe at once.
const READ: usize = 16 << 10;

/// What to execute: these arguments and exactly this environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
}

/// A running process group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: u32,
    group: ProcessGroup,
    output: JoinSet<()>,
    directory: PathBuf,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running,
    /// The leader ended; its last lines are read until then.
    Exited(ExitStatus, Instant),
    /// What it forked is waited for.
    Reported,
    Gone,
}

/// What became of a process, in this order.
#[derive(Debug)]
pub(crate) enum ProcessEvent {
    /// The leader ended; what it forked may not have.
    Exited(ExitStatus),
    /// None of its group is left.
    GroupGone,
}

impl Process {
    /// Starts `command` in `directory`, where it is recorded too. The caller awaits [`Self::next`] until the group is
    /// gone; dropped before, the group is killed.
    ///
    /// # Errors
    /// If it cannot be executed, or cannot be recorded, in which case it was killed.
    pub(crate) fn spawn(command: &CommandLine, directory: &Path, log: &Arc<ReplicaLog>) -> io::Result<Self> {
        let mut child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir(directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process has no pid"))?;
        let group = ProcessGroup::new(pid).ok_or_else(|| io::Error::other("the process leads no group of its own"))?;
        let mut output = JoinSet::new();
        if let Some(pipe) = child.stdout.take() {
            output.spawn(copy_lines(pipe, LogSource::Stdout, log.clone()));
        }
        if let Some(pipe) = child.stderr.take() {
            output.spawn(copy_lines(pipe, LogSource::Stderr, log.clone()));
        }
        let process = Self { child, pid, group, output, directory: directory.to_owned(), state: State::Running };
        ProcessRecord::of(pid)?.write(directory)?;
        Ok(process)
    }

    /// The leader's pid.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// SIGTERM to the group.
    pub(crate) fn terminate(&self) {
        self.group.terminate();
    }

    /// SIGKILL to the group.
    pub(crate) fn kill(&self) {
        self.group.kill();
    }

    /// What happens next. Cancel safe.
    pub(crate) async fn next(&mut self) -> ProcessEvent {
        loop {
            match self.state {
                State::Running => self.state = State::Exited(self.wait().await, Instant::now() + LAST_LINES),
                State::Exited(status, until) => {
                    let _ = timeout_at(until, async { while self.output.join_next().await.is_some() {} }).await;
                    self.state = State::Reported;
                    return ProcessEvent::Exited(status);
                }
                State::Reported | State::Gone => {
                    self.group.gone().await;
                    self.forget();
                    return ProcessEvent::GroupGone;
                }
            }
        }
    }

    async fn wait(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap_or_else(|error| {
            // Only if somebody else reaps our children; that it ended is then all that is known.
            tracing::error!(pid = self.pid, %error, "cannot wait for an engine");
            ExitStatus::default()
        })
    }

    fn forget(&mut self) {
        self.state = State::Gone;
        if let Err(error) = ProcessRecord::remove(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove the record of an engine");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.state, State::Gone) {
            self.group.kill();
        }
    }
}

/// Copies a pipe into the log until it is closed.
async fn copy_lines(mut pipe: impl AsyncRead + Unpin, source: LogSource, log: Arc<ReplicaLog>) {
    let mut splitter = LineSplitter::default();
    let mut buffer = vec![0; READ];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        for line in splitter.push(&buffer[..read]) {
            append(&log, source, &line).await;
        }
    }
    if let Some(line) = splitter.finish() {
        append(&log, source, &line).await;
    }
}

/// The access log's lines about our own questions are left out: one a second would push everything else out.
async fn append(log: &ReplicaLog, source: LogSource, line: &str) {
    if !(line.contains("GET /health ") || line.contains("GET /metrics ")) {
        log.append(source, line).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run {
        directory: tempfile::TempDir,
        log: Arc<ReplicaLog>,
    }

    impl Run {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let log = ReplicaLog::new(directory.path().join("engine.log"));
            Self { directory, log }
        }

        fn sh(&self, script: &str) -> Process {
            let command = CommandLine {
                program: "/bin/sh".into(),
                args: vec!["-c".into(), script.into()],
                env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("ONLY".into(), "this".into())],
            };
            Process::spawn(&command, self.directory.path(), &self.log).unwrap()
        }

        fn lines(&self) -> Vec<String> {
            self.log.since(0).iter().map(|line| line.text.to_string()).collect()
        }

        async fn wrote(&self, text: &str) {
            let mut reader = crate::LogReader::new(self.log.clone());
            while let Some(line) = reader.next().await {
                if &*line.text == text {
                    return;
                }
            }
        }
    }

    async fn exit(process: &mut Process) -> ExitStatus {
        match process.next().await {
            ProcessEvent::Exited(status) => status,
            ProcessEvent::GroupGone => panic!("the leader ends first"),
        }
    }

    #[tokio::test]
    async fn output_and_environment_are_those_of_the_plan() {
        let run = Run::new();
        let mut process = run.sh("echo out; echo err >&2; echo '\"GET /health HTTP/1.1\" 200'; env; exit 3");
        assert_eq!(exit(&mut process).await.code(), Some(3));
        assert!(matches!(process.next().await, ProcessEvent::GroupGone));
        let lines = run.lines();
        for expected in ["out", "err", "ONLY=this"] {
            assert!(lines.iter().any(|line| line == expected), "{expected} is not in {lines:?}");
        }
        assert!(!lines.iter().any(|line| line.contains("/health")));
        assert!(!lines.iter().any(|line| line.starts_with("CARGO")), "the environment is clean");
    }

    #[tokio::test]
    async fn a_group_is_gone_only_when_all_of_it_is() {
        let run = Run::new();
        let mut process = run.sh("(trap '' TERM; echo child; exec sleep 300) & exit 0");
        assert_eq!(exit(&mut process).await.code(), Some(0));
        run.wrote("child").await;
        let early = tokio::time::timeout(Duration::from_millis(300), process.next()).await;
        assert!(early.is_err(), "a grandchild lives");
        process.kill();
        assert!(matches!(process.next().await, ProcessEvent::GroupGone));
        assert!(process.group.members().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_exit_is_reported_however_often_the_wait_is_broken_off() {
        let run = Run::new();
        let mut process = run.sh("sleep 300 & exit 1");
        let asked = Instant::now();
        let status = loop {
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(5), process.next()).await {
                break event;
            }
            assert!(asked.elapsed() < Duration::from_secs(20), "a child that holds the pipe hides the exit");
        };
        assert!(matches!(status, ProcessEvent::Exited(status) if status.code() == Some(1)));
    }

    #[tokio::test]
    async fn it_is_recorded_while_it_lives_and_killed_when_dropped() {
        let run = Run::new();
        let record = run.directory.path().join("process.json");
        let process = run.sh("sleep 300 & wait");
        assert!(record.exists());
        let group = process.group;
        drop(process);
        group.gone().await;
        assert!(record.exists(), "nobody has seen its end");

        let mut process = run.sh("exit 0");
        exit(&mut process).await;
        process.next().await;
        assert!(!record.exists());
    }
}
