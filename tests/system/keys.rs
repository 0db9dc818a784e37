//! Keys of clients: made on one node, good at all, limited and accounted over all.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::harness::{Mesh, Node, PATIENCE, chat_with_key, eventually, list, ready, stderr};

/// Within this a key that was made, or revoked, is so at every node.
const EVERYWHERE: Duration = Duration::from_secs(3);

/// Two nodes that ask for keys, with one replica of `hello`.
async fn mesh() -> Mesh {
    let mut mesh = Mesh::start(2).await;
    mesh.apply(0, "hello", 1).await;
    for node in &mut mesh.nodes {
        node.terminate();
        node.configure("ingress: {", "ingress: {auth: keys, ");
        node.start().await;
    }
    for node in &mesh.nodes {
        node.wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
    }
    mesh
}

/// The status of a small request at `node` by `key`.
async fn ask(node: &Node, key: &str) -> u16 {
    let mut answer = chat_with_key(&node.http(), key, "hello", "Tell me", 5).await.unwrap();
    let status = answer.status;
    answer.rest().await;
    status
}

/// Until `node` answers `key` with `status`, within the time that news of keys may take.
async fn until(node: &Node, key: &str, status: u16) {
    let start = Instant::now();
    loop {
        let answered = ask(node, key).await;
        if answered == status {
            return;
        }
        assert!(start.elapsed() < EVERYWHERE, "{} still answers {answered}, not {status}", node.name());
        sleep(Duration::from_millis(20)).await;
    }
}

fn usage(node: &Node) -> Value {
    serde_json::from_str(&node.run_ok(&["key", "usage", "-o", "json"])).unwrap()
}

/// Requests and tokens of an answer of `shoal key usage`.
fn sum(usage: &Value) -> (u64, u64) {
    let count = |row: &Value, name: &str| row[name].as_u64().unwrap();
    let rows = list(&usage["usage"]);
    rows.fold((0, 0), |(requests, tokens), row| {
        (requests + count(row, "requests"), tokens + count(row, "prompt") + count(row, "completion"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_and_revoked_everywhere_within_seconds_and_its_usage_adds_up() {
    let mut mesh = mesh().await;
    let (first, second) = (&mesh.nodes[0], &mesh.nodes[1]);
    assert_eq!(ask(second, "unused").await, 401, "nobody asks without a key");
    let key = first.run_ok(&["key", "create", "team-a", "--endpoint", "hello", "--expires", "30d"]);
    let key = key.strip_suffix('\n').unwrap();
    assert!(key.starts_with("sk-shoal-") && !key.contains('\n'), "only the key is on standard output: {key}");
    until(second, key, 200).await;
    until(first, key, 200).await;
    let secret = key.rsplit('-').next().unwrap();
    for node in &mesh.nodes {
        let listed = node.run_ok(&["key", "list", "-o", "json"]);
        assert!(listed.contains("team-a") && !listed.contains(secret), "{listed}");
        assert!(!node.log().contains(secret), "the log gives no key away");
    }
    let twin = second.run(&["key", "create", "team-a"], "");
    assert_eq!(twin.status.code(), Some(6), "{}", stderr(&twin));

    let before = eventually("both requests to be accounted", async || {
        let usage = usage(first);
        (sum(&usage).0 >= 2).then_some(usage)
    });
    let before = before.await;
    assert_eq!(list(&before["missing"]).count(), 0, "{before}");
    let (requests, tokens) = sum(&before);
    assert!(tokens >= requests * 6, "5 tokens of each answer and its prompt: {before}");

    assert!(second.run(&["key", "revoke", "team-a"], "").status.success());
    until(first, key, 401).await;
    until(second, key, 401).await;

    // What was used is not lost with the daemon, and who does not answer is named.
    mesh.nodes[1].stop();
    let first = &mesh.nodes[0];
    let part = eventually("the other node to be missed", async || {
        let usage = usage(first);
        (list(&usage["missing"]).count() == 1 || sum(&usage).0 < requests).then_some(usage)
    });
    part.await;
    mesh.nodes[1].start().await;
    // Or more of it: until the revocation was heard of, the key was good.
    eventually("all usage to be there again", async || {
        let (requests_now, tokens_now) = sum(&usage(&mesh.nodes[0]));
        (requests_now >= requests && tokens_now >= tokens).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_over_all_nodes() {
    let mesh = mesh().await;
    let (first, second) = (&mesh.nodes[0], &mesh.nodes[1]);
    let key = first.run_ok(&["key", "create", "small", "--requests-per-minute", "6"]);
    let key = key.trim_end();
    until(second, key, 200).await;
    let start = Instant::now();
    let mut admitted = 1;
    for _ in 0..5 {
        admitted += u32::from(ask(second, key).await == 200);
    }
    assert_eq!((admitted, ask(second, key).await), (6, 429), "exact where it is asked");
    // The other node lets in no more than what it could not hear of, which is at most as much again.
    let mut elsewhere = 0;
    while ask(first, key).await == 200 {
        elsewhere += 1;
        assert!(start.elapsed() < PATIENCE, "the limit is not heard of");
        sleep(Duration::from_millis(500)).await;
    }
    assert!(elsewhere <= 6, "{elsewhere} more at the other node");
}
