//! What a daemon writes down about its engines, so that the next one can end what was left behind.
//!
//! An engine outlives a daemon that is killed, and holds its GPUs. Its record is written before it is used and removed
//! when its group is empty; a record that is found at start is therefore a group to be ended, if it is still the same
//! one: pids are used again, and so are groups.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::group::{ProcessGroup, ProcessStat};

/// Name of the record in a replica's directory.
const FILE: &str = "process.json";
/// How long a killed group may take to disappear before the start goes on without it.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// One launched engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    leader: ProcessStat,
    /// Start times count from boot.
    boot: String,
}

impl ProcessRecord {
    /// Of the running process `pid`, which leads its group.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { leader: ProcessStat::of(pid)?, boot: boot_id()? })
    }

    /// Writes it into the directory of a replica.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let temporary = directory.join("process.json.new");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        // No fsync: what loses the page cache ends the process too.
        fs::rename(temporary, directory.join(FILE))
    }

    /// Removes that of a replica whose group is empty.
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

    fn read(directory: &Path) -> io::Result<Option<Self>> {
        match fs::read(directory.join(FILE)) {
            Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The group that was recorded, if any of it is left.
    fn group(&self) -> io::Result<Option<ProcessGroup>> {
        if self.boot != boot_id()? {
            return Ok(None);
        }
        let Some(group) = ProcessGroup::new(self.leader.pid) else { return Ok(None) };
        let members = group.members()?;
        let same = match members.iter().find(|process| process.pid == self.leader.pid) {
            Some(leader) => leader.started == self.leader.started,
            // vLLM's workers outlive a killed leader. While any does, the kernel gives the number to nobody else; a
            // group that got it later could only have come from the same session, which was the daemon's.
            None => members
                .iter()
                .any(|process| process.session == self.leader.session && process.started >= self.leader.started),
        };
        Ok(same.then_some(group))
    }
}

/// Ends the engines that a previous daemon left below `replicas`, and removes their directories. What cannot be ended
/// stays recorded for the next start.
pub(crate) async fn clear_leftovers(replicas: &Path) -> io::Result<()> {
    let directories: Vec<PathBuf> =
        fs::read_dir(replicas)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    for directory in directories {
        match clear(&directory).await {
            Ok(true) => fs::remove_dir_all(&directory)?,
            Ok(false) => tracing::error!(
                directory = %directory.display(),
                "an engine of the previous daemon does not end and may hold its GPUs; it is tried again at the next start"
            ),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "cannot tell whether an engine was left behind");
                fs::remove_dir_all(&directory)?;
            }
        }
    }
    Ok(())
}

/// Whether nothing is left of the engine of `directory`.
async fn clear(directory: &Path) -> io::Result<bool> {
    let Some(group) = ProcessRecord::read(directory)?.map(|record| record.group()).transpose()?.flatten() else {
        return Ok(true);
    };
    tracing::warn!(group = group.id(), directory = %directory.display(), "killing an engine of the previous daemon");
    group.kill();
    Ok(timeout(GONE_WITHIN, group.gone()).await.is_ok())
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command};

    use super::*;

    /// A group of its own whose leader ran `script`; reaped by the test.
    fn group(script: &str) -> std::process::Child {
        Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap()
    }

    fn recorded(replicas: &Path, record: &ProcessRecord) -> PathBuf {
        let directory = replicas.join("claim");
        fs::create_dir(&directory).unwrap();
        record.write(&directory).unwrap();
        directory
    }

    #[tokio::test]
    async fn a_group_that_was_left_behind_is_killed_whole() {
        let state = tempfile::tempdir().unwrap();
        let mut leader = group("trap '' TERM; sleep 300 & sleep 300 & wait");
        let record = ProcessRecord::of(leader.id()).unwrap();
        let directory = recorded(state.path(), &record);

        clear_leftovers(state.path()).await.unwrap();

        assert!(!leader.wait().unwrap().success());
        assert!(ProcessGroup::new(leader.id()).unwrap().members().unwrap().is_empty());
        assert!(!directory.exists());
    }

    #[tokio::test]
    async fn a_group_without_its_leader_is_killed_too() {
        let state = tempfile::tempdir().unwrap();
        let mut leader = group("sleep 300 & sleep 300 & wait");
        let pid = ProcessGroup::new(leader.id()).unwrap();
        let record = ProcessRecord::of(leader.id()).unwrap();
        recorded(state.path(), &record);
        while pid.members().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        leader.kill().unwrap();
        leader.wait().unwrap();
        assert_eq!(pid.members().unwrap().len(), 2);

        clear_leftovers(state.path()).await.unwrap();

        assert!(pid.members().unwrap().is_empty());
    }

    #[tokio::test]
    async fn another_process_with_the_same_pid_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let mut stranger = group("exec sleep 300");
        let mut record = ProcessRecord::of(stranger.id()).unwrap();
        record.leader.started -= 1;
        let directory = recorded(state.path(), &record);

        clear_leftovers(state.path()).await.unwrap();

        assert_eq!(stranger.try_wait().unwrap(), None, "it still runs");
        assert!(!directory.exists());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[tokio::test]
    async fn nothing_of_another_boot_is_killed() {
        let state = tempfile::tempdir().unwrap();
        let mut stranger = group("exec sleep 300");
        let record = ProcessRecord { boot: "another".to_owned(), ..ProcessRecord::of(stranger.id()).unwrap() };
        recorded(state.path(), &record);

        clear_leftovers(state.path()).await.unwrap();

        assert_eq!(stranger.try_wait().unwrap(), None, "it still runs");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
