//! One daemon in its namespace, and the files it lives in.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, client, net::Host};

/// Where a node stands, and what it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) cluster: &'static str,
    /// None of them real.
    pub(crate) gpus: u32,
}

#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    dir: PathBuf,
    http: SocketAddr,
    child: Option<Child>,
}

impl Node {
    /// Writes the configuration of a node that does not run yet. Each is a zone of its own.
    pub(crate) fn prepare(dir: PathBuf, index: usize, site: Site, host: &Host) -> Self {
        fs::create_dir_all(dir.join("state")).expect("a directory for the node");
        let http = SocketAddr::from((host.management, 8080));
        let Site { cluster, gpus } = site;
        let node = Self { name: format!("node-{index}"), dir, http, child: None };
        let config = format!(
            "node: {{name: {}, labels: {{cluster: {cluster}, zone: {cluster}-{index}, capacityType: on-demand}}}}\n\
             stateDir: {}\nmesh: {{listen: '{}:7700'}}\ningress: {{listen: '{http}', auth: none}}\n\
             admin: {{socket: {}, listen: null}}\nengines: {{sim: true}}\n\
             gpus: {{library: /nonexistent, simulated: [{{count: {gpus}, name: H100, memory: 80GiB}}]}}\n\
             notices: {{aws: {{enabled: false}}, gcp: {{enabled: false}}, azure: {{enabled: false}}, \
             sigterm: {{means: daemon}}}}\n",
            node.name,
            node.state_dir().display(),
            host.mesh,
            node.socket().display(),
        );
        fs::write(node.config(), config).expect("the configuration is written");
        node
    }

    /// Where its clients find it.
    pub(crate) const fn http(&self) -> SocketAddr {
        self.http
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("shoal.yaml")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs a verb against this node, which must succeed; its standard output.
    pub(crate) fn run(&self, host: &Host, args: &[&str], stdin: &str) -> String {
        let mut command = self.command(host);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // A verb that does not read its input closes it early, which is its right.
        let _ = child.stdin.take().map(|mut pipe| pipe.write_all(stdin.as_bytes()));
        let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
        assert!(status.success(), "{args:?}: {}\n{}", String::from_utf8_lossy(&stderr), self.log());
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) async fn start(&mut self, host: &Host) {
        let log = fs::File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let mut command = self.command(host);
        command.args(["agent", "--config"]).arg(self.config());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the daemon starts");
        self.child = Some(child);
        let start = Instant::now();
        while status(&self.socket()).await.is_none() {
            assert!(start.elapsed() < PATIENCE, "{} does not answer:\n{}", self.name, self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn command(&self, host: &Host) -> Command {
        let mut command = host.namespace.command(env!("CARGO_BIN_EXE_shoal"));
        command.env("SHOAL_SOCKET", self.socket());
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It may have been killed with its host; engines go with the namespace.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The status of the node behind `socket`, if it answers.
pub(crate) async fn status(socket: &Path) -> Option<Value> {
    client::get(socket, "/v1/status").await.ok()
}
