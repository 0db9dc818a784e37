//! A mesh of `shoal dev --detach`: what is remembered of it, and how it is stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, getuid, kill_process_group, test_kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{POLL, process::NodeProcess};
use crate::admin::{Code, Problem};

/// How long all nodes may take to stop before they are killed.
const STOP_DEADLINE: Duration = Duration::from_secs(8);

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    nodes: Vec<RecordedNode>,
    /// Whether the directory goes with the mesh.
    temporary: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordedNode {
    pid: i32,
    /// Stands in its command line, which tells it from a stranger with the same pid.
    dir: PathBuf,
}

/// One directory per user, so that `shoal dev stop` needs no argument.
pub(super) fn default_dir() -> Result<PathBuf, Problem> {
    let dir = default_path();
    if record_file(&dir).exists() {
        return Err(Problem::new(Code::Conflict, format!("a detached mesh already runs in {}", dir.display()))
            .hint("shoal dev stop, or give this one its own --dir"));
    }
    // What a mesh that was killed left behind is not worth keeping.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot make {}: {error}", dir.display())))?;
    Ok(dir)
}

fn default_path() -> PathBuf {
    std::env::temp_dir().join(format!("shoal-dev-{}", getuid().as_raw()))
}

fn record_file(dir: &Path) -> PathBuf {
    dir.join("dev.json")
}

/// Remembers the nodes and leaves them running.
pub(super) fn leave(dir: PathBuf, nodes: &[NodeProcess]) -> Result<(), Problem> {
    let recorded = |node: &NodeProcess| Some(RecordedNode { pid: node.pid()?, dir: node.layout.dir().to_owned() });
    let record = Record { nodes: nodes.iter().filter_map(recorded).collect(), temporary: dir == default_path() };
    let text = serde_json::to_vec_pretty(&record).map_err(|error| Problem::new(Code::Failed, error))?;
    fs::write(record_file(&dir), text)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot remember the mesh in {}: {error}", dir.display())))
}

/// Stops the mesh in `dir`, or in the default directory.
pub(super) async fn stop(dir: Option<PathBuf>) -> Result<(), Problem> {
    let dir = dir.unwrap_or_else(default_path);
    let file = record_file(&dir);
    let text = fs::read(&file).map_err(|_| {
        Problem::new(Code::NotFound, format!("no detached mesh runs in {}", dir.display()))
            .hint("give the --dir that it was started with")
    })?;
    let record: Record = serde_json::from_slice(&text)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot read {}: {error}", file.display())))?;
    let running = || record.nodes.iter().filter(|node| is_ours(node)).filter_map(|node| Pid::from_raw(node.pid));
    running().for_each(|pid| signal(pid, Signal::TERM));
    let deadline = Instant::now() + STOP_DEADLINE;
    while running().next().is_some() && Instant::now() < deadline {
        sleep(POLL).await;
    }
    running().for_each(|pid| signal(pid, Signal::KILL));
    let removed = if record.temporary { fs::remove_dir_all(&dir) } else { fs::remove_file(&file) };
    removed.map_err(|error| {
        Problem::new(Code::Failed, format!("the mesh is stopped, but {} stays: {error}", dir.display()))
    })
}

fn is_ours(node: &RecordedNode) -> bool {
    let alive = Pid::from_raw(node.pid).is_some_and(|pid| test_kill_process(pid).is_ok());
    let command_line = fs::read(format!("/proc/{}/cmdline", node.pid)).unwrap_or_default();
    alive && String::from_utf8_lossy(&command_line).contains(&*node.dir.to_string_lossy())
}

fn signal(pid: Pid, signal: Signal) {
    // It may have gone meanwhile.
    let _ = kill_process_group(pid, signal);
}
