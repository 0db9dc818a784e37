//! How soon nodes that die without a word are missed.

use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep},
};

use super::*;

/// What a daemon is configured with unless its mesh is large.
const ROUND: Duration = Duration::from_millis(500);
const LEARN: Duration = Duration::from_secs(6);
/// Measured on two idle cores: 3.3 to 3.9 s, of which the detector takes 1.9 to 2.9 s; the rest is the silence of the
/// connection. By its idle timeout it would be 6.4 to 7.5 s.
const WITHIN: Duration = Duration::from_secs(10);

/// A member on a runtime of its own, which can be stopped dead: not one packet leaves it any more.
struct Mortal {
    member: Member,
    runtime: Runtime,
}

impl Mortal {
    async fn start(host: Arc<Host>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let member = runtime.spawn(async move { host.start_every(ROUND).await }).await.unwrap();
        Self { member, runtime }
    }

    fn die(self) {
        self.runtime.shutdown_background();
        drop(self.member);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_6_a_cluster_that_dies_is_suspected_within_seconds() {
    let first = Host::first();
    let a = first.start_every(ROUND).await;
    let (second, third) = (first.joins(&a), first.joins(&a));
    let lost = [Arc::new(first.joins(&a)), Arc::new(first.joins(&a))];
    let mut survivors = [a, second.start_every(ROUND).await, third.start_every(ROUND).await];
    let mut victims = Vec::new();
    for host in lost {
        victims.push(Mortal::start(host).await);
    }
    let ids: Vec<NodeId> = victims.iter().map(|victim| victim.member.me()).collect();
    for member in survivors.iter_mut().chain(victims.iter_mut().map(|victim| &mut victim.member)) {
        eventually(&mut member.view, "everybody", |view| {
            view.nodes.values().filter(|node| node.is_alive()).count() == 5
        })
        .await;
    }
    // A detector that has heard next to nothing yet is patient.
    sleep(LEARN).await;
    let killed = Instant::now();
    victims.into_iter().for_each(Mortal::die);
    for survivor in &mut survivors {
        for id in &ids {
            survivor.sees(*id, "that it is lost", |node| matches!(node.liveness, Liveness::Suspect { .. })).await;
        }
    }
    let elapsed = killed.elapsed();
    println!("a cluster that died was suspected by all after {elapsed:?}");
    assert!(elapsed < WITHIN, "{elapsed:?}");
}
