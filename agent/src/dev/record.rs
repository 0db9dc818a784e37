//! Which nodes run in a directory: written as they start, so that `shoal dev stop` finds them whatever happens to their
//! `shoal dev`.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{
    POLL,
    home::default_dir,
    process::{NodeProcess, STOP_DEADLINE},
};
use crate::admin::{Code, Problem};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    nodes: Vec<RecordedNode>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordedNode {
    pid: i32,
    /// An argument of the process, which tells it from a stranger with the same pid.
    config: PathBuf,
}

impl Record {
    /// Empty if there is none.
    fn read(home: &Path) -> Result<Self, Problem> {
        let file = file(home);
        let unreadable =
            |error: io::Error| Problem::new(Code::Failed, format!("cannot read {}: {error}", file.display()));
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| unreadable(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(unreadable(error)),
        }
    }

    fn running(&self) -> impl Iterator<Item = Pid> {
        self.nodes.iter().filter(|node| node.is_running()).filter_map(|node| Pid::from_raw(node.pid))
    }

    fn signal(&self, signal: Signal) {
        for pid in self.running() {
            // It may have gone meanwhile.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl RecordedNode {
    fn is_running(&self) -> bool {
        // Nothing to read if there is no such process.
        let command_line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        command_line.split(|&byte| byte == 0).any(|argument| argument == self.config.as_os_str().as_bytes())
    }
}

fn file(home: &Path) -> PathBuf {
    home.join("dev.json")
}

/// Writes down which nodes run in `home`.
pub(super) fn write(home: &Path, nodes: &[NodeProcess]) -> Result<(), Problem> {
    let recorded = |node: &NodeProcess| Some(RecordedNode { pid: node.pid()?, config: node.layout.config() });
    let record = Record { nodes: nodes.iter().filter_map(recorded).collect() };
    let text = serde_json::to_vec_pretty(&record).map_err(|error| Problem::new(Code::Failed, error))?;
    let half = home.join("dev.json.new");
    // A reader sees the old or the new one, never a part.
    fs::write(&half, text).and_then(|()| fs::rename(&half, file(home))).map_err(|error| {
        Problem::new(Code::Failed, format!("cannot write down the nodes in {}: {error}", home.display()))
    })
}

/// Forgets the nodes of `home`, which have stopped.
pub(super) fn remove(home: &Path) {
    // One that stays names processes that are gone, which is harmless.
    let _ = fs::remove_file(file(home));
}

/// A problem if nodes of an earlier start still run in `home`.
pub(super) fn refuse_if_running(home: &Path) -> Result<(), Problem> {
    let running = Record::read(home)?.running().count();
    if running == 0 {
        return Ok(());
    }
    let message = format!("{running} nodes of an earlier `shoal dev` still run in {}", home.display());
    Err(Problem::new(Code::Conflict, message)
        .hint(format!("shoal dev stop --dir {}, or give this mesh another --dir", home.display())))
}

/// Stops the mesh in `dir`, or in the default directory, which goes with it.
pub(super) async fn stop(dir: Option<PathBuf>) -> Result<(), Problem> {
    let (home, temporary) = match dir {
        Some(dir) => (dir, false),
        None => (default_dir()?, true),
    };
    if !file(&home).exists() {
        let message = format!("no mesh of `shoal dev` runs in {}", home.display());
        return Err(Problem::new(Code::NotFound, message).hint("give the --dir that it was started with"));
    }
    let record = Record::read(&home)?;
    record.signal(Signal::INT);
    let deadline = Instant::now() + STOP_DEADLINE;
    while record.running().next().is_some() && Instant::now() < deadline {
        sleep(POLL).await;
    }
    record.signal(Signal::KILL);
    let removed = if temporary { fs::remove_dir_all(&home) } else { fs::remove_file(file(&home)) };
    removed.map_err(|error| {
        Problem::new(Code::Failed, format!("the mesh is stopped, but its files in {} stay: {error}", home.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of this process, as if `argument` were its configuration.
    fn record_of_this_process(home: &Path, argument: &[u8]) {
        let config = PathBuf::from(std::ffi::OsStr::from_bytes(argument));
        let pid = i32::try_from(std::process::id()).unwrap();
        let record = Record { nodes: vec![RecordedNode { pid, config }] };
        fs::write(file(home), serde_json::to_vec(&record).unwrap()).unwrap();
    }

    #[test]
    fn a_process_is_known_by_a_whole_argument() {
        let home = tempfile::tempdir().unwrap();
        refuse_if_running(home.path()).expect("nothing is recorded");
        let command_line = fs::read("/proc/self/cmdline").unwrap();
        let program = command_line.split(|&byte| byte == 0).next().unwrap();
        for stranger in [&program[1..], &program[..program.len() - 1]] {
            record_of_this_process(home.path(), stranger);
            refuse_if_running(home.path()).expect("a part of an argument is not the argument");
        }
        record_of_this_process(home.path(), program);
        assert_eq!(refuse_if_running(home.path()).unwrap_err().code, Code::Conflict);
        remove(home.path());
        refuse_if_running(home.path()).expect("it is forgotten");
    }

    #[tokio::test]
    async fn there_is_nothing_to_stop_where_nothing_was_started() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(stop(Some(home.path().to_owned())).await.unwrap_err().code, Code::NotFound);
    }
}
