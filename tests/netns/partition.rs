//! A mesh that falls in two, and grows together again.

use std::{env, time::Duration};

use tokio::time::{Instant, sleep};

use super::harness::{ENDPOINT, Mesh, Round, Site, Watch, endpoint, hold, say};

/// How long the partition lasts, unless `SHOAL_TEST_PARTITION_SECS` says otherwise.
const PARTITION: Duration = Duration::from_secs(60);
/// After this long everybody has noticed who is out of reach, and no request goes wrong even once.
const NOTICED: Duration = Duration::from_secs(15);
/// From healing until the surplus takes no new requests.
const ADMITS_NO_MORE: Duration = Duration::from_secs(30);
/// From a surplus replica's last stream until it is gone.
const ENDS: Duration = Duration::from_secs(15);

/// Clients talk to nodes without GPUs: every answer crosses the network.
const DOOR_A: Site = Site { cluster: "a", gpus: 0 };
const DOOR_B: Site = Site { cluster: "b", gpus: 0 };
const A: Site = Site { cluster: "a", gpus: 4 };
const B: Site = Site { cluster: "b", gpus: 4 };
const LEFT: [usize; 3] = [0, 1, 2];
const RIGHT: [usize; 2] = [3, 4];
const ALL: [usize; 5] = [0, 1, 2, 3, 4];
/// As many as either side can hold.
const DESIRED: usize = 4;

/// Streams that are begun on each side when the partition ends, and how long they are: longer than the surplus admits.
const STREAMS: usize = 8;
const STREAM_TOKENS: u32 = 320;

fn partition_time() -> Duration {
    let given = env::var("SHOAL_TEST_PARTITION_SECS").ok();
    let secs = given.map(|text| text.parse().expect("SHOAL_TEST_PARTITION_SECS is a number of seconds"));
    secs.map_or(PARTITION, Duration::from_secs)
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_6_partition_3_2_for_60_s_under_load() {
    let Some(mut mesh) = Mesh::start(&[DOOR_A, A, A, DOOR_B, B]).await else { return };
    mesh.apply(0, &endpoint(DESIRED, "1s", "3s"));
    let watch = mesh.watch();
    let before = watch.until("the endpoint to be ready", |round| round.is_settled(DESIRED)).await;
    assert!(before.count(&LEFT, "ready") >= 1 && before.count(&RIGHT, "ready") >= 1, "both sides serve:\n{before}");
    let (left, right) = (mesh.load(&[0]), mesh.load(&[3]));
    left.flows().await;
    right.flows().await;

    let cut = Instant::now();
    mesh.net.partition(&LEFT, &RIGHT);
    sleep(partition_time()).await;
    // Of the larger side alone: the smaller one may take itself for cut off, and wait.
    let topped_up = |round: &Round| round.count(&LEFT, "ready") == DESIRED && round.count(&RIGHT, "ready") >= 1;
    watch.until("a surplus", topped_up).await;
    let healed = Instant::now();
    mesh.net.heal();
    let mut held = Vec::new();
    for http in [mesh.http(0), mesh.http(3)].into_iter().cycle().take(2 * STREAMS) {
        held.push(hold(http, STREAM_TOKENS).await);
    }

    let admits = |round: &Round| round.is_of_one_moment(&ALL) && round.count(&ALL, "ready") == DESIRED;
    let stopped = watch.until("the surplus to take no new requests", admits).await;
    let mut streams_end = healed;
    for stream in held {
        streams_end = streams_end.max(stream.end().await.at);
    }
    let settled = watch.until("exactly what is desired", |round| round.all_see(5) && round.is_settled(DESIRED)).await;
    let end = Instant::now();
    let tallies = [("left", left.stop().await), ("right", right.stop().await)];

    say(&format!(
        "{ENDPOINT}: cut off for {:.1?}; after healing, the surplus took requests for {:.1?}, its streams ended after \
         {:.1?}, and just {DESIRED} were left after {:.1?}",
        healed - cut,
        stopped.at - healed,
        streams_end - healed,
        settled.at.saturating_duration_since(healed),
    ));
    for (side, tally) in &tallies {
        say(&format!("{side}: {}, longest gap {:.1?}", tally.summary(), tally.longest_gap(cut, end)));
        tally.assert_no_failures(side);
        // Not beyond: replicas that leave at once, before others have heard of it, may send a client on.
        tally.assert_untroubled(side, cut + NOTICED, healed);
    }
    assert!(stopped.at - healed <= ADMITS_NO_MORE, "{:?}", stopped.at - healed);
    assert!(stopped.at > streams_end || stopped.count(&ALL, "draining") > 0, "it ends with its streams:\n{stopped}");
    assert!(settled.at <= streams_end.max(stopped.at) + ENDS, "{:?}", settled.at - healed);
    none_is_lost_before_its_replacement(&watch, &LEFT, before.count(&LEFT, "ready"), (cut, healed));
    none_is_lost_before_its_replacement(&watch, &RIGHT, before.count(&RIGHT, "ready"), (cut, healed));
    none_is_lost_before_its_replacement(&watch, &ALL, DESIRED, (healed, end));
}

/// Rule 4: at no moment of the time `from`, `to` are fewer than `least` replicas of `nodes` ready.
fn none_is_lost_before_its_replacement(watch: &Watch, nodes: &[usize], least: usize, (from, to): (Instant, Instant)) {
    let rounds = watch.between(from, to);
    let clear: Vec<_> = rounds.iter().filter(|round| round.is_of_one_moment(nodes)).collect();
    assert!(2 * clear.len() > rounds.len(), "only {} of {} rounds can be judged", clear.len(), rounds.len());
    for round in clear {
        let ready = round.count(nodes, "ready");
        assert!(ready >= least, "{ready} of {least} on {nodes:?} after {:?}:\n{round}", round.at - from);
    }
}
