//! Nodes on loopback, in one process.

mod far;
mod joining;
mod links;
mod streams;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use shoal_types::{NodeId, UnixMillis};
use tempfile::{TempDir, tempdir};
use tokio::{task::JoinSet, time::timeout};

use super::{Admission, Exclusion, Inbound, InboundStream, Transport, TransportConfig, pool::Pool};
use crate::{
    clock,
    identity::{
        Identity, NodeCertificate, TokenLedger,
        testing::{MemoryLedger, first_node, limits, member},
    },
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct MemoryAdmission {
    revoked: Mutex<BTreeSet<NodeId>>,
    ledger: MemoryLedger,
}

impl MemoryAdmission {
    fn revoke(&self, node: NodeId) {
        self.revoked.lock().unwrap().insert(node);
    }
}

impl Admission for MemoryAdmission {
    fn is_revoked(&self, node: NodeId) -> bool {
        self.revoked.lock().unwrap().contains(&node)
    }

    fn excludes(&self, certificate: &NodeCertificate, _now: UnixMillis) -> Option<Exclusion> {
        self.is_revoked(certificate.node).then_some(Exclusion::Revoked)
    }

    fn tokens(&self) -> &dyn TokenLedger {
        &self.ledger
    }
}

/// A running node.
struct Node {
    id: NodeId,
    identity: Arc<Identity>,
    admission: Arc<MemoryAdmission>,
    transport: Transport,
    inbound: Inbound,
}

impl Node {
    fn start(identity: Identity) -> Self {
        Self::start_on(identity, LOOPBACK)
    }

    fn start_on(identity: Identity, listen: SocketAddr) -> Self {
        Self::start_with(identity, TransportConfig::new(listen))
    }

    /// One whose connections outlive the patience of a test, unless they are closed for another reason than QUIC's.
    fn start_patient(identity: Identity) -> Self {
        Self::start_with(identity, TransportConfig { idle_timeout: 3 * PATIENCE, ..TransportConfig::new(LOOPBACK) })
    }

    fn start_with(identity: Identity, config: TransportConfig) -> Self {
        let (identity, admission) = (Arc::new(identity), Arc::new(MemoryAdmission::default()));
        let (transport, inbound) = Transport::bind(config, identity.clone(), admission.clone()).unwrap();
        Self { id: identity.node_id(), identity, admission, transport, inbound }
    }

    fn address(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    fn knows(&self, other: &Self) {
        self.transport.learn(other.id, &[other.address()]);
    }

    fn pool(&self) -> &Arc<Pool> {
        self.transport.pool()
    }

    async fn next_stream(&mut self) -> InboundStream {
        soon(self.inbound.streams.recv()).await.unwrap()
    }

    async fn until_connected(&self, peers: &[NodeId]) {
        let peers: BTreeSet<NodeId> = peers.iter().copied().collect();
        soon(self.transport.connected().wait_for(|connected| *connected == peers)).await.unwrap();
    }
}

/// A mesh of `count` nodes that know each other's addresses, and the directory they live in.
fn mesh(count: usize) -> (TempDir, Vec<Node>) {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), clock::now());
    let others = (1..count).map(|index| joined(&first, dir.path(), index)).collect::<Vec<_>>();
    let nodes: Vec<Node> = [first].into_iter().chain(others).map(Node::start).collect();
    for node in &nodes {
        nodes.iter().for_each(|other| node.knows(other));
    }
    (dir, nodes)
}

fn joined(first: &Identity, dir: &Path, index: usize) -> Identity {
    member(first, dir, &format!("node-{index}"), &limits(1), clock::now())
}

fn pair() -> (TempDir, Node, Node) {
    let (dir, mut nodes) = mesh(2);
    let second = nodes.remove(1);
    (dir, nodes.remove(0), second)
}

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("nothing happened for a long time")
}

async fn shut_down(nodes: impl IntoIterator<Item = Node>) {
    let mut ends: JoinSet<()> = nodes.into_iter().map(|node| async move { node.transport.shutdown().await }).collect();
    while let Some(end) = ends.join_next().await {
        end.unwrap();
    }
}
