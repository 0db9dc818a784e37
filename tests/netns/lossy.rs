//! Links that lose packets, and one that works in one direction only.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::harness::{Mesh, Round, Site, endpoint, say};

/// Of a thousand packets, so many are lost on the way to any node.
const LOST_PER_MILLE: u32 = 20;
/// How long two nodes live without a connection: longer than any timeout by which they could give each other up.
const BAD_FOR: Duration = Duration::from_secs(15);

const A: Site = Site { cluster: "a", gpus: 2 };
const B: Site = Site { cluster: "b", gpus: 2 };

/// Node 0 cannot be heard by node 1, while everybody hears everybody else: no connection between the two can live, and
/// what they know of each other comes by way of node 2.
#[tokio::test(flavor = "multi_thread")]
async fn lossy_and_one_way_links() {
    let Some(mut mesh) = Mesh::start(&[A, A, B]).await else { return };
    let watch = mesh.watch();
    mesh.apply(0, &endpoint(2, "1s", "3s"));
    watch.until("two replicas", |round| round.is_settled(2)).await;

    let bad = Instant::now();
    mesh.net.lose(LOST_PER_MILLE);
    mesh.net.mute(0, 1);
    let loads = [0, 1, 2].map(|node| (node, mesh.load(&[node])));
    mesh.apply(0, &endpoint(3, "1s", "3s"));
    let grown = watch.until("a third replica, and all to know", |round| round.is_settled(3)).await;
    let silent = |round: &Round| !round.are_connected(0, 1);
    let parted = watch.until("nodes 0 and 1 to lose their connection", silent).await;
    sleep(BAD_FOR).await;
    let healed = Instant::now();
    for round in watch.between(grown.at, healed) {
        assert!(round.all_see(3) && round.is_settled(3), "after {:?}:\n{round}", round.at - grown.at);
    }
    mesh.net.heal();
    mesh.apply(1, &endpoint(2, "1s", "3s"));
    let shrunk = watch.until("two replicas again", |round| round.all_see(3) && round.is_settled(2)).await;

    say(&format!(
        "links bad for {:.1?}: grown after {:.1?}, without a connection after {:.1?}; once well, shrunk after {:.1?}",
        healed - bad,
        grown.at - bad,
        parted.at - bad,
        shrunk.at - healed,
    ));
    for (node, load) in loads {
        let tally = load.stop().await;
        say(&format!("at node {node}: {}", tally.summary()));
        tally.assert_no_failures(&format!("at node {node}"));
    }
}
