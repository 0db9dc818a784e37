//! Links that lose packets, and one that works in one direction only.

use tokio::time::Instant;

use super::harness::{Mesh, endpoint, say};

/// Of a thousand packets, so many are lost on the way to any node.
const LOST_PER_MILLE: u32 = 20;

/// Node 0 cannot be heard by node 1, while everybody hears everybody else: no connection between the two can live, and
/// what they know of each other comes by way of node 2.
#[tokio::test(flavor = "multi_thread")]
async fn lossy_and_one_way_links() {
    let Some(mut mesh) = Mesh::start(&["a", "a", "b"]).await else { return };
    let watch = mesh.watch();
    mesh.apply(0, &endpoint(2, "1s", "3s"));
    watch.until("two replicas", |round| round.is_settled(2)).await;

    let begun = Instant::now();
    mesh.net.lose(LOST_PER_MILLE);
    mesh.net.mute(0, 1);
    let loads = [0, 1, 2].map(|node| (node, mesh.load(&[node])));
    mesh.apply(0, &endpoint(3, "1s", "3s"));
    let grown = watch.until("a third replica, and all to know", |round| round.all_see(3) && round.is_settled(3)).await;
    let healed = Instant::now();
    mesh.net.heal();
    mesh.apply(1, &endpoint(2, "1s", "3s"));
    let shrunk = watch.until("two replicas again", |round| round.all_see(3) && round.is_settled(2)).await;

    say(&format!("grown {:.1?} after the links went bad; shrunk {:.1?} after", grown.at - begun, shrunk.at - healed));
    for (node, load) in loads {
        let tally = load.stop().await;
        say(&format!("at node {node}: {}", tally.summary()));
        tally.assert_no_failures(&format!("at node {node}"));
    }
}
