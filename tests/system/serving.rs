//! Requests: through any node, and while nodes die.

use std::{collections::BTreeSet, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::harness::{Mesh, alive, chat, endpoint, find, list, ready, request, serving_nodes, stream_chat};

/// Text of the deltas of a stream of server-sent events.
fn text_of(events: &str) -> String {
    events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str::<serde_json::Value>(data).unwrap_or_else(|error| panic!("{error}: {data}")))
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_can_be_had_from_every_node() {
    let mesh = Mesh::start(3).await;
    mesh.apply(0, "hello", 1).await;
    let mut texts = Vec::new();
    for node in &mesh.nodes {
        // A spec applied on one node is on all; each must also have heard of the replica.
        node.wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
        let mut answer = stream_chat(&node.http(), "hello", "Tell me", 20).await.unwrap();
        assert_eq!(answer.status, 200);
        let mut pieces = 0;
        let mut events = String::new();
        while let Some(piece) = answer.next().await {
            events.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            pieces += 1;
        }
        assert!(events.trim_end().ends_with("data: [DONE]"), "{events}");
        assert!(pieces >= 20, "tokens were merged: {pieces} pieces for 20 tokens");
        texts.push(text_of(&events));
    }
    assert!(texts[0].contains("simulated"), "the engine says that it is simulated: {}", texts[0]);
    assert!(texts.iter().all(|text| *text == texts[0]), "the same prompt gives the same text everywhere: {texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_10_every_node_lists_all_models_and_refuses_unknown_ones() {
    let mesh = Mesh::start(2).await;
    mesh.apply(0, "hello", 1).await;
    for node in &mesh.nodes {
        node.wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
        let models = request(&node.http(), "GET", "/v1/models", String::new()).await.unwrap().json().await;
        assert!(models["data"].as_array().unwrap().iter().any(|model| model["id"] == "hello"), "{models}");
        let mut unknown = chat(&node.http(), "helo", "x", 1).await.unwrap();
        assert_eq!(unknown.status, 404);
        let body = unknown.json().await;
        assert_eq!(body["error"]["code"], "model_not_found");
        assert!(body["error"]["message"].as_str().unwrap().contains("hello"), "{body}");
    }
}

/// How a request of the load ended.
#[derive(Debug)]
enum Outcome {
    /// Whole, in the end by another replica than at its beginning.
    Resumed,
    Complete,
    /// Failed before its first byte.
    Refused(String),
    /// Broke off after it.
    Cut(String),
}

async fn one_request(http: &str, index: usize) -> Outcome {
    let mut answer = match stream_chat(http, "hello", &format!("prompt {index}"), 30).await {
        Ok(answer) if answer.status == 200 => answer,
        Ok(mut answer) => {
            let (body, _) = answer.rest().await;
            return Outcome::Refused(format!("{} {body}", answer.status));
        }
        Err(error) => return Outcome::Refused(error),
    };
    let (events, clean) = answer.rest().await;
    match is_whole(&events, clean) {
        true if events.contains(RESUMED) => Outcome::Resumed,
        true => Outcome::Complete,
        false => Outcome::Cut(events),
    }
}

/// What a stream says when another replica goes on with it.
const RESUMED: &str = ": resumed on ";

fn is_whole(events: &str, clean: bool) -> bool {
    clean && events.trim_end().ends_with("data: [DONE]") && !events.contains("\"error\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serving_node_killed_under_load_costs_nobody_anything() {
    let mut mesh = Mesh::start(3).await;
    // Half of a request's time is before its first byte, so that many wait for theirs at the kill: those must be retried.
    let slow = endpoint("hello", 2, "10ms").replace("timeToFirstToken: 20ms", "timeToFirstToken: 300ms");
    // In turns, so that both replicas have some of the streams with the same prompt.
    mesh.nodes[0].apply(&slow.replace("placement:", "routing: {policy: round-robin}, placement:"));
    mesh.nodes[0].wait_for("the endpoint to be ready", |status| ready(status, "hello") == 2).await;
    let holders = mesh.holders("hello").await;
    let ingress = holders.iter().position(|holds| !holds).unwrap_or(0);
    let victim = (0..3).rev().find(|&node| holders[node] && node != ingress).expect("a serving node to kill");
    mesh.nodes[ingress].wait_for("both replicas to be heard of", |status| ready(status, "hello") == 2).await;

    let (stop, stopped) = watch::channel(false);
    let http = mesh.nodes[ingress].http();
    let mut load = JoinSet::new();
    for worker in 0..32 {
        let (http, stopped) = (http.clone(), stopped.clone());
        load.spawn(async move {
            let mut outcomes = Vec::new();
            while !*stopped.borrow() {
                outcomes.push(one_request(&http, worker).await);
            }
            outcomes
        });
    }
    // Eight long streams that have begun, some of them on the victim.
    let mut held = JoinSet::new();
    for _ in 0..8 {
        let mut answer = stream_chat(&mesh.nodes[ingress].http(), "hello", "long", 4_000).await.unwrap();
        let first = answer.next().await.expect("a first piece").unwrap();
        held.spawn(async move {
            let (rest, clean) = answer.rest().await;
            (String::from_utf8_lossy(&first).into_owned() + &rest, clean)
        });
    }
    let victim_name = mesh.nodes[victim].name();
    let busy = |status: &serde_json::Value| {
        let replicas = find(status, "hello").map(|endpoint| endpoint["status"]["replicas"].clone()).unwrap_or_default();
        list(&replicas)
            .any(|replica| replica["node"] == *victim_name && replica["load"]["inflight"].as_u64() >= Some(4))
    };
    mesh.nodes[ingress].wait_for("the victim to be busy", busy).await;
    mesh.nodes[victim].kill();
    mesh.nodes[ingress]
        .wait_for("the replica to be elected elsewhere", |status| {
            let nodes = serving_nodes(status, "hello");
            nodes.len() == 2 && !nodes.contains(&victim_name)
        })
        .await;
    stop.send(true).unwrap();
    let outcomes: Vec<Outcome> = load.join_all().await.into_iter().flatten().collect();

    for outcome in &outcomes {
        match outcome {
            Outcome::Complete | Outcome::Resumed => {}
            Outcome::Refused(why) => panic!("a request failed before its first byte: {why}"),
            Outcome::Cut(events) => panic!("a stream broke off: {events}"),
        }
    }
    let complete = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Complete)).count();
    let held = held.join_all().await;
    let resumed = held.iter().filter(|(events, _)| events.contains(RESUMED)).count();
    assert!((1..=8).contains(&resumed), "the victim had some of the long streams: {resumed}");
    let texts = held.iter().map(|(events, clean)| {
        assert!(is_whole(events, *clean), "{events}");
        text_of(events)
    });
    let texts: BTreeSet<String> = texts.collect();
    assert_eq!(texts.len(), 1, "the same prompt has the same answer, to the last byte, whoever went on with it");
    assert!(complete > 64, "the load went on: {complete}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_frees_its_place_at_the_engine() {
    let mesh = Mesh::start(2).await;
    mesh.apply(0, "hello", 1).await;
    let (serving, other) = mesh.serving_and_not("hello").await;
    mesh.nodes[other].wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
    let mut answer = stream_chat(&mesh.nodes[other].http(), "hello", "long", 4_000).await.unwrap();
    answer.next().await.expect("a first piece").unwrap();
    let inflight = |wanted: u64| {
        move |status: &serde_json::Value| {
            find(status, "hello").and_then(|endpoint| endpoint["status"]["replicas"][0]["load"]["running"].as_u64())
                == Some(wanted)
        }
    };
    mesh.nodes[serving].wait_for("the engine to run it", inflight(1)).await;
    drop(answer);
    mesh.nodes[serving].wait_for("the engine to have dropped it", inflight(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_hands_over_without_an_error() {
    let mut mesh = Mesh::start(3).await;
    mesh.apply(0, "hello", 2).await;
    let (serving, other) = mesh.serving_and_not("hello").await;
    let http = mesh.nodes[other].http();
    mesh.nodes[other].wait_for("both replicas to be heard of", |status| ready(status, "hello") == 2).await;
    let (stop, stopped) = watch::channel(false);
    let mut load = JoinSet::new();
    load.spawn(async move {
        let mut answers = 0;
        while !*stopped.borrow() {
            let mut answer = chat(&http, "hello", "x", 5).await.unwrap();
            let body = answer.rest().await;
            assert_eq!(answer.status, 200, "{body:?}");
            answers += 1;
        }
        answers
    });
    let mut leaver = mesh.nodes.remove(serving);
    let stopping = tokio::task::spawn_blocking(move || leaver.stop());
    tokio::time::timeout(Duration::from_secs(30), stopping).await.expect("it stops in time").unwrap();
    let survivor = mesh.running().next().unwrap();
    survivor.wait_for("two replicas again", |status| ready(status, "hello") == 2 && alive(status) == 2).await;
    stop.send(true).unwrap();
    assert!(load.join_next().await.unwrap().unwrap() > 0);
}

/// The whole mesh but one node is gone, and nobody is there to agree with.
#[tokio::test(flavor = "multi_thread")]
async fn rule_8_a_node_that_is_left_alone_serves_what_it_has() {
    let mut mesh = Mesh::start(3).await;
    mesh.apply(0, "hello", 2).await;
    let (serving, _) = mesh.serving_and_not("hello").await;
    let own = mesh.nodes[serving].name();
    mesh.nodes[serving].wait_for("the own replica", |status| serving_nodes(status, "hello").contains(&own)).await;
    for (index, node) in mesh.nodes.iter_mut().enumerate() {
        if index != serving {
            node.kill();
        }
    }
    for _ in 0..20 {
        let answer = chat(&mesh.nodes[serving].http(), "hello", "x", 3).await.unwrap();
        assert_eq!(answer.status, 200, "served without waiting for anybody");
    }
}
