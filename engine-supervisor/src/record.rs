//! Which processes are an engine's, written down so that they can be ended when nobody is left who knows.
//!
//! The daemon writes the record before it tells a shim what to launch, and the shim adds its engine; it is removed once
//! nothing of them is left. A record that is found at start therefore stands for processes to be taken over or ended, if
//! they are still the same ones: pids are used again, and so are sessions.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::{json_file, session::Session, stat::ProcessStat};

/// Name of the record in a replica's directory.
const FILE: &str = "process.json";
/// How long killed processes may take to disappear before the start goes on without it.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(10);

/// One shim and its engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    shim: ProcessId,
    /// Once there is one.
    engine: Option<ProcessId>,
    /// Start times count from boot.
    boot: String,
}

/// What tells a process from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ProcessId {
    pid: u32,
    started: u64,
}

impl ProcessId {
    fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, started: ProcessStat::of(pid)?.started })
    }
}

impl ProcessRecord {
    /// Of the running shim `pid`.
    pub(crate) fn of_shim(pid: u32) -> io::Result<Self> {
        Ok(Self { shim: ProcessId::of(pid)?, engine: None, boot: boot_id()? })
    }

    /// With the engine `pid`, which leads a process group in the shim's session.
    pub(crate) fn with_engine(self, pid: u32) -> io::Result<Self> {
        Ok(Self { engine: Some(ProcessId::of(pid)?), ..self })
    }

    /// Writes it into the directory of a replica.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        json_file::write(&directory.join(FILE), self)
    }

    /// That of a replica, if there is one.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<Self>> {
        json_file::read(&directory.join(FILE))
    }

    /// Removes that of a replica of which no process is left.
    pub(crate) fn remove(directory: &Path) -> io::Result<()> {
        match fs::remove_file(directory.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether there is one.
    pub(crate) fn exists(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// The shim's session, if anything is left of it. What left both the session and a shim that then died is not found.
    pub(crate) fn session(&self) -> io::Result<Option<Session>> {
        if self.boot != boot_id()? {
            return Ok(None);
        }
        let session = Session::of(self.shim.pid);
        let members = session.members()?;
        let same = match members.iter().find(|process| process.pid == self.shim.pid) {
            Some(shim) => shim.started == self.shim.started,
            // vLLM's workers outlive a killed leader, and it its shim. While any does, the kernel gives the numbers of
            // their session and group to nobody else, and no later pair of them is likely to be the same.
            None => self.engine.is_some_and(|engine| {
                members.iter().any(|process| process.group == engine.pid && process.started >= engine.started)
            }),
        };
        Ok(same.then_some(session))
    }
}

/// Ends what the daemon before left running in `directories` of replicas, and removes them. What cannot be ended stays
/// recorded for the next start.
pub(crate) async fn clear_leftovers(directories: &[PathBuf]) -> io::Result<()> {
    let cleared = join_all(directories.iter().map(|directory| clear(directory))).await;
    for (directory, cleared) in directories.iter().zip(cleared) {
        match cleared {
            Ok(true) => fs::remove_dir_all(directory)?,
            Ok(false) => tracing::error!(
                directory = %directory.display(),
                "an engine of the previous daemon does not end and may hold its GPUs; it is tried again at the next start"
            ),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "cannot tell whether an engine was left behind");
                fs::remove_dir_all(directory)?;
            }
        }
    }
    Ok(())
}

/// Whether nothing is left of the engine of `directory`.
async fn clear(directory: &Path) -> io::Result<bool> {
    let Some(session) = ProcessRecord::read(directory)?.map(|record| record.session()).transpose()?.flatten() else {
        return Ok(true);
    };
    tracing::warn!(directory = %directory.display(), "killing an engine of the previous daemon");
    Ok(timeout(GONE_WITHIN, session.end()).await.is_ok())
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A session whose leader, `setsid`, stands for the shim and runs `script`; reaped by the test.
    fn session(script: &str) -> Child {
        Command::new("setsid").args(["sh", "-c", script]).spawn().unwrap()
    }

    fn recorded(replicas: &Path, record: &ProcessRecord) -> PathBuf {
        let directory = replicas.join("claim");
        fs::create_dir(&directory).unwrap();
        record.write(&directory).unwrap();
        directory
    }

    async fn until_there_are(count: usize, leader: u32) {
        while Session::of(leader).members().unwrap().iter().filter(|process| process.session == leader).count() < count
        {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_was_left_behind_is_killed_with_its_shim() {
        let state = tempfile::tempdir().unwrap();
        let mut shim = session("trap '' TERM; sleep 300 & sleep 300 & wait");
        until_there_are(3, shim.id()).await;
        let directory = recorded(state.path(), &ProcessRecord::of_shim(shim.id()).unwrap());

        clear_leftovers(std::slice::from_ref(&directory)).await.unwrap();

        assert!(!shim.wait().unwrap().success());
        assert!(Session::of(shim.id()).members().unwrap().is_empty());
        assert!(!directory.exists());
    }

    #[tokio::test]
    async fn other_processes_with_the_same_numbers_are_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let mut stranger = session("exec sleep 300");
        let mut earlier = ProcessRecord::of_shim(stranger.id()).unwrap();
        earlier.shim.started -= 1;
        let another_boot =
            ProcessRecord { boot: "another".to_owned(), ..ProcessRecord::of_shim(stranger.id()).unwrap() };
        for record in [earlier, another_boot] {
            let directory = recorded(state.path(), &record);
            clear_leftovers(std::slice::from_ref(&directory)).await.unwrap();
            assert_eq!(stranger.try_wait().unwrap(), None, "it still runs");
            assert!(!directory.exists());
        }
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
