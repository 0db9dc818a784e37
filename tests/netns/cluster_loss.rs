//! A cluster that is gone from one moment to the next.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::harness::{Mesh, Round, Site, endpoint, say};

/// From the loss until other nodes have claimed what was lost.
const RECLAIMED: Duration = Duration::from_secs(10);
/// From the claim until the engine is started: the settle time of a mesh by default.
const SETTLE: Duration = Duration::from_secs(3);
/// What the engines of the test pretend to need for their weights.
const LOAD: Duration = Duration::from_secs(2);
/// What a busy test machine may add to both.
const SLACK: Duration = Duration::from_secs(6);

const A: Site = Site { cluster: "a", gpus: 2 };
const B: Site = Site { cluster: "b", gpus: 2 };
const SURVIVORS: [usize; 3] = [0, 1, 2];
const LOST: [usize; 2] = [3, 4];
/// One on each node, as a rule; on a busy machine a node can come too late for its turn, and another has two.
const DESIRED: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_dies() {
    let Some(mesh) = Mesh::start(&[A, A, A, B, B]).await else { return };
    mesh.apply(0, &endpoint(DESIRED, &format!("{}s", LOAD.as_secs()), "0s"));
    let watch = mesh.watch();
    let before = watch.until("the endpoint to be ready", |round| round.is_settled(DESIRED)).await;
    assert!(before.count(&LOST, "ready") > 0, "both clusters serve:\n{before}");
    // Some clients are near; some lose the node that they talk to.
    let (near, orphaned) = (mesh.load(&[0]), mesh.load(&[3, 1]));
    near.flows().await;
    orphaned.flows().await;

    let killed = Instant::now();
    for host in LOST {
        mesh.net.power_off(host);
    }
    let dead = Instant::now();
    watch.until("others to serve instead", is_replaced).await;
    let end = Instant::now();
    let tallies = [("near", near.stop().await), ("orphaned", orphaned.stop().await)];

    let rounds = watch.between(killed, end);
    let after = |check: &dyn Fn(&Round) -> bool| first(&rounds, check) - killed;
    let gone = |round: &Round, node: usize| round.sight(node).is_some_and(|sight| sight.alive.len() == SURVIVORS.len());
    let noticed = after(&|round| SURVIVORS.iter().any(|&node| gone(round, node)));
    let noticed_by_all = after(&|round| SURVIVORS.iter().all(|&node| gone(round, node)));
    let claimed = after(&|round| round.replicas(&SURVIVORS).count() >= DESIRED);
    let ready = after(&|round| round.count(&SURVIVORS, "ready") >= DESIRED);
    say(&format!(
        "after the kill: noticed by one {noticed:.1?}, by all {noticed_by_all:.1?}; claimed elsewhere {claimed:.1?}; \
         ready {ready:.1?} (settle {SETTLE:?}, load {LOAD:?})"
    ));
    for (who, tally) in &tallies {
        say(&format!("{who}: {}, longest gap {:.1?}", tally.summary(), tally.longest_gap(killed, end)));
        tally.assert_no_failures(who);
    }
    // Only what had begun on the dead can go wrong; the ingress itself tries again what had not.
    tallies[0].1.assert_untroubled("near", dead, end);
    assert!(claimed <= RECLAIMED, "{claimed:?}\n{}", mesh.logs(40));
    assert!(ready <= claimed + SETTLE + LOAD + SLACK, "{ready:?}\n{}", mesh.logs(40));
}

/// Whether all survivors know of enough replicas that serve, and of no others.
fn is_replaced(round: &Round) -> bool {
    let knows = |node: &usize| {
        let replicas = round.sight(*node).map(|sight| sight.replicas.as_slice()).unwrap_or_default();
        replicas.iter().filter(|replica| replica.alive && replica.state == "ready").count() == DESIRED
    };
    round.count(&SURVIVORS, "ready") == DESIRED && SURVIVORS.iter().all(knows)
}

/// When it was first so.
fn first(rounds: &[Arc<Round>], check: impl Fn(&Round) -> bool) -> Instant {
    rounds.iter().find(|round| check(round)).expect("it has come to that").at
}
