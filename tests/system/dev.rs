//! `shoal dev`, as a newcomer runs it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::harness::{eventually, list, request, shoal, stderr, stdout, stream_chat};

/// A place of its own for `shoal dev`; whatever still runs there ends with it.
struct Sandbox {
    dir: TempDir,
    http_base: u16,
}

impl Sandbox {
    fn new(nodes: u16) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), http_base: free_base(nodes) }
    }

    /// For `--dir`.
    fn home(&self) -> PathBuf {
        self.dir.path().join("mesh")
    }

    /// `shoal dev`, with its default directories in here.
    fn dev(&self, args: &[&str]) -> Command {
        let mut command = Command::new(shoal());
        command.arg("dev").args(args).env("TMPDIR", self.dir.path()).env("XDG_RUNTIME_DIR", self.dir.path());
        command
    }

    fn start(&self, args: &[&str]) -> Command {
        let mut command = self.dev(args);
        command.args(["--http-base", &self.http_base.to_string()]);
        command
    }

    fn http(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.http_base + node)
    }

    /// Those with a file in here on their command line.
    fn processes(&self) -> Vec<Pid> {
        let inside = format!("{}/", self.dir.path().display());
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_inside = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&inside)
        };
        pids.filter(is_inside).filter_map(Pid::from_raw).collect()
    }

    async fn empty(&self) {
        eventually("all processes to be gone", async || self.processes().is_empty().then_some(())).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// A port with enough free ones behind it.
fn free_base(nodes: u16) -> u16 {
    // Tests of this process, and of others that run beside it, look in different places.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + std::process::id() as u16 % 300 * 97 + TAKEN.fetch_add(16, Ordering::Relaxed);
    let mut candidates = (first..60_000).step_by(97);
    let free = |base: u16| (base..base + nodes).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    candidates.find(|&base| free(base)).expect("free ports")
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

/// Starts an attached mesh and reads its report.
fn attached(command: &mut Command) -> (Child, Value) {
    let mut dev = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(dev.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (dev, serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

/// Runs what stands behind `label` in a report, as somebody who pastes it.
fn paste(report: &str, label: &str) -> String {
    let line = report.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_else(|| panic!("{label}: {report}"));
    succeeded(Command::new("sh").args(["-c", line]).output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_no_process_behind() {
    let sandbox = Sandbox::new(3);
    let (mut dev, report) = attached(&mut sandbox.start(&[]));
    assert!(report["readySecs"].as_f64().is_some_and(|secs| secs > 0.0), "{report}");
    for node in 0..3 {
        let mut answer = stream_chat(&sandbox.http(node), "hello", "Hi", 5).await.unwrap();
        let (events, clean) = answer.rest().await;
        assert!(answer.status == 200 && clean && events.contains("[DONE]"), "{events}");
    }
    assert!(sandbox.processes().len() >= 5, "three daemons and two engines");
    signal(&dev, Signal::INT);
    assert!(dev.wait().unwrap().success());
    sandbox.empty().await;
    assert!(!PathBuf::from(report["dir"].as_str().unwrap()).exists(), "the temporary directory is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_stand_in_two_clusters_and_a_killed_dev_takes_them_along() {
    let sandbox = Sandbox::new(3);
    let (mut dev, report) = attached(&mut sandbox.start(&[]));
    let places: Vec<_> = list(&report["nodes"]).map(|node| node["place"].as_str().unwrap()).collect();
    assert_eq!(places, ["home/home-1, on-demand", "home/home-1, on-demand", "burst/burst-1, spot"]);
    let replicas: u64 = list(&report["nodes"]).map(|node| node["replicas"].as_u64().unwrap()).sum();
    assert_eq!(replicas, 2, "{report}");

    let socket = report["nodes"][1]["socket"].as_str().unwrap();
    let status = Command::new(shoal()).args(["status", "-o", "json", "--socket", socket]).output().unwrap();
    let status: Value = serde_json::from_str(&succeeded(status)).unwrap();
    let distinct = |label: &str| -> BTreeSet<&str> {
        list(&status["nodes"]).filter_map(|node| node["facts"]["labels"][label].as_str()).collect()
    };
    assert_eq!(distinct("cluster"), BTreeSet::from(["home", "burst"]));
    assert_eq!(distinct("zone"), BTreeSet::from(["home-1", "burst-1"]));
    let spot = list(&status["nodes"]).filter(|node| node["facts"]["labels"]["capacityType"] == "spot").count();
    assert_eq!(spot, 1, "{status}");

    signal(&dev, Signal::KILL);
    dev.wait().unwrap();
    sandbox.empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_mesh_is_stopped_by_its_directory() {
    let sandbox = Sandbox::new(2);
    let home = sandbox.home().display().to_string();
    let start = ["--nodes", "2", "--detach", "--dir", &home];
    // Twice: the second finds the keys and specs of the first.
    for _ in 0..2 {
        let report = succeeded(sandbox.start(&start).output().unwrap());
        let url = format!("curl -N http://{}/v1/chat/completions ", sandbox.http(0));
        assert!(report.contains(&url), "{report}");
        let (_, body) = report.split_once("-d '").unwrap();
        let (body, _) = body.split_once('\'').unwrap();
        let mut answer = request(&sandbox.http(0), "POST", "/v1/chat/completions", body.to_owned()).await.unwrap();
        let (events, clean) = answer.rest().await;
        assert!(answer.status == 200 && clean && events.contains("[DONE]"), "{events}");
        assert!(report.contains("(node-1, with 1 of the 2 replicas; "), "{report}");
        assert!(paste(&report, "Look inside:").contains("node-1"));

        let second = sandbox.start(&["--nodes", "1", "--dir", &home]).output().unwrap();
        assert_eq!(second.status.code(), Some(6), "{}", stderr(&second));
        assert!(stderr(&second).contains("2 nodes of an earlier `shoal dev` still run"), "{}", stderr(&second));

        paste(&report, "Stop:");
        sandbox.empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_mesh_of_one_node_needs_no_directory_and_no_reader() {
    let sandbox = Sandbox::new(1);
    let mut start = sandbox.start(&["--nodes", "1", "--detach"]);
    let mut dev = start.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((dev.stdout.take(), dev.stderr.take()));
    assert!(dev.wait().unwrap().success());
    let answer = stream_chat(&sandbox.http(0), "hello", "Hi", 5).await.unwrap();
    assert_eq!(answer.status, 200);
    succeeded(sandbox.dev(&["stop"]).output().unwrap());
    sandbox.empty().await;
    assert!(!sandbox.dir.path().join("shoal-dev").exists(), "the directory goes with the mesh");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_written_leaves_no_process_behind() {
    let sandbox = Sandbox::new(1);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let dev = sandbox.start(&["--nodes", "1", "--detach", "--json"]).stdout(full).output().unwrap();
    assert!(!dev.status.success() && stderr(&dev).contains("standard output"), "{}", stderr(&dev));
    assert!(sandbox.processes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_a_detached_mesh_starts_leaves_no_process_behind() {
    let sandbox = Sandbox::new(3);
    let mut dev = sandbox.start(&["--detach"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the first node to run", async || (!sandbox.processes().is_empty()).then_some(())).await;
    signal(&dev, Signal::INT);
    assert!(!dev.wait().unwrap().success());
    assert!(sandbox.processes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mocked_gpus_are_as_their_file_says() {
    let sandbox = Sandbox::new(1);
    let missing = sandbox.start(&["--gpus", "mock", "--mock-nvml", "/nonexistent/mock.so"]).output().unwrap();
    assert!(!missing.status.success() && stderr(&missing).contains("--mock-nvml"), "{}", stderr(&missing));

    // Cargo puts it where it puts this test.
    let library = std::env::current_exe().unwrap().with_file_name("libmock_nvml.so");
    let arguments = ["--nodes", "1", "--gpus", "mock", "--mock-nvml", library.to_str().unwrap()];
    let (mut dev, report) = attached(&mut sandbox.start(&arguments));
    let node = &report["nodes"][0];
    let described = || {
        let arguments = ["describe", "node", "node-0", "--socket", node["socket"].as_str().unwrap()];
        stdout(&Command::new(shoal()).args(arguments).output().unwrap())
    };
    let text = described();
    // Once in each table.
    assert_eq!(text.matches("GPU-00000000-0000-4000-8000-").count(), 16, "{text}");
    assert!(!text.contains("unknown"), "{text}");

    let path = node["gpuState"].as_str().unwrap();
    let mut state: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    state["gpus"][7]["processes"] = serde_json::json!([{ "pid": dev.id(), "memory": 1 }]);
    state["gpus"][6]["error"] = serde_json::json!(15);
    fs::write(path, state.to_string()).unwrap();
    let name = format!("shoal (pid {}), which is not shoal's", dev.id());
    let told = async || Some(described()).filter(|text| text.contains(&name) && text.contains("unknown"));
    eventually("the GPUs to be as the file says", told).await;
    signal(&dev, Signal::INT);
    assert!(dev.wait().unwrap().success());
    sandbox.empty().await;
}
