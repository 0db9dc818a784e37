//! How a new revision takes the place of the one before.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::harness::{Mesh, Node, find, ready, stderr, stdout, stream_chat};

/// An endpoint whose processes change with `first_token`.
fn endpoint(first_token: &str, rollout: &str) -> String {
    format!(
        "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: model}}, spec: {{model: test/model, \
         engine: {{kind: sim, timeToFirstToken: {first_token}, interTokenLatency: 1ms}}, resources: {{gpus: 1}}, \
         replicas: {{min: 2}}, placement: {{replaceAfter: 1s}}, rollout: {{{rollout}}}}}}}"
    )
}

fn health(status: &Value) -> &str {
    find(status, "model").and_then(|endpoint| endpoint["status"]["health"].as_str()).unwrap_or_default()
}

fn revision(node: &Node) -> String {
    find(&node.status(), "model").map(|endpoint| endpoint["status"]["revision"].to_string()).unwrap_or_default()
}

/// Clients that ask `node` until they are dropped; each answer that is none is a panic.
fn clients(node: &Node, count: usize) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let http = node.http();
        clients.spawn(async move {
            loop {
                let mut answer = stream_chat(&http, "model", "how are you", 2).await.expect("the ingress is there");
                let (text, clean) = answer.rest().await;
                assert!(answer.status == 200 && clean, "{}: {text}", answer.status);
            }
        });
    }
    clients
}

/// Ends `clients`; fails if one of them has.
async fn end(mut clients: JoinSet<()>) {
    let failed = clients.try_join_next();
    assert!(failed.is_none(), "a client failed: {failed:?}");
    clients.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_does_well_takes_over_by_steps() {
    let mesh = Mesh::start(3).await;
    let node = &mesh.nodes[0];
    node.apply(&endpoint("10ms", ""));
    node.wait_for("two replicas", |status| ready(status, "model") == 2).await;
    let before = revision(node);
    let load = clients(node, 2);
    // A busy machine makes first tokens late, of either revision.
    node.apply(&endpoint("11ms", "strategy: canary, steps: [50%, 100%], pause: 3s, maxTtftRatio: 1000"));
    node.wait_for("the canary", |_| node.run_ok(&["rollout", "status", "model"]).contains("progressing")).await;
    node.wait_for("the rollout to end", |status| health(status) == "ready" && ready(status, "model") == 2).await;
    end(load).await;
    assert_ne!(revision(node), before);
    let history = node.run_ok(&["rollout", "history", "model"]);
    assert_eq!(history.lines().count(), 3, "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_does_badly_is_rolled_back_and_can_be_undone() {
    let mesh = Mesh::start(3).await;
    let node = &mesh.nodes[0];
    node.apply(&endpoint("5ms", ""));
    node.wait_for("two replicas", |status| ready(status, "model") == 2).await;
    let before = revision(node);
    let slow = endpoint("400ms", "strategy: canary, steps: [50%], pause: 10m");
    let load = clients(node, 6);
    let output = node.run(&["apply", "-f", "-", "--wait"], &slow);
    assert!(!output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stderr(&output).contains("rolled back"), "{}", stderr(&output));
    let status = node.wait_for("the old revision to serve alone", |status| ready(status, "model") == 2).await;
    assert!(status["problems"].to_string().contains("rolled back"), "{}", status["problems"]);
    end(load).await;
    node.run_ok(&["rollout", "undo", "model"]);
    node.wait_for("the old revision to be the present one", |status| health(status) == "ready").await;
    assert_eq!(revision(node), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_rollout_stands_still_until_it_is_resumed() {
    let mesh = Mesh::start(3).await;
    let node = &mesh.nodes[0];
    node.apply(&endpoint("10ms", ""));
    node.wait_for("two replicas", |status| ready(status, "model") == 2).await;
    node.apply(&endpoint("11ms", "strategy: canary, steps: [50%], pause: 1h"));
    node.wait_for("the canary", |_| node.run_ok(&["rollout", "status", "model"]).contains("progressing")).await;
    node.run_ok(&["rollout", "pause", "model"]);
    node.wait_for("it to stand still", |status| health(status) == "paused").await;
    node.run_ok(&["rollout", "resume", "model"]);
    node.wait_for("it to go on", |status| health(status) == "progressing").await;
    node.run_ok(&["rollout", "undo", "model"]);
    node.wait_for("the old revision alone", |status| health(status) == "ready" && ready(status, "model") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_needs_no_new_process_restarts_nothing() {
    let mesh = Mesh::start(2).await;
    let node = &mesh.nodes[0];
    node.apply(&endpoint("10ms", ""));
    let settled = |status: &Value| health(status) == "ready" && ready(status, "model") == 2;
    let claims = |status: &Value| {
        let replicas = find(status, "model").unwrap()["status"]["replicas"].as_array().unwrap().clone();
        let mut claims: Vec<String> = replicas.iter().map(|replica| replica["claim"].to_string()).collect();
        claims.sort();
        claims
    };
    let before = node.wait_for("two replicas", settled).await;
    node.apply(&endpoint("10ms", "maxCrashes: 7").replace("replaceAfter: 1s", "replaceAfter: 2s, priority: 3"));
    // What would be restarted is withdrawn or claimed within two settle times of 1.2 s.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = node.wait_for("it to be settled", settled).await;
    assert_eq!(claims(&before), claims(&after));
}
