//! What the kernel says of processes.

use std::{fs, io, path::Path};

/// One process, as proc_pid_stat(5) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    /// Clock ticks from boot to its start: tells it from a later one that got the same pid.
    pub(crate) started: u64,
    /// A zombie, all of whose threads have ended: it holds neither memory nor GPUs.
    pub(crate) dead: bool,
}

impl ProcessStat {
    /// Of a process that exists.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read(Path::new("/proc").join(pid.to_string()).join("stat"))?;
        Self::parse(pid, &String::from_utf8_lossy(&stat))
            .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not as proc(5) says")))
    }

    /// All that live, of everybody: a few thousand files of /proc.
    pub(crate) fn living() -> io::Result<impl Iterator<Item = Self>> {
        let processes = fs::read_dir("/proc")?.filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Self::of(pid).ok() // it may have ended since
        });
        Ok(processes.filter(|process| !process.dead))
    }

    /// The fields by the numbers of the manual page.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        // The name may hold spaces and parentheses: what follows the last one is field 3.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        // A zombie leader can have threads that still run, say in a driver: it is not dead.
        let dead = matches!(field(3)?, "X" | "x") || field(3)? == "Z" && field(20)?.parse::<u32>().ok()? <= 1;
        Some(Self {
            pid,
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
            dead,
        })
    }
}

/// The process group of `process`; `None` where there is no such process, 0 where its group is led from outside our
/// namespace.
pub fn process_group(process: u32) -> Option<u32> {
    ProcessStat::of(process).ok().map(|stat| stat.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let stat = "42 (a) R 1) b) S 7 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 17 0 123456 1 2 3";
        let expected = ProcessStat { pid: 42, parent: 7, group: 40, session: 39, started: 123_456, dead: false };
        assert_eq!(ProcessStat::parse(42, stat).unwrap(), expected);
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
    fn this_process_lives() {
        let ours = ProcessStat::of(std::process::id()).unwrap();
        assert!(ProcessStat::living().unwrap().any(|process| process == ours));
    }
}
