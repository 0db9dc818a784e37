//! A mesh of daemons on loopback that a test scripts: `Mesh::start(3)`, `mesh.node(0).kill()`, `mesh.apply(..)`.

mod http;
mod node;

use std::{
    future::Future,
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    process::Output,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

pub(crate) use http::{Answer, chat, chat_with_key, request, stream_chat};
pub(crate) use node::{Node, Placement, SigtermMeans};

/// Longest wait for anything in these tests: generous, as test machines stall.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn shoal() -> PathBuf {
    env!("CARGO_BIN_EXE_shoal").into()
}

/// Daemons that end with the test.
pub(crate) struct Mesh {
    pub(crate) nodes: Vec<Node>,
    _dir: TempDir,
}

impl Mesh {
    /// `count` nodes: all but the last at home, the last one rented.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_on(count, SigtermMeans::Daemon).await
    }

    /// The same, where a SIGTERM says something else.
    pub(crate) async fn start_on(count: usize, sigterm: SigtermMeans) -> Self {
        let dir = TempDir::with_prefix("shoal-test-").expect("a temporary directory");
        let mut nodes: Vec<Node> = Vec::with_capacity(count);
        for index in 0..count {
            let placement = if index > 0 && index + 1 == count { Placement::Burst } else { Placement::Home };
            let mut node = Node::prepare(dir.path().join(format!("node-{index}")), index, placement, sigterm);
            match nodes.first() {
                None => node.run_ok(&["init", "--state-dir", &node.state_dir()]),
                Some(first) => node.join_with(&first.run_ok(&["token", "create"])),
            };
            node.start().await;
            nodes.push(node);
        }
        let mesh = Self { nodes, _dir: dir };
        for node in &mesh.nodes {
            node.wait_for("all nodes to be seen", |status| alive(status) == count).await;
        }
        mesh
    }

    /// Applies a simulated endpoint on node `on` and waits until it serves.
    pub(crate) async fn apply(&self, on: usize, name: &str, replicas: u32) {
        self.nodes[on].apply(&endpoint(name, replicas, "10ms"));
        self.nodes[on].wait_for("the endpoint to be ready", |status| ready(status, name) == replicas as usize).await;
    }

    /// Index of a node that serves `name`, and one that does not.
    pub(crate) async fn serving_and_not(&self, name: &str) -> (usize, usize) {
        let holds = self.holders(name).await;
        let find = |wanted: bool| holds.iter().position(|&holds| holds == wanted).expect("one of each kind");
        (find(true), find(false))
    }

    /// For each node whether it serves `name`.
    pub(crate) async fn holders(&self, name: &str) -> Vec<bool> {
        let status = self.running().next().expect("a running node").status();
        self.nodes.iter().map(|node| serving_nodes(&status, name).contains(&node.name())).collect()
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_running())
    }
}

/// YAML of a simulated endpoint; it makes a token every `gap`.
pub(crate) fn endpoint(name: &str, replicas: u32, gap: &str) -> String {
    format!(
        "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: {name}}}, spec: {{model: test/{name}, \
         engine: {{kind: sim, timeToFirstToken: 20ms, interTokenLatency: {gap}}}, resources: {{gpus: 1}}, \
         replicas: {{min: {replicas}}}, placement: {{spread: zone, replaceAfter: 1s}}}}}}"
    )
}

/// Nodes that are alive in a status.
pub(crate) fn alive(status: &Value) -> usize {
    list(&status["nodes"]).filter(|node| node["liveness"] == "alive").count()
}

/// Ready replicas of an endpoint in a status.
pub(crate) fn ready(status: &Value, name: &str) -> usize {
    find(status, name).and_then(|endpoint| endpoint["status"]["ready"].as_u64()).unwrap_or(0) as usize
}

/// Names of the live nodes with a ready replica of an endpoint.
pub(crate) fn serving_nodes(status: &Value, name: &str) -> Vec<String> {
    let replicas = find(status, name).map(|endpoint| endpoint["status"]["replicas"].clone()).unwrap_or_default();
    list(&replicas)
        .filter(|replica| replica["state"] == "ready" && replica["liveness"] == "alive")
        .map(|replica| replica["node"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The endpoint called `name` in a status.
pub(crate) fn find<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    list(&status["endpoints"]).find(|endpoint| endpoint["metadata"]["name"] == name)
}

pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Polls until `check` gives a value; the daemon's state is only visible by asking.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A TCP port that is free now.
pub(crate) fn free_tcp_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// A UDP port that is free now.
fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("a bound socket has an address").port()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
