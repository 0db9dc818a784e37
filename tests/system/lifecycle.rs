//! Specs and replicas over crashes, restarts, deletions and drains.

use rustix::process::Signal;

use super::harness::{Mesh, alive, chat, endpoint, eventually, find, list, ready, serving_nodes, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn rule_5_after_all_nodes_were_killed_the_endpoint_comes_back_whole() {
    let mut mesh = Mesh::start(3).await;
    mesh.apply(1, "hello", 2).await;
    for node in &mesh.nodes {
        node.wait_for("the spec to be everywhere", |status| find(status, "hello").is_some()).await;
    }
    mesh.nodes.iter_mut().for_each(|node| node.kill());
    for node in &mut mesh.nodes {
        node.start().await;
    }
    for node in &mesh.nodes {
        node.wait_for("the endpoint to be back", |status| alive(status) == 3 && ready(status, "hello") == 2).await;
        assert_eq!(chat(&node.http(), "hello", "x", 3).await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_outlives_its_daemon_and_serves_the_next_one() {
    let mut mesh = Mesh::start(1).await;
    let node = &mut mesh.nodes[0];
    node.stop();
    node.configure("orphanGrace: 2s", "orphanGrace: 30s");
    node.start().await;
    mesh.apply(0, "hello", 1).await;
    let node = &mut mesh.nodes[0];
    let replica = |status: &serde_json::Value| find(status, "hello").unwrap()["status"]["replicas"][0]["claim"].clone();
    let (engines, claim) = (node.engines(), replica(&node.status()));
    assert_eq!(engines.len(), 1);

    node.kill();
    assert_eq!(node.engines(), engines);
    node.start().await;
    let status = node.wait_for("the replica to be back", |status| ready(status, "hello") == 1).await;
    assert_eq!((node.engines(), replica(&status)), (engines, claim), "the same engine under the same claim");
    assert_eq!(chat(&node.http(), "hello", "x", 3).await.unwrap().status, 200);

    // What is claimed now does not push the old claim out of gossip.
    mesh.apply(0, "second", 1).await;
    let node = &mut mesh.nodes[0];
    let status = node.status();
    assert_eq!((ready(&status, "hello"), ready(&status, "second")), (1, 1), "{status}");

    // An operator who stops the daemon stops its engines.
    node.stop();
    assert!(node.engines().is_empty());
}

/// Nobody else can serve: the drain waits, and goes on waiting over a restart of the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_replica_that_waits_to_be_replaced_outlives_its_daemon() {
    let mut mesh = Mesh::start(1).await;
    let node = &mut mesh.nodes[0];
    node.stop();
    node.configure("orphanGrace: 2s", "orphanGrace: 30s");
    node.start().await;
    mesh.apply(0, "hello", 1).await;
    let node = &mut mesh.nodes[0];
    node.run_ok(&["drain", "node-0"]);
    let engines = node.engines();
    node.kill();
    // The next daemon hears of the drain before it hears from the engine.
    node.signal_engines(Signal::STOP);
    node.start().await;
    let leaves = |status: &serde_json::Value| !list(&status["nodes"]).next().unwrap()["departure"].is_null();
    node.wait_for("the drain to be said again", leaves).await;
    node.signal_engines(Signal::CONT);
    let status = node.wait_for("the replica to be back", |status| ready(status, "hello") == 1).await;
    assert_eq!(list(&status["nodes"]).next().unwrap()["departure"]["reason"], "drain");
    assert_eq!(node.engines(), engines);
}

/// It has no process that could stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_keep_its_daemon() {
    let mut mesh = Mesh::start(1).await;
    let node = &mut mesh.nodes[0];
    node.stop();
    node.configure("sim: true", "sim: true, gateway: {allow: ['http://127.0.0.1:9']}");
    node.start().await;
    let gateway = "{apiVersion: shoal/v1, kind: Endpoint, metadata: {name: hello}, spec: {model: m, \
                   engine: {kind: gateway, url: 'http://127.0.0.1:9'}, resources: {gpus: 0}}}";
    node.apply(gateway);
    let launched = |status: &serde_json::Value| {
        let endpoint = find(status, "hello").map(|endpoint| endpoint["status"]["replicas"].clone());
        endpoint.is_some_and(|replicas| list(&replicas).any(|replica| replica["state"] != "claimed"))
    };
    node.wait_for("the replica to be launched", launched).await;
    let begin = tokio::time::Instant::now();
    node.terminate();
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_no_daemon_asks_for_ends() {
    let mut mesh = Mesh::start(1).await;
    mesh.apply(0, "hello", 1).await;
    let node = &mut mesh.nodes[0];
    node.kill();
    assert_eq!(node.engines().len(), 1);
    eventually("the engine to end", async || node.engines().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_spec_survives_the_node_that_it_was_applied_on() {
    let mut mesh = Mesh::start(3).await;
    mesh.nodes[2].apply(&endpoint("hello", 1, "5ms"));
    for node in &mesh.nodes[..2] {
        node.wait_for("the spec to be everywhere", |status| find(status, "hello").is_some()).await;
    }
    mesh.nodes[2].kill();
    for node in &mesh.nodes[..2] {
        node.wait_for("a replica on another node", |status| {
            serving_nodes(status, "hello").iter().any(|node| node != "node-2")
        })
        .await;
    }
    assert_eq!(chat(&mesh.nodes[1].http(), "hello", "x", 3).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_spec_deleted_while_a_node_was_down_stays_deleted() {
    let mut mesh = Mesh::start(3).await;
    mesh.apply(0, "hello", 1).await;
    mesh.nodes[2].wait_for("the spec to be everywhere", |status| find(status, "hello").is_some()).await;
    mesh.nodes[2].kill();
    mesh.nodes[0].run_ok(&["delete", "endpoint", "hello"]);
    mesh.nodes[2].start().await;
    for node in &mesh.nodes {
        node.wait_for("the deletion to be everywhere", |status| alive(status) == 3 && find(status, "hello").is_none())
            .await;
    }
    let gone = |status: &serde_json::Value| list(&status["nodes"]).all(|node| node["replicas"][0].is_null());
    mesh.nodes[1].wait_for("its replicas to be gone", gone).await;
    assert!(find(&mesh.nodes[2].status(), "hello").is_none(), "the returning node did not bring it back");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_drained_node_gives_its_replicas_away_first() {
    let mesh = Mesh::start(3).await;
    mesh.apply(0, "hello", 1).await;
    let (serving, other) = mesh.serving_and_not("hello").await;
    let name = mesh.nodes[serving].name();
    mesh.nodes[other].run_ok(&["drain", &name, "--wait", "--timeout", "40s"]);
    let status = mesh.nodes[other].status();
    let nodes = serving_nodes(&status, "hello");
    assert!(nodes.len() == 1 && nodes[0] != name, "another node serves: {nodes:?}");
    mesh.nodes[other].run_ok(&["undrain", &name]);
    let back = |status: &serde_json::Value| list(&status["nodes"]).all(|node| node["departure"].is_null());
    mesh.nodes[other].wait_for("the node to be back", back).await;
}

/// It is shown, so that one can read why, and holds nothing that a drain would wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_failed_is_shown_and_keeps_no_drain_waiting() {
    let mut mesh = Mesh::start(1).await;
    let node = &mut mesh.nodes[0];
    node.stop();
    node.configure("sim: true", "sim: true, commands: {broken: {program: /bin/false, args: ['{socket}']}}");
    node.start().await;
    let broken = "{apiVersion: shoal/v1, kind: Endpoint, metadata: {name: hello}, spec: {model: m, \
                  engine: {kind: command, name: broken}, resources: {gpus: 1}}}";
    node.apply(broken);
    let failed = |status: &serde_json::Value| {
        let endpoint = find(status, "hello").map(|endpoint| endpoint["status"]["replicas"].clone());
        endpoint.is_some_and(|replicas| list(&replicas).any(|replica| replica["state"] == "failed"))
    };
    node.wait_for("the replica to have failed", failed).await;
    node.run_ok(&["drain", "node-0", "--wait", "--timeout", "20s"]);
    assert!(node.run_ok(&["get", "replicas"]).contains("failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_placed_says_why() {
    let mesh = Mesh::start(1).await;
    // A request for it is held in case that a replica comes, for as long as the endpoint gives it.
    let yaml = endpoint("big", 1, "5ms").replace("gpus: 1}", "gpus: 8}, routing: {timeout: 1s}");
    let output = mesh.nodes[0].run(&["apply", "-f", "-", "--wait", "--timeout", "30s"], &yaml);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("node-0"), "{}", stderr(&output));
    assert_eq!(chat(&mesh.nodes[0].http(), "big", "x", 1).await.unwrap().status, 503);
    let described = mesh.nodes[0].run_ok(&["describe", "endpoint", "big"]);
    assert!(described.contains("Why:") && described.contains("GPU"), "{described}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_their_exit_codes() {
    let mesh = Mesh::start(1).await;
    let node = &mesh.nodes[0];
    let code = |args: &[&str], stdin: &str| node.run(args, stdin).status.code();
    let wrong = endpoint("a", 1, "5ms").replace("replicas", "replica");
    let output = node.run(&["apply", "-f", "-"], &wrong);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("did you mean `replicas`?"), "{}", stderr(&output));
    assert_eq!(code(&["get", "endpoint", "nothing"], ""), Some(5));
    assert_eq!(code(&["delete", "endpoint", "nothing"], ""), Some(5));
    assert_eq!(code(&["logs", "nothing"], ""), Some(5));
    assert_eq!(code(&["--socket", "/nonexistent/shoal.sock", "status"], ""), Some(3));
    assert_eq!(code(&["frobnicate"], ""), Some(64));
    node.apply(&endpoint("a", 0, "5ms"));
    let version = version_of(&node.status(), "a");
    let expect = ["apply", "-f", "-", "--expect", &version];
    assert_eq!(code(&expect, &endpoint("a", 0, "6ms")), Some(0));
    assert_eq!(code(&expect, &endpoint("a", 0, "7ms")), Some(6), "changed since that version was read");
    assert_eq!(code(&["status"], ""), Some(0));
}

/// The version of an endpoint, as text.
fn version_of(status: &serde_json::Value, name: &str) -> String {
    let version = &find(status, name).expect("the endpoint")["status"]["version"];
    format!("{}.{}.{}", version["time"], version["counter"], version["node"].as_str().expect("a node id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_an_engine_can_be_read_on_any_node() {
    let mesh = Mesh::start(2).await;
    mesh.apply(0, "hello", 1).await;
    for node in &mesh.nodes {
        node.wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
        let log = node.run_ok(&["logs", "hello"]);
        assert!(log.contains("simulated"), "{log}");
    }
}

/// Nobody has missed it yet, so that its replica is believed to serve; and it takes a while until another one does.
#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_the_replica_that_follows_the_only_one_whose_host_has_died() {
    let mut mesh = Mesh::start(3).await;
    mesh.apply(0, "hello", 1).await;
    let (serving, _) = mesh.serving_and_not("hello").await;
    for node in &mesh.nodes {
        node.wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
    }
    mesh.nodes[serving].kill();
    let asked: Vec<String> = mesh.running().map(|node| node.http()).collect();
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..10 {
        let http = asked[number % asked.len()].clone();
        requests.spawn(async move {
            // Some before it is missed, some after.
            tokio::time::sleep(std::time::Duration::from_millis(300 * number as u64)).await;
            let mut answer = chat(&http, "hello", "x", 3).await.expect("a node that runs takes requests");
            (number, answer.status, answer.rest().await)
        });
    }
    for (number, status, (text, clean)) in requests.join_all().await {
        assert!(status == 200 && clean, "request {number}: {status} {text}");
    }
}
