//! One running engine, as the daemon sees it: over the socket of the shim that keeps it.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, sleep_until, timeout},
};

use crate::{
    launcher::{Launcher, NewShim},
    log::{LogSource, ReplicaLog},
    record::ProcessRecord,
    session::Session,
    shim::{Frames, LaunchOrder, Report, Request, VERSION, VERSIONS, encode},
};

/// How long a new shim may take until its engine is executed: a program can lie on slow storage.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long a running shim may take to answer a new daemon. One that swaps must not cost loaded weights.
const ATTACH_WITHIN: Duration = Duration::from_secs(5);
/// How long a shim may take to kill its engine, or to end, before it is killed itself. A driver may take seconds to
/// give back the memory of eight GPUs.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What to execute: these arguments and exactly this environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
}

impl CommandLine {
    /// Program and arguments, for people.
    pub(crate) fn describe(&self) -> String {
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        format!("{} {}", self.program.display(), args.join(" "))
    }
}

/// How the shims of one replica run.
#[derive(Debug, Clone)]
pub(crate) struct ShimConfig {
    /// Who starts them.
    pub(crate) launcher: Launcher,
    /// The program whose `engine-shim` and `engine-exec` verbs are meant.
    pub(crate) shoal: PathBuf,
    /// Of the replica: the engine runs here, and its logs and records are here.
    pub(crate) directory: PathBuf,
    /// Where the shim listens.
    pub(crate) socket: PathBuf,
    /// How long the engine may run without a daemon.
    pub(crate) orphan_grace: Duration,
    /// From SIGTERM to SIGKILL when that is over.
    pub(crate) term_grace: Duration,
}

/// A running engine. The caller awaits [`Self::next`] until it is gone.
///
/// Dropped before, it runs on, and is the next daemon's by [`Self::adopt`]: whoever wants it to end says
/// [`Self::terminate`] or [`Self::kill`] first.
#[derive(Debug)]
pub(crate) struct Process {
    reports: Frames<OwnedReadHalf>,
    requests: OwnedWriteHalf,
    pid: u32,
    /// The shim's, with all that it started.
    session: Session,
    directory: PathBuf,
    log: Arc<ReplicaLog>,
    /// The number of the shim's next line.
    next_line: u64,
    state: State,
    /// Until when the shim must have done what it was last told to.
    patience: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The exit of the leader has been reported.
    Exited,
    /// The shim has nothing left to keep, and ends.
    Released,
    /// The shim is dead, or as good as; what is left of it and the engine is to be killed.
    Lost,
    Gone,
}

/// What became of a process: one of the first two, then the last.
#[derive(Debug)]
pub(crate) enum ProcessEvent {
    /// The leader ended; what it forked may not have.
    Exited(ExitStatus),
    /// The shim did, in words; how the leader ends is not known then.
    ShimLost(String),
    /// Nothing is left of it.
    GroupGone,
}

impl Process {
    /// Starts `command` under a shim of its own. What it writes goes to `log`.
    ///
    /// # Errors
    /// If it cannot be executed, with the kernel's reason, or cannot be recorded. What was started is killed then; it
    /// stays recorded if that takes longer than 30 s.
    pub(crate) async fn spawn(config: &ShimConfig, command: &CommandLine, log: &Arc<ReplicaLog>) -> io::Result<Self> {
        let started = timeout(START_WITHIN, config.launcher.start(&config.shoal, &config.directory)).await;
        let shim = started.unwrap_or_else(|_| Err(no_answer()))?;
        let session = shim.session;
        let begun = timeout(START_WITHIN, Self::begin(config, command, log, shim)).await;
        let begun = begun.unwrap_or_else(|_| Err(no_answer()));
        if begun.is_err() && timeout(START_WITHIN, session.end()).await.is_ok() {
            ProcessRecord::remove(&config.directory)?;
        }
        begun
    }

    async fn begin(
        config: &ShimConfig,
        command: &CommandLine,
        log: &Arc<ReplicaLog>,
        shim: NewShim,
    ) -> io::Result<Self> {
        // Before it knows what to launch: from then on it goes on without us.
        ProcessRecord::of_shim(shim.session.leader())?.write(&config.directory)?;
        let order = LaunchOrder {
            shoal: config.shoal.clone(),
            command: command.clone(),
            directory: shim.untold,
            socket: config.socket.clone(),
            orphan_grace: config.orphan_grace,
            term_grace: config.term_grace,
        };
        let link = (shim.reports, shim.requests);
        Self::attach(link, &Request::Launch(order), shim.session, &config.directory, log).await
    }

    /// Takes over the engine of an earlier daemon, if its shim still runs. `log` gets the lines that the shim still has.
    ///
    /// # Errors
    /// If there is a shim that cannot be used.
    pub(crate) async fn adopt(directory: &Path, socket: &Path, log: &Arc<ReplicaLog>) -> io::Result<Option<Self>> {
        let session = ProcessRecord::read(directory)?.map(|record| record.session()).transpose()?.flatten();
        let Some(session) = session else { return Ok(None) };
        let stream = match UnixStream::connect(socket).await {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            stream => stream?,
        };
        let request = Request::Attach { version: VERSION };
        let (reader, writer) = stream.into_split();
        let link = (Frames::new(reader), writer);
        let attached = timeout(ATTACH_WITHIN, Self::attach(link, &request, session, directory, log)).await;
        attached.unwrap_or_else(|_| Err(no_answer())).map(Some)
    }

    async fn attach(
        (mut reports, mut requests): (Frames<OwnedReadHalf>, OwnedWriteHalf),
        request: &Request,
        session: Session,
        directory: &Path,
        log: &Arc<ReplicaLog>,
    ) -> io::Result<Self> {
        requests.write_all(&encode(request)?).await?;
        let pid = match reports.next().await? {
            Some(Report::Started { version, pid }) if VERSIONS.contains(&version) => pid,
            Some(Report::Started { version, .. }) => {
                return Err(io::Error::other(format!("its shim speaks version {version}, which is not known here")));
            }
            Some(Report::NotStarted { errno: Some(errno), .. }) => return Err(io::Error::from_raw_os_error(errno)),
            Some(Report::NotStarted { errno: None, reason }) => return Err(io::Error::other(reason)),
            Some(Report::Here { .. } | Report::Line { .. } | Report::Exited { .. } | Report::Empty) | None => {
                return Err(io::Error::other("its shim does not say whether it runs"));
            }
        };
        let (directory, log) = (directory.to_owned(), log.clone());
        let state = State::Running;
        Ok(Self { reports, requests, pid, session, directory, log, next_line: 0, state, patience: None })
    }

    /// The leader's pid.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// SIGTERM to the group.
    pub(crate) fn terminate(&mut self) {
        self.ask(&Request::Terminate);
    }

    /// SIGKILL to all that it forked. A shim that does not obey is killed with it.
    pub(crate) fn kill(&mut self) {
        self.patience.get_or_insert_with(|| Instant::now() + ANSWER_WITHIN);
        self.ask(&Request::Kill);
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn end(mut self) {
        self.kill();
        while !matches!(self.next().await, ProcessEvent::GroupGone) {}
    }

    /// What happens next. Cancel safe.
    pub(crate) async fn next(&mut self) -> ProcessEvent {
        loop {
            match self.state {
                State::Running | State::Exited | State::Released => {
                    let patience = self.patience;
                    let report = tokio::select! {
                        report = self.reports.next() => report,
                        () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                            Err(io::Error::other("it does not answer"))
                        }
                    };
                    if let Some(event) = self.take(report) {
                        return event;
                    }
                }
                State::Lost => {
                    self.session.end().await;
                    return self.gone();
                }
                State::Gone => std::future::pending().await,
            }
        }
    }

    fn take(&mut self, report: io::Result<Option<Report>>) -> Option<ProcessEvent> {
        match (report, self.state) {
            (Ok(Some(Report::Line { number, source, text })), _) => self.append(number, source, &text),
            (Ok(Some(Report::Exited { status })), State::Running) => {
                self.state = State::Exited;
                return Some(ProcessEvent::Exited(ExitStatus::from_raw(status)));
            }
            (Ok(Some(Report::Empty)), State::Exited) => {
                self.state = State::Released;
                self.patience = Some(Instant::now() + ANSWER_WITHIN);
                self.ask(&Request::Release);
            }
            (Ok(None), State::Released) => return Some(self.gone()),
            (report, state) => {
                let why = match report {
                    Ok(Some(report)) => format!("it says {report:?} when it should not"),
                    Ok(None) => "it has ended".to_owned(),
                    Err(error) => error.to_string(),
                };
                self.log.append(LogSource::Supervisor, &format!("the shim of process {} is lost: {why}", self.pid));
                self.state = State::Lost;
                return (state == State::Running).then_some(ProcessEvent::ShimLost(why));
            }
        }
        None
    }

    fn append(&mut self, number: u64, source: LogSource, line: &str) {
        let missed = number.saturating_sub(self.next_line);
        if missed > 0 && self.next_line > 0 {
            self.log.append(LogSource::Supervisor, &format!("{missed} lines are only in the log file"));
        }
        self.next_line = number + 1;
        self.log.append(source, line);
    }

    /// Requests are few and short: a socket that does not take one belongs to a shim that has not read for long.
    fn ask(&mut self, request: &Request) {
        let sent = encode(request).and_then(|frame| Ok(self.requests.try_write(&frame)? == frame.len()));
        if !matches!(sent, Ok(true)) {
            self.patience = Some(Instant::now());
        }
    }

    fn gone(&mut self) -> ProcessEvent {
        self.state = State::Gone;
        if let Err(error) = ProcessRecord::remove(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove the record of an engine");
        }
        ProcessEvent::GroupGone
    }
}

fn no_answer() -> io::Error {
    io::Error::other("its shim does not answer")
}

#[cfg(test)]
mod tests;
