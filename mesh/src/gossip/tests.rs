//! Several gossips in one process, over a network of queues.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use chitchat::{ChitchatId, Serializable as _};
use shoal_types::{
    Claim, ClaimId, Hlc, Liveness, Load, MeshId, NodeId, NodeView, ReplicaState, Revision, UnixMillis, View,
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    fixture::{PATIENCE, eventually, facts},
    store::Snapshot,
};

const INTERVAL: Duration = Duration::from_millis(30);

fn id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

/// Delivers at once, or not at all.
#[derive(Debug, Default)]
struct Net {
    inboxes: Mutex<BTreeMap<NodeId, mpsc::Sender<(NodeId, Bytes)>>>,
    cut_off: Mutex<BTreeSet<NodeId>>,
    silent: Mutex<BTreeSet<NodeId>>,
    busy: Mutex<BTreeSet<NodeId>>,
}

impl Net {
    fn deliver(&self, from: NodeId, to: NodeId, message: Bytes) -> bool {
        let cut_off = self.cut_off.lock().unwrap();
        let inboxes = self.inboxes.lock().unwrap();
        let open = !cut_off.contains(&from) && !cut_off.contains(&to);
        open && inboxes.get(&to).is_some_and(|inbox| inbox.try_send((from, message)).is_ok())
    }
}

#[derive(Debug)]
struct Port {
    me: NodeId,
    net: Arc<Net>,
}

impl Link for Port {
    fn send(&self, to: NodeId, message: Bytes) -> bool {
        self.net.deliver(self.me, to, message)
    }

    fn learn(&self, _: NodeId, _: &[SocketAddr]) {}

    fn silent_for(&self, _: Duration) -> BTreeSet<NodeId> {
        self.net.silent.lock().unwrap().clone()
    }

    fn lapse(&self) -> Duration {
        if self.net.busy.lock().unwrap().contains(&self.me) { PATIENCE } else { Duration::ZERO }
    }

    fn disconnect(&self, node: NodeId) {
        self.net.cut_off.lock().unwrap().insert(node);
    }
}

struct Node {
    gossip: Gossip,
    view: watch::Receiver<Arc<View>>,
    specs: watch::Sender<Arc<Snapshot>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    connected: watch::Sender<BTreeSet<NodeId>>,
}

impl Node {
    /// Starts node `byte`, which knows node 1.
    async fn start(net: &Arc<Net>, dir: &TempDir, byte: u8, generation: u64) -> Self {
        let state_dir = state_dir(dir, byte);
        std::fs::create_dir_all(&state_dir).unwrap();
        if byte != 1 {
            let first = (id(1), vec!["10.0.0.1:1".parse().unwrap()]);
            remember_peers(&state_dir, &[first]).unwrap();
        }
        let (inbox, inbound) = mpsc::channel(256);
        net.inboxes.lock().unwrap().insert(id(byte), inbox);
        let connected = watch::Sender::new(BTreeSet::new());
        let specs = watch::Sender::new(Arc::new(Snapshot::default()));
        let link = Arc::new(Port { me: id(byte), net: net.clone() });
        let parts = GossipParts { link, inbound, connected: connected.subscribe(), specs: specs.subscribe() };
        let config = GossipConfig {
            me: id(byte),
            mesh: MeshId::from_bytes([0; 16]),
            generation: UnixMillis::from_millis(generation),
            interval: INTERVAL,
            state_dir,
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let own = facts(&format!("node-{byte}"));
        let gossip = Gossip::start(config, &own, parts, tasks.clone(), stop.clone()).await.unwrap();
        let view = gossip.view();
        Self { gossip, view, specs, tasks, stop, connected }
    }

    async fn sees(&mut self, byte: u8, what: &str, holds: impl Fn(&NodeView) -> bool) {
        eventually(&mut self.view, what, |view| view.nodes.get(&id(byte)).is_some_and(|node| holds(node))).await;
    }

    async fn kill(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn state_dir(dir: &TempDir, byte: u8) -> PathBuf {
    dir.path().join(byte.to_string())
}

fn claim(byte: u8, counter: u32) -> Claim {
    let version = Hlc { time: UnixMillis::from_millis(1), counter: 0, node: id(9) };
    Claim {
        id: ClaimId { node: id(byte), generation: UnixMillis::from_millis(1), counter },
        endpoint: "e".parse().unwrap(),
        revision: Revision(version),
        gpus: 1,
        claimed: UnixMillis::from_millis(1),
        state: ReplicaState::Ready,
        since: UnixMillis::from_millis(1),
        reason: None,
        progress: None,
        crashes: 0,
        leaving: None,
    }
}

#[tokio::test]
async fn what_one_says_all_hear() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let mut b = Node::start(&net, &dir, 2, 1).await;
    let mut c = Node::start(&net, &dir, 3, 1).await;
    for node in [&mut a, &mut b, &mut c] {
        for byte in 1..=3 {
            node.sees(byte, "everybody", NodeView::is_alive).await;
        }
    }
    let claim = claim(1, 7);
    a.gossip.publish(Key::Claim(7), &claim).await;
    assert_eq!(a.view.borrow().nodes[&id(1)].claims[&claim.id], claim, "own claims show at once");
    a.gossip.publish(Key::Load(7), &Load { inflight: 3, ..Load::default() }).await;
    for node in [&mut b, &mut c] {
        node.sees(1, "the claim", |a| a.claims.contains_key(&claim.id)).await;
        node.sees(1, "its load", |a| a.loads.get(&claim.id).is_some_and(|load| load.inflight == 3)).await;
    }
    a.gossip.retract([Key::Load(7), Key::Claim(7)]).await;
    b.sees(1, "that it is gone", |a| a.claims.is_empty() && a.loads.is_empty()).await;
}

#[tokio::test]
async fn rule_6_a_silent_node_is_suspected_and_welcomed_back() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let mut b = Node::start(&net, &dir, 2, 1).await;
    a.sees(2, "b", NodeView::is_alive).await;
    b.sees(1, "a", NodeView::is_alive).await;
    net.cut_off.lock().unwrap().insert(id(2));
    a.sees(2, "that b is silent", |b| matches!(b.liveness, Liveness::Suspect { .. })).await;
    net.cut_off.lock().unwrap().clear();
    a.sees(2, "b again", NodeView::is_alive).await;
}

#[tokio::test]
async fn rule_6_a_node_that_has_no_time_to_listen_declares_nobody_lost() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let _b = Node::start(&net, &dir, 2, 1).await;
    let mut c = Node::start(&net, &dir, 3, 1).await;
    a.sees(2, "b", NodeView::is_alive).await;
    c.sees(2, "b", NodeView::is_alive).await;
    let is_lost = |b: &NodeView| matches!(b.liveness, Liveness::Suspect { .. });
    net.busy.lock().unwrap().insert(id(1));
    let cut = Instant::now();
    net.cut_off.lock().unwrap().insert(id(2));
    c.sees(2, "that b is silent", is_lost).await;
    // As long again as it took one that listens.
    tokio::time::sleep(cut.elapsed()).await;
    assert!(!is_lost(&a.view.borrow().nodes[&id(2)]));
    net.busy.lock().unwrap().clear();
    a.sees(2, "that b is silent", is_lost).await;
}

#[tokio::test]
async fn rule_6_a_connection_on_which_nothing_comes_keeps_nobody_alive() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let mut b = Node::start(&net, &dir, 2, 1).await;
    a.sees(2, "b", NodeView::is_alive).await;
    b.sees(1, "a", NodeView::is_alive).await;
    a.connected.send_replace([id(2)].into());
    let cut = Instant::now();
    net.cut_off.lock().unwrap().insert(id(2));
    net.silent.lock().unwrap().insert(id(2));
    a.sees(2, "that b is silent", |b| matches!(b.liveness, Liveness::Suspect { .. })).await;
    assert!(cut.elapsed() < Duration::from_secs(6), "not for as long as a connection on which something comes");
}

#[tokio::test]
async fn a_goodbye_is_heard_without_waiting_for_the_detector() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let mut b = Node::start(&net, &dir, 2, 1).await;
    a.sees(2, "b", NodeView::is_alive).await;
    b.sees(1, "a", NodeView::is_alive).await;
    b.gossip.leave().await;
    b.kill().await;
    let gone = |view: &Arc<View>| view.nodes[&id(2)].liveness != Liveness::Alive;
    eventually(&mut a.view, "b's goodbye", gone).await;
    assert_eq!(a.view.borrow().nodes[&id(2)].liveness, Liveness::Left);
}

#[tokio::test]
async fn rule_1_a_restarted_node_replaces_its_old_self_at_once() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let mut b = Node::start(&net, &dir, 2, 1).await;
    b.sees(1, "a", NodeView::is_alive).await;
    b.gossip.publish(Key::Claim(1), &claim(2, 1)).await;
    a.sees(2, "b's claim", |b| b.claims.len() == 1).await;
    b.kill().await;
    let _b = Node::start(&net, &dir, 2, 2).await;
    let mut suspected = false;
    eventually(&mut a.view, "b without its old claim", |view| {
        suspected |= view.nodes[&id(2)].liveness != Liveness::Alive;
        view.nodes[&id(2)].claims.is_empty()
    })
    .await;
    assert!(a.view.borrow().nodes[&id(2)].is_alive());
    assert!(!suspected, "the restart took less time than the detector");
}

/// `Ack { Node 2, KeyValue at version 10, SetMaxVersion 5 }`: decodes, and trips an assertion in chitchat 0.11.2 where
/// node 2 is known.
fn message_that_panics() -> Bytes {
    let mut delta = vec![0];
    ChitchatId::new(id(2).to_string(), 1, address::stand_in(id(2))).serialize(&mut delta);
    delta.extend([0; 16]);
    delta.push(1);
    "key".serialize(&mut delta);
    "value".serialize(&mut delta);
    10u64.serialize(&mut delta);
    delta.push(0);
    delta.push(2);
    5u64.serialize(&mut delta);
    let mut message = vec![];
    45_139u16.serialize(&mut message);
    message.extend([0, 2, 2]);
    u16::try_from(delta.len()).unwrap().serialize(&mut message);
    message.extend(delta);
    message.push(0);
    message.into()
}

#[tokio::test]
async fn a_message_that_makes_chitchat_panic_does_not_end_gossip() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let mut b = Node::start(&net, &dir, 2, 1).await;
    a.gossip.publish(Key::Claim(1), &claim(1, 1)).await;
    b.sees(1, "a's claim", |a| a.claims.len() == 1).await;
    assert!(net.deliver(id(13), id(1), message_that_panics()));
    let restarted = state_dir(&dir, 1).join("generation");
    timeout(PATIENCE, async {
        while !restarted.exists() {
            let _round = timeout(INTERVAL, b.view.changed()).await;
            let view = b.view.borrow();
            assert_eq!(view.nodes[&id(1)].claims.len(), 1, "claims are published again before they are missed");
            assert_eq!(view.nodes[&id(1)].liveness, Liveness::Alive);
        }
    })
    .await
    .unwrap();
    a.gossip.publish(Key::Claim(2), &claim(1, 2)).await;
    b.sees(1, "a claim made after the panic", |a| a.claims.len() == 2).await;
    b.gossip.publish(Key::Claim(5), &claim(2, 5)).await;
    a.sees(2, "a claim heard after the panic", |b| b.claims.len() == 1).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_dropped() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let b = Node::start(&net, &dir, 2, 1).await;
    for garbage in [&b""[..], b"junk", &[0x53, 0xb0, 0, 2, 9], &[0x53, 0xb0, 0, 3, 0]] {
        net.deliver(id(2), id(1), Bytes::copy_from_slice(garbage));
    }
    b.gossip.publish(Key::Claim(1), &claim(2, 1)).await;
    a.sees(2, "b", |b| b.claims.len() == 1).await;
    assert!(!state_dir(&dir, 1).join("generation").exists(), "nothing had to be restarted");
}

#[tokio::test]
async fn what_is_too_large_is_not_said() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let a = Node::start(&net, &dir, 1, 1).await;
    let large = Claim { reason: Some("x".repeat(2_000)), ..claim(1, 1) };
    a.gossip.publish(Key::Claim(1), &large).await;
    assert!(a.view.borrow().nodes[&id(1)].claims.is_empty());
}

#[tokio::test]
async fn a_revoked_node_vanishes() {
    let (net, dir) = (Arc::new(Net::default()), tempfile::tempdir().unwrap());
    let mut a = Node::start(&net, &dir, 1, 1).await;
    let _b = Node::start(&net, &dir, 2, 1).await;
    a.sees(2, "b", NodeView::is_alive).await;
    a.specs.send_replace(Arc::new(Snapshot {
        revoked_nodes: [(id(2), UnixMillis::default())].into(),
        ..Snapshot::default()
    }));
    eventually(&mut a.view, "b's absence", |view| !view.nodes.contains_key(&id(2))).await;
    assert!(net.cut_off.lock().unwrap().contains(&id(2)), "and its connection is closed");
}
