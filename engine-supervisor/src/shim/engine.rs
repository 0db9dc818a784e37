//! The engine under a shim: a child that leads a process group, its output, and the end of all that it forked.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait},
};
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixStream, unix::pipe},
    signal::unix::{Signal as Signals, SignalKind, signal},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{ExecOptions, ShimError, log::EngineLog};
use crate::{LogSource, process::CommandLine, session, stat::ProcessStat};

/// How long the last lines of an ended process are waited for: a child of it may hold the pipe open.
const LAST_LINES: Duration = Duration::from_millis(300);

/// A running engine. The process that has it must have no other children, and be the reaper of its descendants.
#[derive(Debug)]
pub(super) struct Engine {
    leader: Pid,
    /// SIGCHLD.
    children: Signals,
    output: JoinSet<()>,
    state: State,
    /// Whatever turns up is killed.
    killing: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running,
    /// The leader ended; its last lines are read until then.
    Exited(i32, Instant),
    /// What it forked is waited for.
    Reported,
    Gone,
}

/// What became of an engine, in this order.
#[derive(Debug)]
pub(super) enum EngineEvent {
    /// The leader ended, with this status of wait(2).
    Exited(i32),
    /// Nothing is left of what it forked.
    Empty,
}

impl Engine {
    /// Executes `command` in `directory` by way of `shoal engine-exec`.
    pub(super) async fn start(
        shoal: &Path,
        command: CommandLine,
        directory: &Path,
        log: &Arc<EngineLog>,
    ) -> Result<Self, ShimError> {
        let failed = |doing| move |source| ShimError::Process { doing, source };
        // Before there is a child, so that no end of one is missed.
        let children = signal(SignalKind::child()).map_err(failed("wait for processes"))?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed("make a socket"))?;
        let program = command.program.clone();
        let execute = |source| ShimError::Execute { program: program.clone(), source };
        let options = ExecOptions {
            parent: std::process::id(),
            command: [command.program.into_os_string()].into_iter().chain(command.args).collect(),
        };
        let mut child = Command::new(shoal)
            .args(options.args())
            .env_clear()
            .envs(command.env)
            .current_dir(directory)
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed("start `shoal engine-exec`"))?;
        let leader = Pid::from_child(&child);
        let mut output = JoinSet::new();
        let pipes = [
            (child.stdout.take().map(OwnedFd::from), LogSource::Stdout),
            (child.stderr.take().map(OwnedFd::from), LogSource::Stderr),
        ];
        for (pipe, source) in pipes {
            let Some(pipe) = pipe else { continue };
            let pipe = pipe::Receiver::from_owned_fd(pipe).map_err(failed("read a pipe"))?;
            output.spawn(log.clone().copy(pipe, source));
        }
        executed(ours).await.map_err(execute)?;
        Ok(Self { leader, children, output, state: State::Running, killing: false })
    }

    /// The leader's pid.
    pub(super) const fn pid(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// SIGTERM to the group, or to what a leader that has ended left behind.
    pub(super) fn terminate(&self) {
        if matches!(self.state, State::Running) {
            self.signal_group(Signal::TERM);
        } else {
            signal_children(Signal::TERM);
        }
    }

    /// SIGKILL to the group and to all that left it.
    pub(super) fn kill(&mut self) {
        self.killing = true;
        // The leader is not reaped yet: its number is nobody else's.
        if matches!(self.state, State::Running) {
            self.signal_group(Signal::KILL);
        }
        signal_children(Signal::KILL);
    }

    /// What happens next. Cancel safe.
    pub(super) async fn next(&mut self) -> EngineEvent {
        loop {
            match self.state {
                State::Running => {
                    if let Some(status) = self.reap().leader {
                        self.state = State::Exited(status.as_raw(), Instant::now() + LAST_LINES);
                    } else {
                        self.children.recv().await;
                    }
                }
                State::Exited(status, until) => {
                    let _ = timeout_at(until, async { while self.output.join_next().await.is_some() {} }).await;
                    self.state = State::Reported;
                    return EngineEvent::Exited(status);
                }
                State::Reported => {
                    if self.reap().none_left {
                        self.state = State::Gone;
                        return EngineEvent::Empty;
                    }
                    self.children.recv().await;
                }
                State::Gone => std::future::pending().await,
            }
        }
    }

    /// Takes note of all children that ended. Orphans of the engine are children too.
    fn reap(&self) -> Reaped {
        let mut reaped = Reaped { leader: None, none_left: false };
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader => reaped.leader = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => {
                    reaped.none_left = true;
                    break;
                }
            }
        }
        if self.killing && !reaped.none_left {
            // Those whose parent has just ended have come to us.
            signal_children(Signal::KILL);
        }
        reaped
    }

    fn signal_group(&self, signal: Signal) {
        // It may have ended, which the next look at it tells.
        let _ = kill_process_group(self.leader, signal);
    }
}

/// What a look at the children has found.
struct Reaped {
    leader: Option<WaitStatus>,
    none_left: bool,
}

/// Signals our children. Nobody but us reaps them, so none of the numbers can be a stranger's; what they forked comes to
/// us when they end.
fn signal_children(signal: Signal) {
    let ours = std::process::id();
    // Where /proc cannot be read, the group is all that is reached.
    for process in ProcessStat::living().into_iter().flatten().filter(|process| process.parent == ours) {
        session::kill(process.pid, signal);
    }
}

/// Waits until `engine-exec` has become the program.
async fn executed(answer: std::os::unix::net::UnixStream) -> io::Result<()> {
    answer.set_nonblocking(true)?;
    let mut errno = Vec::new();
    UnixStream::from_std(answer)?.take(4).read_to_end(&mut errno).await?;
    match <[u8; 4]>::try_from(errno) {
        Ok(errno) => Err(io::Error::from_raw_os_error(i32::from_be_bytes(errno))),
        Err(_) => Ok(()),
    }
}
