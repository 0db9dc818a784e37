//! One network namespace, and what test processes before this one have left behind.

use std::{
    env, fs,
    io::Write as _,
    path::Path,
    process::{self, Command, Output, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// All names begin with it; the pid of the test process follows.
const PREFIX: &str = "shoal-net-";
/// Looks at a namespace in which processes are to end. Each takes some milliseconds.
const LOOKS_MAX: u32 = 500;

/// A network namespace. Dropped, it goes, with every process in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one with a name that no other has.
    pub(crate) fn new() -> Result<Self, String> {
        static SWEPT: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep);
        let name = format!("{PREFIX}{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the interface is called that leads to it, if there is one: its name would be longer than 15 bytes.
    pub(crate) fn way_in(&self) -> String {
        self.name.replace(PREFIX, "sn")
    }

    /// Runs `ip` in it.
    pub(crate) fn ip(&self, args: &[&str]) -> Result<(), String> {
        let all: Vec<&str> = ["-n", &self.name].into_iter().chain(args.iter().copied()).collect();
        ip(&all).map(|_| ())
    }

    /// Replaces packet filters in it, in one transaction.
    pub(crate) fn filter(&self, ruleset: &str) -> Result<(), String> {
        let mut nft = self.command("nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = nft.spawn().map_err(|error| format!("nft: {error}"))?;
        let written = child.stdin.take().map(|mut pipe| pipe.write_all(ruleset.as_bytes()));
        let output = child.wait_with_output().map_err(|error| format!("nft: {error}"))?;
        match (output.status.success(), written) {
            (true, Some(Ok(()))) => Ok(()),
            _ => Err(format!("nft: {}\n{ruleset}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// A program that runs in it. Its process is the program's.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Kills every process in it, as when the host loses power, and returns once none is left.
    pub(crate) fn kill_all(&self) {
        for _ in 0..LOOKS_MAX {
            if self.signal_all(Signal::KILL) == 0 {
                return;
            }
        }
    }

    /// Stops every process in it, as when a host hangs: its kernel takes packets still, and nobody reads them.
    pub(crate) fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Signals every process in it; how many there were.
    fn signal_all(&self, signal: Signal) -> usize {
        let Ok(output) = ip(&["netns", "pids", &self.name]) else { return 0 };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pids: Vec<Pid> = text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect();
        for &pid in &pids {
            // It may have ended in the meantime.
            let _ = kill_process(pid, signal);
        }
        pids.len()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.kill_all();
        // Not all have one; and a connection that nobody answers would keep it there for minutes.
        let _ = ip(&["link", "del", &self.way_in()]);
        // Another process that sweeps may have been faster.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// A directory that goes with the value, or is swept later.
pub(crate) fn directory() -> TempDir {
    TempDir::with_prefix(format!("{PREFIX}{}-", process::id())).expect("a temporary directory")
}

/// Removes namespaces and directories of test processes that are gone without having done so.
fn sweep() {
    let Ok(output) = ip(&["netns", "list"]) else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in text.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| is_orphan(name)) {
        drop(Namespace { name: name.to_owned() });
    }
    let directories = fs::read_dir(env::temp_dir()).into_iter().flatten().flatten();
    for entry in directories.filter(|entry| entry.file_name().to_str().is_some_and(is_orphan)) {
        // Another process that sweeps may have been faster.
        let _ = fs::remove_dir_all(entry.path());
    }
}

/// Whether a test process gave this name, and is there no more.
fn is_orphan(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
    let pid = owner.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()));
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

/// Runs `ip`; its complaint if it has one.
pub(crate) fn ip(args: &[&str]) -> Result<Output, String> {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// The number of a network interface on this side; no two have the same.
pub(crate) fn interface_index(name: &str) -> Result<u32, String> {
    let path = format!("/sys/class/net/{name}/ifindex");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    text.trim().parse().map_err(|error| format!("{path}: {error}"))
}
