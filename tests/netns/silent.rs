//! A host that goes silent under a stream: no packet tells anybody that it is gone.

use std::time::Duration;

use super::harness::{Mesh, Site, endpoint, hold, say};

/// For what the client sees: that the host is silent is noticed in three seconds; by QUIC's idle timeout it would
/// be more than six.
const PAUSE: Duration = Duration::from_millis(5_500);
/// Fifteen seconds of text: another replica has to be there before it ends.
const TOKENS: u32 = 300;

/// Clients talk to a node without GPUs: every answer crosses the network.
const DOOR: Site = Site { cluster: "a", gpus: 0 };
const A: Site = Site { cluster: "a", gpus: 1 };
const SERVING: [usize; 2] = [1, 2];

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_leaves_a_host_whose_network_goes_dark() {
    leaves("dark", |mesh, host| mesh.net.partition(&[host], &[0, 3 - host])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_leaves_a_host_that_hangs() {
    leaves("frozen", |mesh, host| mesh.net.freeze(host)).await;
}

async fn leaves(word: &str, silence: impl FnOnce(&mut Mesh, usize)) {
    let Some(mut mesh) = Mesh::start(&[DOOR, A, A]).await else { return };
    let watch = mesh.watch();
    mesh.apply(0, &endpoint(1, "1s", "60s"));
    let one = watch.until("a replica", |round| round.is_settled(1)).await;
    let host = SERVING.into_iter().find(|&host| one.count(&[host], "ready") == 1).expect("one of the two has it");
    let whole = hold(mesh.http(0), TOKENS).await.end().await.text();

    let lost = [hold(mesh.http(0), TOKENS).await, hold(mesh.http(0), TOKENS).await];
    mesh.apply(0, &endpoint(2, "1s", "60s"));
    watch.until("another replica", |round| round.is_settled(2)).await;
    silence(&mut mesh, host);
    for stream in lost {
        let ended = stream.end().await;
        say(&format!("a stream whose host went {word} paused for {:.1?}", ended.longest_gap));
        assert!(ended.events.contains(": resumed on "), "it was lost:\n{}", ended.events);
        assert_eq!(ended.text(), whole, "no character is missing, and none is there twice");
        assert!(ended.longest_gap < PAUSE, "{:?}\n{}", ended.longest_gap, mesh.logs(20));
    }
}
