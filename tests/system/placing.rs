//! What placement says of itself, and what it does when GPUs are short.

use serde_json::Value;

use super::harness::{Mesh, endpoint, find, list, ready, stderr, stdout};

/// An endpoint of the same kind, with further settings of its placement.
fn with(name: &str, replicas: u32, placement: &str) -> String {
    endpoint(name, replicas, "10ms").replace("spread: zone, ", &format!("{placement}, "))
}

#[tokio::test(flavor = "multi_thread")]
async fn why_and_plan_say_what_would_happen() {
    let mesh = Mesh::start(2).await;
    let node = &mesh.nodes[0];
    let code = |yaml: &str| node.run(&["plan", "-f", "-"], yaml).status.code();
    let yaml = endpoint("hello", 2, "10ms");
    assert_eq!(code(&yaml), Some(1), "it would be created");
    mesh.apply(0, "hello", 2).await;
    assert_eq!(code(&yaml), Some(0), "it is there");
    let large = yaml.replace("name: hello", "name: large").replace("gpus: 1", "gpus: 8");
    let output = node.run(&["plan", "-f", "-"], &large);
    assert_eq!(output.status.code(), Some(2), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("8"), "{}", stdout(&output));
    let why = node.run_ok(&["why", "endpoint/hello"]);
    assert!(why.contains("node-0") && why.contains("node-1"), "{why}");
    let json: Value = serde_json::from_str(&node.run_ok(&["why", "endpoint/hello", "-o", "json"])).unwrap();
    assert!(json.is_object(), "{json}");
    let unknown = node.run(&["why", "endpoint/nothing"], "");
    assert_eq!(unknown.status.code(), Some(5), "{}", stderr(&unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_priority_takes_the_place_of_what_is_above_min_and_no_more() {
    let mesh = Mesh::start(2).await;
    let node = &mesh.nodes[0];
    // Two nodes with two GPUs each: all four are taken by what may shrink to one.
    let low = with("low", 4, "priority: 0");
    node.apply(&low);
    node.wait_for("the fleet to be full", |status| ready(status, "low") == 4).await;
    node.apply(
        &low.replace("min: 4", "min: 2, max: 4")
            .replace("placement:", "scaling: {targets: {inflight: 1}, downDelay: 1h}, placement:"),
    );
    node.apply(&with("high", 3, "priority: 100"));
    node.wait_for("the higher one to have what is above min", |status| ready(status, "high") == 2).await;
    let status = node.wait_for("the lower one to be down to min", |status| ready(status, "low") == 2).await;
    assert_eq!(find(&status, "high").unwrap()["status"]["desired"], 3);
    let why = node.run_ok(&["why", "endpoint/high"]);
    assert!(why.contains("low"), "who holds the GPUs is said: {why}");
    assert!(list(&status["problems"]).any(|problem| problem.to_string().contains("high")), "{}", status["problems"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_replicas_make_room_for_a_large_one_where_they_may() {
    let mesh = Mesh::start(2).await;
    let node = &mesh.nodes[0];
    // One GPU of each node is taken, so that a replica of two finds no place.
    node.apply(&with("small", 2, "spread: zone, defragment: true"));
    node.wait_for("two small ones", |status| ready(status, "small") == 2).await;
    assert_eq!(mesh.holders("small").await, [true, true]);
    node.apply(&with("large", 1, "priority: 0").replace("gpus: 1", "gpus: 2"));
    node.wait_for("the large one to serve", |status| ready(status, "large") == 1).await;
    node.wait_for("both small ones to serve", |status| ready(status, "small") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spot_capacity_carries_and_on_demand_falls_back() {
    let mut mesh = Mesh::start(3).await;
    // Node 2 is the only spot one, in zone burst-1.
    mesh.nodes[0].apply(&with("cheap", 1, "spot: {overprovision: 0, onDemandFallback: true}"));
    mesh.nodes[0].wait_for("a replica on spot", |status| ready(status, "cheap") == 1).await;
    let node = &mesh.nodes[0];
    node.wait_for("spot alone to carry it", |status| {
        super::harness::serving_nodes(status, "cheap") == ["node-2"] && ready(status, "cheap") == 1
    })
    .await;
    mesh.nodes[2].kill();
    mesh.nodes[0]
        .wait_for("on demand to carry it", |status| {
            super::harness::serving_nodes(status, "cheap").iter().any(|name| name != "node-2")
        })
        .await;
}
