//! Hosts that will be taken away, and daemons that only restart.

use std::{fs, time::Duration};

use serde_json::Value;

use tokio::time::Instant;

use super::harness::{
    Mesh, SigtermMeans, chat, endpoint, eventually, free_tcp_port, list, ready, request, serving_nodes, stdout,
    stream_chat,
};

fn departure<'a>(status: &'a Value, node: &str) -> &'a Value {
    let node = list(&status["nodes"]).find(|candidate| candidate["name"] == node).expect("the node is known");
    &node["departure"]
}

/// A spot notice: the replica is replaced at once, requests go on, and the notice can be taken back.
#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_host_that_will_be_taken_away_gives_its_replica_away_first() {
    let mesh = Mesh::start(3).await;
    mesh.apply(0, "hello", 1).await;
    let (serving, other) = mesh.serving_and_not("hello").await;
    let name = mesh.nodes[serving].name();
    let notice = mesh.nodes[serving].notice_file();
    fs::write(&notice, r#"{"deadline": "90s", "reason": "the provider wants it back"}"#).unwrap();

    let elsewhere = |status: &Value| serving_nodes(status, "hello").iter().any(|node| *node != name);
    let told = |status: &Value| departure(status, &name)["reason"] == "reclaim";
    let status = mesh.nodes[other].wait_for("the departure to be heard", told).await;
    assert!(departure(&status, &name)["detail"].as_str().unwrap().contains("the provider wants it back"));
    assert!(departure(&status, &name)["deadline"].is_u64());
    let said = mesh.nodes[other].run(&["status"], "");
    assert_eq!(said.status.code(), Some(1), "it needs attention");
    assert!(stdout(&said).contains("the provider wants it back"));
    while !elsewhere(&mesh.nodes[other].status()) {
        let mut answer = chat(&mesh.nodes[other].http(), "hello", "x", 2).await.unwrap();
        let body = answer.rest().await;
        assert_eq!(answer.status, 200, "{body:?}");
    }
    let left = |status: &Value| serving_nodes(status, "hello").iter().all(|node| *node != name);
    mesh.nodes[other].wait_for("the replica to have left", |status| left(status) && ready(status, "hello") == 1).await;

    fs::remove_file(&notice).unwrap();
    mesh.nodes[other].wait_for("the node to stay", |status| departure(status, &name).is_null()).await;
}

/// In a container, or while the host shuts down, SIGTERM is the only notice that there is.
#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_sigterm_that_ends_the_host_moves_replicas_first() {
    let mut mesh = Mesh::start_on(3, SigtermMeans::Host).await;
    mesh.apply(0, "hello", 1).await;
    let (serving, other) = mesh.serving_and_not("hello").await;
    let name = mesh.nodes[serving].name();
    mesh.nodes[other].wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
    let mut leaver = mesh.nodes.remove(serving);
    let other = if other > serving { other - 1 } else { other };
    let terminated = tokio::task::spawn_blocking(move || {
        leaver.terminate();
        leaver
    });
    let moved = |status: &Value| serving_nodes(status, "hello").iter().any(|node| *node != name);
    while !moved(&mesh.nodes[other].status()) {
        let mut answer = chat(&mesh.nodes[other].http(), "hello", "x", 2).await.unwrap();
        let body = answer.rest().await;
        assert_eq!(answer.status, 200, "{body:?}");
    }
    let leaver = terminated.await.unwrap();
    assert!(leaver.log().contains("SIGTERM"), "{}", leaver.log());
}

/// It said that it leaves, and it has left: nobody needs to do anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_left_needs_no_attention() {
    let mut mesh = Mesh::start(2).await;
    mesh.nodes[1].stop();
    let left = |status: &Value| list(&status["nodes"]).any(|node| node["liveness"] == "left");
    mesh.nodes[0].wait_for("the goodbye to be heard", left).await;
    mesh.nodes[0].run_ok(&["status"]);
}

/// Load balancers look elsewhere from the first moment, and who comes meanwhile is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_is_not_ready_and_serves_until_it_is_gone() {
    let mut mesh = Mesh::start_on(1, SigtermMeans::Host).await;
    let node = &mut mesh.nodes[0];
    node.stop();
    let admin = format!("127.0.0.1:{}", free_tcp_port());
    node.configure("listen: null", &format!("listen: '{admin}'"));
    node.configure("warning: 40s", "warning: 12s");
    node.start().await;
    mesh.apply(0, "hello", 1).await;
    let http = mesh.nodes[0].http();
    let is_ready = async || request(&admin, "GET", "/readyz", String::new()).await.map(|answer| answer.status);
    assert_eq!(is_ready().await, Ok(200));
    let mut leaver = mesh.nodes.remove(0);
    let terminated = tokio::task::spawn_blocking(move || leaver.terminate());
    eventually("the node to be unready", async || (is_ready().await == Ok(503)).then_some(())).await;
    assert_eq!(chat(&http, "hello", "x", 2).await.unwrap().status, 200);
    terminated.await.unwrap();
}

/// A stream that is only passed on is cut before the host is gone, not by its end, and the goodbye is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_left_in_time_whatever_it_passes_on() {
    let mut mesh = Mesh::start_on(2, SigtermMeans::Host).await;
    for node in &mut mesh.nodes {
        node.stop();
        node.configure("warning: 40s", "warning: 8s");
        node.start().await;
    }
    mesh.nodes[0].apply(&endpoint("hello", 1, "1s"));
    for node in &mesh.nodes {
        node.wait_for("the endpoint to be ready", |status| ready(status, "hello") == 1).await;
    }
    let (_, other) = mesh.serving_and_not("hello").await;
    let mut answer = stream_chat(&mesh.nodes[other].http(), "hello", "x", 100).await.unwrap();
    assert_eq!(answer.status, 200);
    answer.next().await.unwrap().unwrap();
    let mut leaver = mesh.nodes.remove(other);
    let begin = Instant::now();
    tokio::task::spawn_blocking(move || leaver.terminate()).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let left = |status: &Value| list(&status["nodes"]).any(|node| node["liveness"] == "left");
    assert!(left(&mesh.nodes[0].status()), "it said goodbye");
}

/// It was given the time of its endpoint, which is more than the host has.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_drains_when_the_host_is_called_back_ends_before_it() {
    let mesh = Mesh::start(1).await;
    let node = &mesh.nodes[0];
    node.apply(&endpoint("hello", 1, "1s"));
    node.wait_for("the endpoint to be ready", |status| ready(status, "hello") == 1).await;
    let mut answer = stream_chat(&node.http(), "hello", "x", 100).await.unwrap();
    answer.next().await.unwrap().unwrap();
    node.run_ok(&["delete", "endpoint", "hello"]);
    let drains = |status: &Value| list(&status["nodes"]).any(|node| node["replicas"][0]["state"] == "draining");
    node.wait_for("the replica to drain", drains).await;
    fs::write(node.notice_file(), r#"{"deadline": "8s"}"#).unwrap();
    let begin = Instant::now();
    eventually("the engine to end", async || node.engines().is_empty().then_some(())).await;
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
