//! The processes of one engine, as the kernel lists them.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use shoal_engine_supervisor::EngineStatus;

/// A process that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// A process group, by the pid of its leader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group(u32);

impl Group {
    /// The group of an engine that runs.
    pub(crate) fn of(status: &EngineStatus) -> Self {
        Self(status.pid.expect("a process"))
    }

    /// All that are left; what has ended and waits to be reaped is gone.
    pub(crate) fn members(self) -> Vec<Member> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| self.member(pid)).collect()
    }

    fn member(self, pid: u32) -> Option<Member> {
        // `pid (name) state ppid pgrp`; it may end while it is looked at.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(") ")?;
        let mut fields = after.split(' ');
        let (state, group) = (fields.next()?, fields.nth(1)?);
        let alive = !state.starts_with(['Z', 'X']) && group == self.0.to_string();
        alive.then(|| Member { pid, name: before.split_once('(').map_or("", |(_, name)| name).to_owned() })
    }

    /// Signals the leader.
    pub(crate) fn signal_leader(self, signal: Signal) {
        kill_process(pid(self.0), signal).unwrap();
    }

    /// Signals the member whose name, cut to 15 bytes by the kernel, begins like that.
    pub(crate) fn signal(self, name: &str, signal: Signal) {
        let members = self.members();
        let found = members.iter().find(|member| member.name.starts_with(name));
        let member = found.unwrap_or_else(|| panic!("no {name} among {members:?}"));
        kill_process(pid(member.pid), signal).unwrap();
    }
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}
