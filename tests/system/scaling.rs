//! How many replicas there are: by demand, to zero and from zero, whoever is the steward.

use serde_json::Value;
use tokio::task::JoinSet;

use super::harness::{Mesh, PATIENCE, chat, eventually, find, ready, stream_chat};

/// An endpoint that wants one replica for every two requests in flight.
fn scaled(name: &str, min: u32, max: u32) -> String {
    format!(
        "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: {name}}}, spec: {{model: test/{name}, \
         engine: {{kind: sim, timeToFirstToken: 20ms, interTokenLatency: 20ms}}, resources: {{gpus: 1}}, \
         replicas: {{min: {min}, max: {max}}}, \
         scaling: {{targets: {{inflight: 2}}, upDelay: 2s, downDelay: 5s, idleToZero: 3s}}, \
         placement: {{replaceAfter: 1s}}}}}}"
    )
}

fn desired(status: &Value, name: &str) -> u64 {
    find(status, name).and_then(|endpoint| endpoint["status"]["desired"].as_u64()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_a_sleeping_endpoint_is_held_and_served() {
    let mesh = Mesh::start(2).await;
    mesh.nodes[0].apply(&scaled("idle", 0, 1));
    mesh.nodes[1].wait_for("the endpoint to be known", |status| find(status, "idle").is_some()).await;
    assert_eq!(ready(&mesh.nodes[1].status(), "idle"), 0);
    let http = mesh.nodes[1].http();
    let (whole, streamed) = tokio::join!(chat(&http, "idle", "wake up", 3), stream_chat(&http, "idle", "wake up", 3));
    let (mut whole, mut streamed) = (whole.unwrap(), streamed.unwrap());
    assert_eq!((whole.status, streamed.status), (200, 200));
    assert!(whole.json().await["choices"][0]["message"]["content"].is_string());
    let (events, clean) = streamed.rest().await;
    assert!(clean && events.trim_end().ends_with("data: [DONE]"), "{events}");
    mesh.nodes[1]
        // Arrivals are counted over a minute, and only then does `idleToZero` begin.
        .wait_within(2 * PATIENCE, "it to end when it is idle", |status| {
            find(status, "idle")
                .is_some_and(|endpoint| endpoint["status"]["replicas"].as_array().is_some_and(Vec::is_empty))
        })
        .await;
    assert_eq!(chat(&http, "idle", "again", 3).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_5_demand_raises_the_count_and_a_dead_steward_does_not_lower_it() {
    let mut mesh = Mesh::start(4).await;
    mesh.nodes[0].apply(&scaled("busy", 1, 5));
    mesh.nodes[0].wait_for("the first replica", |status| ready(status, "busy") == 1).await;
    let http = mesh.nodes[0].http();
    let mut load = JoinSet::new();
    for client in 0..8 {
        let http = http.clone();
        load.spawn(async move {
            loop {
                if let Ok(mut answer) = stream_chat(&http, "busy", &format!("prompt {client}"), 100).await {
                    answer.rest().await;
                }
            }
        });
    }
    let raised = mesh.nodes[0].wait_for("more replicas", |status| desired(status, "busy") >= 4).await;
    mesh.nodes[0].wait_for("them to serve", |status| ready(status, "busy") >= 4).await;
    let before = desired(&raised, "busy");
    // Whoever is the steward, it is not node 0 after this in at least one of two runs of the loop.
    for victim in [3, 2] {
        mesh.nodes[victim].kill();
        let watched = mesh.nodes[0].wait_for("the dead node to be missed", |status| {
            status["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .any(|node| node["name"] == format!("node-{victim}") && node["liveness"] != "alive")
        });
        let missed = watched.await;
        assert!(desired(&missed, "busy") >= before, "no step back: {}", desired(&missed, "busy"));
    }
    load.shutdown().await;
    mesh.nodes[0].wait_for("fewer when nobody asks", |status| desired(status, "busy") == 1).await;
    mesh.nodes[0].wait_for("one that serves", |status| ready(status, "busy") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_5_a_restart_of_everything_shrinks_nothing() {
    let mut mesh = Mesh::start(3).await;
    mesh.nodes[0].apply(&scaled("busy", 1, 3).replace("downDelay: 5s", "downDelay: 1h"));
    mesh.nodes[0].wait_for("the first replica", |status| ready(status, "busy") == 1).await;
    let http = mesh.nodes[0].http();
    let mut load = JoinSet::new();
    for _ in 0..6 {
        let http = http.clone();
        load.spawn(async move {
            loop {
                if let Ok(mut answer) = stream_chat(&http, "busy", "prompt", 100).await {
                    answer.rest().await;
                }
            }
        });
    }
    mesh.nodes[0].wait_for("three replicas", |status| ready(status, "busy") == 3).await;
    load.shutdown().await;
    for node in &mut mesh.nodes {
        node.stop();
    }
    for node in &mut mesh.nodes {
        node.start().await;
    }
    let node = &mesh.nodes[1];
    node.wait_for("all three again", |status| ready(status, "busy") == 3).await;
    eventually("its word to be that of before", async || (desired(&node.status(), "busy") == 3).then_some(())).await;
}
