//! Engines that sleep, that fail, and that outlive a daemon that is restarted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::harness::{Mesh, chat, endpoint, find, list, ready, stdout};

fn replicas(status: &Value, name: &str) -> Vec<Value> {
    let replicas = find(status, name).map(|endpoint| endpoint["status"]["replicas"].clone()).unwrap_or_default();
    list(&replicas).cloned().collect()
}

fn states(status: &Value, name: &str) -> Vec<String> {
    let mut states: Vec<String> =
        replicas(status, name).iter().map(|replica| replica["state"].as_str().unwrap().to_owned()).collect();
    states.sort();
    states
}

fn claims(status: &Value, name: &str) -> BTreeSet<String> {
    replicas(status, name).iter().map(|replica| replica["claim"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_not_needed_sleeps_and_is_woken_when_it_is() {
    let mesh = Mesh::start(1).await;
    let node = &mesh.nodes[0];
    let sleepy = |replicas| endpoint("hello", replicas, "10ms").replace("kind: sim,", "kind: sim, sleep: {keep: 5m},");
    node.apply(&sleepy(2));
    let status = node.wait_for("both to be ready", |status| ready(status, "hello") == 2).await;
    let (before, engines) = (claims(&status, "hello"), node.engines());

    node.apply(&sleepy(1));
    let one_sleeps = |status: &Value| states(status, "hello") == ["asleep", "ready"];
    node.wait_for("one to sleep", one_sleeps).await;
    for _ in 0..5 {
        assert_eq!(chat(&node.http(), "hello", "x", 2).await.unwrap().status, 200);
    }
    node.apply(&sleepy(2));
    let status = node.wait_for("both to be awake", |status| ready(status, "hello") == 2).await;
    assert_eq!((claims(&status, "hello"), node.engines()), (before, engines), "nothing was loaded again");

    // Somebody else needs the GPUs more than a sleeper does.
    node.apply(&sleepy(1));
    node.wait_for("one to sleep again", one_sleeps).await;
    node.apply(&endpoint("other", 1, "10ms"));
    node.wait_for("the other to be ready", |status| ready(status, "other") == 1).await;
    node.wait_for("the sleeper to be gone", |status| states(status, "hello") == ["ready"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_fails_is_shown_with_its_reason_and_its_words() {
    let mut mesh = Mesh::start(1).await;
    let node = &mut mesh.nodes[0];
    node.stop();
    let command = "commands: {broken: {program: /bin/sh, args: [-c, 'echo cannot do it >&2; exit 3', '{socket}']}}";
    node.configure("engines: {sim: true", &format!("engines: {{sim: true, {command}"));
    node.start().await;
    let spec = endpoint("hello", 1, "5ms");
    let (head, tail) = spec.split_once("engine: {").unwrap();
    let (_, tail) = tail.split_once('}').unwrap();
    node.apply(&format!("{head}engine: {{kind: command, name: broken}}{tail}"));
    let failed = |status: &Value| states(status, "hello").contains(&"failed".to_owned());
    let status = node.wait_for("it to have failed", failed).await;
    let replica = replicas(&status, "hello").remove(0);
    let name = replica["name"].as_str().unwrap();
    let described = node.run_ok(&["describe", "replica", name]);
    assert!(described.contains("cannot do it") && described.contains("failed"), "{described}");
    assert!(node.run_ok(&["logs", name]).contains("cannot do it"));
    assert!(node.run_ok(&["logs", "--previous", name]).contains("cannot do it"));
    let why = node.run_ok(&["describe", "endpoint", "hello"]);
    assert!(why.contains("cannot do it"), "{why}");
    // It holds nothing, and goes with its endpoint.
    node.run_ok(&["delete", "endpoint", "hello", "--wait", "--timeout", "20s"]);
    assert!(!stdout(&node.run(&["get", "replicas"], "")).contains(name));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_restarted_leaves_its_engines_and_loses_no_claim() {
    let mut mesh = Mesh::start(2).await;
    for node in &mut mesh.nodes {
        node.stop();
        node.configure("orphanGrace: 2s", "orphanGrace: 60s");
        node.start().await;
    }
    mesh.apply(0, "hello", 1).await;
    let (serving, other) = mesh.serving_and_not("hello").await;
    let status = mesh.nodes[other].wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
    let (before, engines) = (claims(&status, "hello"), mesh.nodes[serving].engines());
    assert_eq!(engines.len(), 1);

    mesh.nodes[serving].terminate();
    assert_eq!(mesh.nodes[serving].engines(), engines, "they outlive a daemon that was told to end");
    mesh.nodes[serving].start().await;
    let back = |status: &Value| ready(status, "hello") == 1 && claims(status, "hello") == before;
    mesh.nodes[other].wait_for("the same replica to serve, and no other", back).await;
    assert_eq!(mesh.nodes[serving].engines(), engines);
    assert_eq!(chat(&mesh.nodes[other].http(), "hello", "x", 2).await.unwrap().status, 200);
    mesh.nodes.iter_mut().for_each(|node| node.stop());
}
