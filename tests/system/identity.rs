//! Certificates that are renewed and that end, nodes that are thrown out.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::harness::{
    Answer, Mesh, Node, Placement, SigtermMeans, alive, chat, endpoint, list, ready, serving_nodes, stderr, stream_chat,
};

/// How soon a revoked node must be cut off everywhere.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);
/// Life of certificates where a test waits for their end.
const LIFE: Duration = Duration::from_secs(10);

fn names(status: &Value, node: &str) -> bool {
    list(&status["nodes"]).any(|one| one["name"] == node)
}

fn problems(status: &Value) -> String {
    status["problems"].to_string()
}

fn is_told(status: &Value) -> bool {
    problems(status).contains("this node is revoked")
}

/// Whether a node has a connection to any other: only of those there is a round trip.
fn is_connected(status: &Value) -> bool {
    list(&status["nodes"]).any(|node| node["rttMs"].is_number())
}

/// Reads a stream of events to its end, which must be a good one.
async fn whole(mut answer: Answer) -> String {
    assert_eq!(answer.status, 200);
    let (events, clean) = answer.rest().await;
    assert!(clean && events.trim_end().ends_with("data: [DONE]") && !events.contains("\"error\""), "{events}");
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_cut_off_everywhere_within_five_seconds() {
    let mut mesh = Mesh::start(3).await;
    // One replica at home, one on the rented node; in turns, so that both have some of the streams.
    let slow = endpoint("hello", 2, "50ms").replace("placement:", "routing: {policy: round-robin}, placement:");
    mesh.nodes[0].apply(&slow);
    for node in &mesh.nodes {
        node.wait_for("both replicas to be heard of", |status| ready(status, "hello") == 2).await;
    }
    let holders = mesh.holders("hello").await;
    assert!(holders[2], "the rented node has one: {holders:?}");
    let ingress = holders.iter().position(|holds| !holds).expect("a node without a replica");
    let http = mesh.nodes[ingress].http();
    let mut streams = Vec::new();
    for index in 0..8 {
        let mut stream = stream_chat(&http, "hello", &format!("prompt {index}"), 100).await.unwrap();
        stream.next().await.expect("it has begun").unwrap();
        streams.push(stream);
    }

    let revoked = Instant::now();
    mesh.nodes[1 - ingress].run_ok(&["revoke", "node-2"]);
    let left = || REVOKED_WITHIN.saturating_sub(revoked.elapsed());
    for node in &mesh.nodes[..2] {
        node.wait_within(left(), "the node to be gone", |status| !names(status, "node-2")).await;
    }
    let victim = &mesh.nodes[2];
    let cut_off = |status: &Value| is_told(status) && !is_connected(status);
    victim.wait_within(left(), "the revoked node to be cut off and told so", cut_off).await;
    assert!(victim.log().contains("this node was revoked"), "{}", victim.log());
    let mut resumed = 0;
    for stream in streams {
        resumed += usize::from(whole(stream).await.contains(": resumed on "));
    }
    assert!(resumed > 0, "streams of the revoked node went on elsewhere");

    // Neither restarted nor joining anew does it come back.
    mesh.nodes[2].kill();
    mesh.nodes[2].start().await;
    mesh.nodes[2].wait_for("the restarted node to be told", is_told).await;
    for node in &mesh.nodes[..2] {
        let status = node.status();
        assert!(!names(&status, "node-2") && alive(&status) == 2, "{status:#}");
    }
    mesh.nodes[2].kill();
    let token = mesh.nodes[0].run_ok(&["token", "create"]);
    std::fs::remove_file(format!("{}/identity/node.crt", mesh.nodes[2].state_dir())).unwrap();
    let refused = mesh.nodes[2].run(&["join", "-", "--state-dir", &mesh.nodes[2].state_dir()], &token);
    assert!(!refused.status.success() && stderr(&refused).contains("was revoked"), "{}", stderr(&refused));
}

/// A mesh whose first node gives short-lived certificates to the other two.
async fn short_lived(dir: &TempDir) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (index, placement) in [Placement::Home, Placement::Home, Placement::Burst].into_iter().enumerate() {
        let mut node = Node::prepare(dir.path().join(format!("node-{index}")), index, placement, SigtermMeans::Daemon);
        node.configure(
            "gossipInterval: 200ms",
            &format!("gossipInterval: 200ms, certificateLife: {}s", LIFE.as_secs()),
        );
        match nodes.first() {
            None => node.run_ok(&["init", "--state-dir", &node.state_dir()]),
            Some(first) => node.join_with(&first.run_ok(&["token", "create"])),
        };
        node.start().await;
        nodes.push(node);
    }
    nodes
}

fn expires(status: &Value) -> u64 {
    status["certificateExpires"].as_u64().expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_under_a_stream_and_missed_when_no_issuer_is_live() {
    let dir = TempDir::with_prefix("shoal-test-").unwrap();
    let mut nodes = short_lived(&dir).await;
    nodes[0].apply(&endpoint("hello", 1, "100ms").replace("spread: zone", "home: burst"));
    nodes[1].wait_for("the replica to be heard of", |status| serving_nodes(status, "hello") == ["node-2"]).await;

    // A stream between two nodes, for longer than either's certificate lives.
    let before = [1, 2].map(|node: usize| expires(&nodes[node].status()));
    let tokens = u32::try_from(LIFE.as_millis() * 3 / 2 / 100).unwrap();
    let stream = stream_chat(&nodes[1].http(), "hello", "Tell me", tokens).await.unwrap();
    let events = whole(stream).await;
    assert!(!events.contains(": resumed on "), "it went on over the connection that it began on");
    for (node, before) in [1, 2].into_iter().zip(before) {
        let renewed = expires(&nodes[node].status()) - before;
        assert!(renewed >= 5_000, "node-{node} has a certificate that ends {renewed} ms later");
    }
    // The certificate that it had at first is over: a new connection is made with another.
    nodes[2].kill();
    nodes[2].start().await;
    nodes[1].wait_for("the restarted node to serve", |status| serving_nodes(status, "hello") == ["node-2"]).await;

    let token = nodes[0].run_ok(&["token", "create", "--uses", "2"]);
    nodes[0].kill();
    let missed = |status: &Value| problems(status).contains("no issuer is live");
    nodes[1].wait_for("the issuer to be missed", missed).await;
    let over = |status: &Value| problems(status).contains("the certificate of node node-1 ended");
    nodes[1].wait_for("the certificate to be over", over).await;
    let answer = chat(&nodes[1].http(), "hello", "Still there?", 5).await.unwrap();
    assert_eq!(answer.status, 200, "serving goes on over the connections that there are");
    let stranger = Node::prepare(dir.path().join("stranger"), 3, Placement::Home, SigtermMeans::Daemon);
    let waits = stranger.run(&["join", "-", "--state-dir", &stranger.state_dir()], &token);
    assert!(!waits.status.success() && stderr(&waits).contains("UDP"), "{}", stderr(&waits));

    // With an issuer, a node whose certificate is over becomes the same node again.
    nodes[0].start().await;
    let id = |node: &Node| {
        let status = node.status();
        let own = list(&status["nodes"]).find(|one| one["name"] == node.name()).expect("its own node");
        own["id"].to_string()
    };
    let same = id(&nodes[1]);
    nodes[1].kill();
    nodes[1].join_with(&token);
    nodes[1].start().await;
    assert_eq!(id(&nodes[1]), same);
    nodes[0].wait_for("the node to be back", |status| alive(status) == 2 && names(status, "node-1")).await;
}
