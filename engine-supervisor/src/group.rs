//! Process groups: each engine leads one, so that whatever it forks can be found and killed with it.

use std::{fmt, fs, io, path::Path, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, Signal, getpgrp, kill_process_group, test_kill_process_group},
};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// First and longest pause between two looks at a group that is ending.
const POLL_FIRST: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(200);

/// One process group that is neither ours nor a number with a meaning of its own (`kill(-1)` is everybody).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessGroup(Pid);

impl ProcessGroup {
    /// The group that the process `leader` leads.
    pub(crate) fn new(leader: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(leader).ok()?)?;
        (pid != Pid::INIT && pid != getpgrp()).then_some(Self(pid))
    }

    /// The id of the group, which is the pid of its leader.
    pub(crate) const fn id(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    pub(crate) fn terminate(self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
    }

    fn signal(self, signal: Signal) {
        match kill_process_group(self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                tracing::warn!(group = self.id(), ?signal, %error, "cannot signal the processes of an engine")
            }
        }
    }

    /// Until no process of the group is left. Zombies do not count: they hold neither memory nor GPUs, and in a
    /// container nobody may be there to reap those that lost their parent. Cancel safe.
    pub(crate) async fn gone(self) {
        let mut pause = POLL_FIRST;
        while !self.is_empty().await {
            sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    async fn is_empty(self) -> bool {
        if test_kill_process_group(self.0) == Err(Errno::SRCH) {
            return true;
        }
        // A few thousand files of /proc, but only where a zombie or a slow end is to be told from a living process.
        let living = tokio::task::spawn_blocking(move || self.members().is_ok_and(|members| members.is_empty()));
        living.await.unwrap_or(false)
    }

    /// All processes of the group that are not dead.
    pub(crate) fn members(self) -> io::Result<Vec<ProcessStat>> {
        let processes = fs::read_dir("/proc")?.filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            ProcessStat::of(pid).ok() // it may have ended since
        });
        Ok(processes.filter(|process| process.group == self.id() && !process.dead).collect())
    }
}

impl fmt::Debug for ProcessGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessGroup({})", self.id())
    }
}

/// What tells a process from a later one that got the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessStat {
    pub(crate) pid: u32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// Clock ticks from boot to its start.
    pub(crate) started: u64,
    /// A zombie, all of whose threads have ended.
    #[serde(skip)]
    pub(crate) dead: bool,
}

impl ProcessStat {
    /// Of a process that exists.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read(Path::new("/proc").join(pid.to_string()).join("stat"))?;
        Self::parse(pid, &String::from_utf8_lossy(&stat))
            .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not as proc(5) says")))
    }

    /// The fields of proc_pid_stat(5), by its numbers.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        // The name may hold spaces and parentheses: what follows the last one is field 3.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        // A zombie leader can have threads that still run, say in a driver: it is not dead.
        let dead = matches!(field(3)?, "X" | "x") || field(3)? == "Z" && field(20)?.parse::<u32>().ok()? <= 1;
        Some(Self {
            pid,
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
            dead,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let stat = "42 (a) R 1) b) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 17 0 123456 1 2 3";
        let parsed = ProcessStat::parse(42, stat).unwrap();
        assert_eq!(parsed, ProcessStat { pid: 42, group: 40, session: 39, started: 123_456, dead: false });
    }

    #[test]
    fn a_zombie_is_dead_unless_it_has_threads() {
        let stat =
            |state: &str, threads: u32| format!("42 (x) {state} 1 40 39 0 -1 0 1 2 3 4 5 6 7 8 20 0 {threads} 0 9 1");
        assert!(ProcessStat::parse(42, &stat("Z", 1)).unwrap().dead);
        assert!(!ProcessStat::parse(42, &stat("Z", 2)).unwrap().dead);
        assert!(!ProcessStat::parse(42, &stat("D", 1)).unwrap().dead);
    }

    #[test]
    fn no_group_is_made_of_everybody_or_of_us() {
        assert_eq!(ProcessGroup::new(0), None);
        assert_eq!(ProcessGroup::new(1), None);
        assert_eq!(ProcessGroup::new(u32::MAX), None);
        assert_eq!(ProcessGroup::new(getpgrp().as_raw_nonzero().get().unsigned_abs()), None);
    }
}
