//! Sessions: each shim leads one, so that what is left of its engine can be found when the shim itself is gone.

use std::{io, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use tokio::{task::spawn_blocking, time::sleep};

use crate::stat::ProcessStat;

/// First and longest pause between two looks at a session that is ending.
const POLL_FIRST: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(200);

/// The session that one shim leads, or is about to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    leader: u32,
}

impl Session {
    /// That of `leader`, which the caller knows to be a shim or to have been one.
    pub(crate) const fn of(leader: u32) -> Self {
        Self { leader }
    }

    /// The shim.
    pub(crate) const fn leader(self) -> u32 {
        self.leader
    }

    /// Its processes that live, the shim included. A zombie does not count: in a container nobody may be there to reap
    /// those that lost their parent.
    pub(crate) fn members(self) -> io::Result<Vec<ProcessStat>> {
        // A shim has its pid before it has its session.
        Ok(ProcessStat::living()?
            .filter(|process| process.session == self.leader || process.pid == self.leader)
            .collect())
    }

    /// SIGKILL to all of it, again and again until nothing is left. Cancel safe.
    pub(crate) async fn end(self) {
        let mut pause = POLL_FIRST;
        while !spawn_blocking(move || self.kill()).await.unwrap_or(false) {
            sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Returns whether nobody was left to be killed.
    fn kill(self) -> bool {
        let members = self.members();
        for process in members.iter().flatten() {
            kill(process.pid, Signal::KILL);
        }
        members.is_ok_and(|members| members.is_empty())
    }
}

/// Signals one process. That it has ended meanwhile is no error.
pub(crate) fn kill(pid: u32, signal: Signal) {
    // Never 1, nor what kill(2) takes for many.
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|&pid| pid != Pid::INIT) else { return };
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => tracing::warn!(%pid, ?signal, %error, "cannot signal a process of an engine"),
    }
}
