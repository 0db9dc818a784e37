//! Whole meshes in one process, over loopback.

mod failure;
mod publish;

use shoal_types::{Claim, ClaimId, Hlc, Liveness, NodeView, ReplicaState, Revision};
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};

use super::*;
use crate::{
    fixture::{PATIENCE, endpoint, eventually, facts, first_node, joined_node},
    identity::{NODE_LIFE, testing::limits},
    remember_peers,
    store::{StoreError, tests::age},
    transport::{Exclusion, join},
};

const INTERVAL: Duration = Duration::from_millis(100);

/// A node that can be stopped and started again.
struct Host {
    dir: TempDir,
    identity: Arc<Identity>,
}

impl Host {
    fn first() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { identity: first_node(dir.path()), dir }
    }

    /// A node that joined through this one and knows where it is.
    fn joins(&self, mesh: &Member) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let peer = (self.identity.node_id(), vec![mesh.mesh.local_addr()]);
        remember_peers(dir.path(), &[peer]).unwrap();
        Self { identity: joined_node(&self.identity, dir.path(), true), dir }
    }

    async fn start(&self) -> Member {
        self.start_every(INTERVAL).await
    }

    /// Starts it with a round of gossip every `interval`.
    async fn start_every(&self, interval: Duration) -> Member {
        self.start_with(interval, Handle::current()).await
    }

    /// And with its connections on the threads of `connections`.
    async fn start_with(&self, interval: Duration, connections: Handle) -> Member {
        let config = MeshConfig {
            state_dir: self.dir.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: Vec::new(),
            gossip_interval: interval,
            certificate_life: NODE_LIFE,
            connections,
        };
        let (mesh, streams) = Mesh::start(config, self.identity.clone(), facts("test")).await.unwrap();
        Member { view: mesh.view(), mesh, streams }
    }
}

struct Member {
    mesh: Mesh,
    view: watch::Receiver<Arc<View>>,
    streams: mpsc::Receiver<InboundStream>,
}

impl Member {
    fn me(&self) -> NodeId {
        self.mesh.me()
    }

    async fn sees(&mut self, node: NodeId, what: &str, holds: impl Fn(&NodeView) -> bool) {
        eventually(&mut self.view, what, |view| view.nodes.get(&node).is_some_and(|node| holds(node))).await;
    }

    async fn has(&mut self, endpoints: usize) {
        eventually(&mut self.view, "the endpoints", |view| view.endpoints.len() == endpoints).await;
    }

    /// Stops without a goodbye.
    async fn kill(self) {
        self.mesh.stop_all().await;
    }
}

fn claim(member: &Member, state: ReplicaState) -> Claim {
    let (node, generation) = (member.me(), member.mesh.generation());
    Claim {
        id: ClaimId { node, generation, counter: 1 },
        endpoint: "e".parse().unwrap(),
        revision: Revision(Hlc { time: generation, counter: 0, node }),
        gpus: 0,
        claimed: generation,
        state,
        since: generation,
        reason: None,
        progress: None,
        crashes: 0,
        leaving: None,
    }
}

/// Three nodes that see each other.
async fn three() -> ([Host; 3], [Member; 3]) {
    let first = Host::first();
    let a = first.start().await;
    let (second, third) = (first.joins(&a), first.joins(&a));
    let mut members = [a, second.start().await, third.start().await];
    let ids = members.each_ref().map(Member::me);
    for member in &mut members {
        for id in ids {
            member.sees(id, "everybody", NodeView::is_alive).await;
        }
    }
    ([first, second, third], members)
}

#[tokio::test]
async fn what_is_claimed_and_applied_on_one_node_is_on_all() {
    let (_hosts, mut members) = three().await;
    let id = members[1].me();
    let claim = claim(&members[1], ReplicaState::Claimed);
    members[1].mesh.publish_claim(&claim).await;
    assert_eq!(members[1].view.borrow().nodes[&id].claims[&claim.id], claim);
    let applied = members[2].mesh.store().apply(endpoint("e", "m", 1), None, clock::now()).await.unwrap();
    for member in &mut members {
        member.sees(id, "the claim", |node| node.claims.contains_key(&claim.id)).await;
        member.has(1).await;
        assert_eq!(*member.view.borrow().endpoints[&"e".parse().unwrap()], applied.record);
        let same = |view: &Arc<View>| {
            view.nodes.values().map(|node| &node.specs).collect::<std::collections::BTreeSet<_>>().len() == 1
        };
        eventually(&mut member.view, "one digest everywhere", same).await;
    }
}

#[tokio::test]
async fn connections_are_driven_and_streams_handed_out_on_the_threads_that_are_given() {
    let threads = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let host = Host::first();
    let Member { mesh, mut streams, .. } = host.start_with(INTERVAL, threads.handle().clone()).await;
    threads.shutdown_background();
    assert!(timeout(PATIENCE, streams.recv()).await.unwrap().is_none(), "no stream is handed out any more");
    let ended = Instant::now();
    while mesh.transport.lapse() < Duration::from_secs(1) {
        assert!(ended.elapsed() < PATIENCE, "something else drives connections");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn rule_1_a_crash_is_said_whatever_the_engine_said() {
    let host = Host::first();
    let a = host.start().await;
    let ready = claim(&a, ReplicaState::Ready);
    a.mesh.publish_claim(&ready).await;
    for garbage in ["\u{1}", "\"", "\\", "x", "\u{10ffff}"] {
        let crashed = Claim { state: ReplicaState::Backoff, reason: Some(garbage.repeat(2_000)), ..ready.clone() };
        a.mesh.publish_claim(&crashed).await;
        assert_eq!(a.view.borrow().nodes[&a.me()].claims[&ready.id].state, ReplicaState::Backoff);
        a.mesh.publish_claim(&ready).await;
    }
}

#[tokio::test]
async fn rule_2_what_was_deleted_while_a_node_was_down_stays_deleted() {
    let (hosts, [mut a, mut b, mut c]) = three().await;
    a.mesh.store().apply(endpoint("e", "m", 1), None, clock::now()).await.unwrap();
    b.has(1).await;
    c.has(1).await;
    c.kill().await;
    b.mesh.store().delete(&"e".parse().unwrap(), None, clock::now()).await.unwrap();
    b.mesh.store().apply(endpoint("f", "m", 1), None, clock::now()).await.unwrap();
    let mut c = hosts[2].start().await;
    assert!(c.mesh.store().endpoints().contains_key(&"e".parse().unwrap()), "it does not know yet");
    let news = |view: &Arc<View>| {
        view.endpoints.contains_key(&"f".parse().unwrap()) && !view.endpoints.contains_key(&"e".parse().unwrap())
    };
    for member in [&mut a, &mut b, &mut c] {
        eventually(&mut member.view, "what was written meanwhile", news).await;
    }
}

#[tokio::test]
async fn rule_2_a_node_that_was_away_too_long_fetches_all_and_brings_nothing_back() {
    let (hosts, [mut a, b, c]) = three().await;
    a.mesh.store().apply(endpoint("e", "m", 1), None, clock::now()).await.unwrap();
    let digest = a.mesh.store().snapshot().digest.to_string();
    let (absent, present) = (c.me(), b.me());
    a.sees(present, "the same store on b", |node| node.specs == digest).await;
    c.kill().await;
    age(&hosts[2].dir.path().join(STORE_FILE), hosts[2].identity.clone());
    let mut c = hosts[2].start().await;
    assert!(c.mesh.store().endpoints().contains_key(&"ghost".parse().unwrap()));
    c.sees(absent, "the store of the others", |node| node.specs == digest).await;
    c.has(1).await;
    for node in [absent, present] {
        a.sees(node, "the same store everywhere", |node| node.specs == digest).await;
    }
    a.has(1).await;
}

#[tokio::test]
async fn rule_2_peers_are_asked_the_time_and_a_clock_that_disagrees_writes_nothing() {
    let (_hosts, [a, b, c]) = three().await;
    let (nothing, mut every) = ("e".parse().unwrap(), tokio::time::interval(INTERVAL));
    for member in [&a, &b, &c] {
        let fast = || clock::now().plus(Duration::from_secs(3600));
        let refused = timeout(Duration::from_secs(20), async {
            while !matches!(
                member.mesh.store().delete(&nothing, None, fast()).await,
                Err(StoreError::ClockSkew { skew }) if skew.ahead
            ) {
                every.tick().await;
            }
        });
        refused.await.unwrap();
        member.mesh.store().apply(endpoint("e", "m", 1), None, clock::now()).await.unwrap();
    }
}

#[tokio::test]
async fn an_orderly_stop_is_seen_as_left_and_not_waited_for() {
    let (_hosts, [mut a, mut b, c]) = three().await;
    let id = c.me();
    c.mesh.shutdown().await;
    for member in [&mut a, &mut b] {
        member.sees(id, "the goodbye", |node| !node.is_alive()).await;
        assert_eq!(member.view.borrow().nodes[&id].liveness, Liveness::Left);
    }
}

#[tokio::test]
async fn a_killed_node_is_suspected_and_its_restart_noticed() {
    let (hosts, [mut a, b, c]) = three().await;
    let (id, generation) = (c.me(), c.mesh.generation());
    c.kill().await;
    a.sees(id, "that it is gone", |node| matches!(node.liveness, Liveness::Suspect { .. })).await;
    let c = hosts[2].start().await;
    assert!(c.mesh.generation() > generation);
    a.sees(id, "that it is back", NodeView::is_alive).await;
    drop(b);
}

#[tokio::test]
async fn a_revoked_node_vanishes_and_is_not_let_in_again() {
    let (hosts, [mut a, mut b, c]) = three().await;
    let id = c.me();
    a.mesh.revoke_node(id).await.unwrap();
    for member in [&mut a, &mut b] {
        eventually(&mut member.view, "its absence", |view| !view.nodes.contains_key(&id)).await;
        assert!(matches!(member.mesh.open(id, StreamKind::Probe).await, Err(OpenError::Revoked { .. })));
    }
    c.kill().await;
    let c = hosts[2].start().await;
    let target = a.me();
    let refused = timeout(Duration::from_secs(20), async {
        // A node that is not told may open a stream before the other end has hung up.
        while let Ok(mut stream) = c.mesh.open(target, StreamKind::Probe).await {
            let _broken = stream.recv.read_frame::<u8>().await;
        }
    });
    refused.await.unwrap();
    assert!(a.streams.try_recv().is_err());
    assert!(!a.view.borrow().nodes.contains_key(&id));
    assert!(matches!(a.mesh.revoke_node(a.me()).await, Err(MeshError::OwnNode)));
}

#[tokio::test]
async fn with_an_issuer_goes_whoever_it_made_and_is_not_on_record() {
    let (_hosts, [a, b, mut c]) = three().await;
    let (issuer, made) = (a.me(), b.me());
    c.sees(made, "both", NodeView::is_alive).await;
    let mut connected = c.mesh.transport.connected();
    eventually(&mut connected, "connections", |connected| connected.contains(&made)).await;
    c.mesh.revoke_node(issuer).await.unwrap();
    eventually(&mut connected, "no connection to what it made", |connected| !connected.contains(&made)).await;
    let refused = c.mesh.open(made, StreamKind::Probe).await.unwrap_err();
    let signed = Exclusion::Issuer { issuer };
    assert!(
        matches!(&refused, OpenError::Excluded { exclusion, .. } if *exclusion == signed)
            || matches!(refused, OpenError::Refused { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_node_that_nobody_sees_can_be_revoked() {
    let first = Host::first();
    let a = first.start().await;
    let lost = first.joins(&a);
    let id = lost.identity.node_id();
    assert!(!a.view.borrow().nodes.contains_key(&id));
    a.mesh.revoke_node(id).await.unwrap();
    a.mesh.revoke_node(id).await.unwrap();
    assert!(matches!(a.mesh.open(id, StreamKind::Probe).await, Err(OpenError::Revoked { .. })));
    a.kill().await;
    let mut a = first.start().await;
    assert!(matches!(a.mesh.open(id, StreamKind::Probe).await, Err(OpenError::Revoked { .. })), "after a restart too");
    let mut b = first.joins(&a).start().await;
    a.sees(b.me(), "a node that joined later", NodeView::is_alive).await;
    let digest = a.mesh.store().snapshot().digest.to_string();
    let me = b.me();
    b.sees(me, "the same store", |node| node.specs == digest).await;
    assert!(matches!(b.mesh.open(id, StreamKind::Probe).await, Err(OpenError::Revoked { .. })));
}

#[tokio::test]
async fn streams_for_the_agent_arrive_there() {
    let (_hosts, [mut a, b, _c]) = three().await;
    let mut stream = b.mesh.open(a.me(), StreamKind::Forward).await.unwrap();
    stream.send.write_frame(&"hello".to_owned()).await.unwrap();
    let mut arrived = a.streams.recv().await.unwrap();
    assert_eq!((arrived.from, arrived.kind), (b.me(), StreamKind::Forward));
    assert_eq!(arrived.stream.recv.read_frame::<String>().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_host_joins_with_a_token_and_is_in_the_mesh() {
    let first = Host::first();
    let mut a = first.start().await;
    let token = a.mesh.create_token(limits(1)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let joined = join(&token, &dir.path().join("identity"), clock::now()).await.unwrap();
    remember_peers(dir.path(), &joined.peers).unwrap();
    let second = Host { dir, identity: Arc::new(joined.identity) };
    let mut b = second.start().await;
    a.sees(b.me(), "the new node", NodeView::is_alive).await;
    b.sees(a.me(), "the first node", NodeView::is_alive).await;
    assert_eq!(a.mesh.tokens().await.unwrap()[0].used_by, [b.me()]);
    let other = tempfile::tempdir().unwrap();
    let refused = join(&token, &other.path().join("identity"), clock::now()).await;
    assert!(refused.is_err(), "the token is used up");
}

#[tokio::test]
async fn tokens_are_listed_everywhere_and_made_by_issuers() {
    let (_hosts, [a, mut b, _c]) = three().await;
    assert!(matches!(b.mesh.create_token(limits(3)).await, Err(MeshError::NotAnIssuer { .. })));
    let token = a.mesh.create_token(limits(3)).await.unwrap();
    assert_eq!(token.addresses(), [a.mesh.local_addr()]);
    let listed = a.mesh.tokens().await.unwrap();
    assert_eq!((listed[0].id, listed[0].grant.uses, listed[0].revoked), (token.id(), 3, false));
    a.mesh.revoke_token(token.id()).await.unwrap();
    let digest = a.mesh.store().snapshot().digest.to_string();
    let me = b.me();
    b.sees(me, "the same store", |node| node.specs == digest).await;
    assert!(b.mesh.tokens().await.unwrap()[0].revoked);
}
