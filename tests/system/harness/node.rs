//! One daemon and the files it lives in.

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{eventually, free_tcp_port, free_udp_port, shoal, stderr, stdout};

/// Where a node stands.
#[derive(Clone, Copy)]
pub(crate) enum Placement {
    /// cluster home, zone home-1, on demand.
    Home,
    /// cluster burst, zone burst-1, spot.
    Burst,
}

/// What ends with a SIGTERM: set for every node, as it would be guessed from where the tests run otherwise.
#[derive(Clone, Copy)]
pub(crate) enum SigtermMeans {
    Daemon,
    Host,
}

pub(crate) struct Node {
    dir: PathBuf,
    index: usize,
    http_port: u16,
    env: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Node {
    /// Writes the configuration of a node that does not run yet.
    pub(crate) fn prepare(dir: PathBuf, index: usize, placement: Placement, sigterm: SigtermMeans) -> Self {
        fs::create_dir_all(dir.join("state")).expect("a directory for the node");
        let node = Self { dir, index, http_port: free_tcp_port(), env: Vec::new(), child: None };
        let labels = match placement {
            Placement::Home => "{cluster: home, zone: home-1, capacityType: on-demand, price: 6.9}",
            Placement::Burst => "{cluster: burst, zone: burst-1, capacityType: spot, price: 1.9}",
        };
        let sigterm = match sigterm {
            SigtermMeans::Daemon => "daemon",
            SigtermMeans::Host => "host",
        };
        let config = format!(
            "node: {{name: {}, labels: {labels}}}\nstateDir: {}\n\
             mesh: {{listen: '127.0.0.1:{}', gossipInterval: 200ms}}\ningress: {{listen: '{}'}}\n\
             admin: {{socket: {}, listen: null}}\nengines: {{sim: true, orphanGrace: 2s}}\nplacement: {{settle: 1200ms, step: 400ms}}\n\
             gpus: {{library: /nonexistent, simulated: [{{count: 2, name: H100, memory: 80GiB}}]}}\n\
             notices: {{aws: {{enabled: false}}, gcp: {{enabled: false}}, azure: {{enabled: false}}, file: {}, \
             sigterm: {{means: {sigterm}, warning: 40s}}}}\n",
            node.name(),
            node.state_dir(),
            free_udp_port(),
            node.http(),
            node.socket().display(),
            node.notice_file().display(),
        );
        fs::write(node.config(), config).expect("the configuration is written");
        node
    }

    pub(crate) fn name(&self) -> String {
        format!("node-{}", self.index)
    }

    pub(crate) fn http(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.http())
    }

    pub(crate) fn state_dir(&self) -> String {
        self.dir.join("state").display().to_string()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    /// While it is there, the host will be taken away.
    pub(crate) fn notice_file(&self) -> PathBuf {
        self.dir.join("notice")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("shoal.yaml")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }

    /// Changes the configuration for the next start.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let config = fs::read_to_string(self.config()).expect("the configuration is there");
        assert!(config.contains(from), "{config}");
        fs::write(self.config(), config.replace(from, to)).expect("the configuration is written");
    }

    /// The engines of this node, by their command lines.
    pub(crate) fn engines(&self) -> Vec<u32> {
        let pids = fs::read_dir("/proc").expect("proc").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains("sim-engine\0--uds") && line.contains(&self.state_dir())
        };
        pids.filter(is_ours).collect()
    }

    /// Stops engines, or lets them go on.
    pub(crate) fn signal_engines(&self, signal: Signal) {
        for pid in self.engines() {
            let pid = Pid::from_raw(pid as i32).expect("a pid is not 0");
            kill_process(pid, signal).expect("the engine can be signalled");
        }
    }

    /// Runs a verb against this node; whatever it ends with.
    pub(crate) fn run(&self, args: &[&str], stdin: &str) -> Output {
        let mut child = self
            .command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // A verb that does not read its input closes it early, which is its right.
        let _ = child.stdin.take().map(|mut pipe| pipe.write_all(stdin.as_bytes()));
        child.wait_with_output().expect("the program ends")
    }

    /// Runs a verb that must succeed; its standard output.
    pub(crate) fn run_ok(&self, args: &[&str]) -> String {
        let output = self.run(args, "");
        assert!(output.status.success(), "{args:?}: {}{}\n{}", stdout(&output), stderr(&output), self.log());
        stdout(&output)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(shoal());
        command.env("SHOAL_SOCKET", self.socket()).envs(self.env.iter().cloned());
        command
    }

    /// A variable of all that is run from now on.
    pub(crate) fn set_env(&mut self, name: &'static str, value: &str) {
        self.env.push((name, value.to_owned()));
    }

    /// Runs a daemon that must end by itself.
    pub(crate) fn run_agent(&self) -> Output {
        self.run(&["agent", "--config", &self.config().display().to_string()], "")
    }

    pub(crate) fn join_with(&self, token: &str) -> String {
        let output = self.run(&["join", "-", "--state-dir", &self.state_dir()], token);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    }

    pub(crate) fn apply(&self, yaml: &str) -> String {
        let output = self.run(&["apply", "-f", "-"], yaml);
        assert!(output.status.success(), "{}{}", stderr(&output), self.log());
        stdout(&output)
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) async fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.dir.join("agent.log")).expect("a log");
        let child = self
            .command()
            .args(["agent", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the daemon starts");
        self.child = Some(child);
        eventually("the daemon to answer", async || self.try_status()).await;
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// As if the host lost power: nothing is said to anybody.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// As an operator ends it for good.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// As whoever runs services asks it to end.
    pub(crate) fn terminate(&mut self) {
        self.end(Signal::TERM);
    }

    /// As whoever turns log files over tells it.
    pub(crate) fn hang_up(&self) {
        self.child.iter().for_each(|child| send(child, Signal::HUP));
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        send(&child, signal);
        child.wait().expect("the daemon can be reaped");
    }

    fn try_status(&self) -> Option<Value> {
        let output = self.run(&["status", "-o", "json"], "");
        serde_json::from_slice(&output.stdout).ok()
    }

    pub(crate) fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("{} does not answer:\n{}", self.name(), self.log()))
    }

    /// Waits until this node's status is as wanted.
    pub(crate) async fn wait_for(&self, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        self.wait_within(super::PATIENCE, what, check).await
    }

    /// The same, for what takes its time.
    pub(crate) async fn wait_within(&self, limit: Duration, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        let start = tokio::time::Instant::now();
        loop {
            let status = self.status();
            if check(&status) {
                return status;
            }
            let log = self.log();
            assert!(start.elapsed() < limit, "waited for {what} at {}\n{status:#}\n{log}", self.name());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).expect("a pid is not 0");
    kill_process(pid, signal).expect("the daemon can be signalled");
}
