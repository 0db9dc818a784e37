//! A mesh of daemons on a network of their own.

use std::net::SocketAddr;

use tempfile::TempDir;

use super::{
    Load, Watch, namespace,
    net::Net,
    node::{Node, Site},
    say,
};

/// The endpoint of these tests.
pub(crate) const ENDPOINT: &str = "hello";

/// Daemons, each on its host, that end with the test.
#[derive(Debug)]
pub(crate) struct Mesh {
    nodes: Vec<Node>,
    pub(crate) net: Net,
    dir: TempDir,
}

impl Mesh {
    /// A node at each of `sites`. Returns once all see each other; `None`, which has been said, where there can be no
    /// such network.
    pub(crate) async fn start(sites: &[Site]) -> Option<Self> {
        let net = match Net::new(sites.len()) {
            Ok(net) => net,
            Err(why) => {
                say(&format!("SKIPPED network namespaces: {why}"));
                return None;
            }
        };
        let dir = namespace::directory();
        let mut mesh = Self { nodes: Vec::with_capacity(sites.len()), net, dir };
        for (index, &site) in sites.iter().enumerate() {
            mesh.add_node(index, site).await;
        }
        let watch = mesh.watch();
        watch.until("all nodes to see each other", |round| round.all_see(sites.len())).await;
        Some(mesh)
    }

    async fn add_node(&mut self, index: usize, site: Site) {
        let host = self.net.host(index);
        let mut node = Node::prepare(self.dir.path().join(format!("node-{index}")), index, site, host);
        let state_dir = node.state_dir().display().to_string();
        match self.nodes.first() {
            None => node.run(host, &["init", "--state-dir", &state_dir], ""),
            Some(first) => {
                let token = first.run(self.net.host(0), &["token", "create"], "");
                node.run(host, &["join", "-", "--state-dir", &state_dir], &token)
            }
        };
        node.start(host).await;
        self.nodes.push(node);
    }

    /// Applies `yaml` on node `on`.
    pub(crate) fn apply(&self, on: usize, yaml: &str) {
        self.nodes[on].run(self.net.host(on), &["apply", "-f", "-"], yaml);
    }

    /// Begins to ask all nodes, again and again, how they see the endpoint.
    pub(crate) fn watch(&self) -> Watch {
        Watch::start(self.nodes.iter().map(Node::socket).collect())
    }

    /// Clients that ask the first of `ingresses`, and the next one when that fails them.
    pub(crate) fn load(&self, ingresses: &[usize]) -> Load {
        Load::start(ingresses.iter().map(|&index| self.http(index)).collect())
    }

    pub(crate) fn http(&self, node: usize) -> SocketAddr {
        self.nodes[node].http()
    }

    /// The last `lines` of every node's log.
    pub(crate) fn logs(&self, lines: usize) -> String {
        let tail = |log: String| {
            let all: Vec<&str> = log.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        };
        let logs =
            self.nodes.iter().enumerate().map(|(index, node)| format!("== node {index}\n{}\n", tail(node.log())));
        logs.collect()
    }
}

/// YAML of the endpoint, on the simulated engine: spread over zones, and so over nodes.
pub(crate) fn endpoint(replicas: usize, load_time: &str, replace_after: &str) -> String {
    format!(
        "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: {ENDPOINT}}}, spec: {{model: test/{ENDPOINT}, \
         engine: {{kind: sim, loadTime: {load_time}, timeToFirstToken: 20ms, interTokenLatency: 50ms}}, \
         resources: {{gpus: 1}}, replicas: {{min: {replicas}}}, \
         placement: {{spread: zone, replaceAfter: {replace_after}}}}}}}"
    )
}
