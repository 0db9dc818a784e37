//! A peer on the other side of the world, over a path that loses packets.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tempfile::tempdir;
use tokio::{
    io::AsyncReadExt as _,
    net::UdpSocket,
    select,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{LOOPBACK, Node, joined, shut_down, soon};
use crate::{clock, identity::testing::first_node, transport::StreamKind};

const ONE_WAY: Duration = Duration::from_millis(150);
const LOST_PER_CENT: u32 = 5;
/// Ten keep-alives.
const QUIETLY: Duration = Duration::from_secs(10);

/// A relay to a node, which takes its time.
struct Path {
    near: SocketAddr,
    lost_per_cent: Arc<AtomicU32>,
    _ways: JoinSet<()>,
}

impl Path {
    async fn to(node: SocketAddr) -> Self {
        let (near, far) = (UdpSocket::bind(LOOPBACK).await.unwrap(), UdpSocket::bind(LOOPBACK).await.unwrap());
        far.connect(node).await.unwrap();
        let lost_per_cent = Arc::new(AtomicU32::new(0));
        let address = near.local_addr().unwrap();
        let mut ways = JoinSet::new();
        ways.spawn(carry(near, far, lost_per_cent.clone()));
        Self { near: address, lost_per_cent, _ways: ways }
    }

    fn lose(&self, per_cent: u32) {
        self.lost_per_cent.store(per_cent, Ordering::Relaxed);
    }
}

/// Carries packets between `far` and whoever sent to `near`.
async fn carry(near: UdpSocket, far: UdpSocket, lost_per_cent: Arc<AtomicU32>) {
    let mut dice = StdRng::seed_from_u64(7);
    let mut client = None;
    // Both ways take as long, so that what came first leaves first.
    let mut under_way: VecDeque<(Instant, bool, Vec<u8>)> = VecDeque::new();
    let (mut there, mut back) = (vec![0; 2048], vec![0; 2048]);
    loop {
        let due = under_way.front().map(|(due, ..)| *due);
        let (is_there, packet) = select! {
            received = near.recv_from(&mut there) => {
                let (length, from) = received.unwrap();
                client = Some(from);
                (true, &there[..length])
            }
            length = far.recv(&mut back) => (false, &back[..length.unwrap()]),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                match under_way.pop_front() {
                    Some((_, true, packet)) => far.send(&packet).await.unwrap(),
                    Some((_, false, packet)) => near.send_to(&packet, client.unwrap()).await.unwrap(),
                    None => 0,
                };
                continue;
            }
        };
        if !dice.random_ratio(lost_per_cent.load(Ordering::Relaxed), 100) {
            under_way.push_back((Instant::now() + ONE_WAY, is_there, packet.to_vec()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_over_a_slow_lossy_path_is_waited_for_until_it_is_gone() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), clock::now());
    let second = joined(&first, dir.path(), 1);
    let (a, mut b) = (Node::start_patient(first), Node::start_patient(second));
    let path = Path::to(b.address()).await;
    a.transport.learn(b.id, &[path.near]);
    let mut there = a.transport.open(b.id, StreamKind::Admin).await.unwrap();
    let here = b.next_stream().await;
    path.lose(LOST_PER_CENT);
    assert!(timeout(QUIETLY, there.recv.read_u8()).await.is_err(), "both ends wait: nothing is wrong");

    path.lose(100);
    let error = soon(there.recv.read_u8()).await.unwrap_err();
    assert!(error.to_string().contains("nothing came from the peer"), "{error}");
    drop(here);
    shut_down([a, b]).await;
}
