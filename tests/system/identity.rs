//! Certificates that are renewed and that end, nodes that are thrown out.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::harness::{
    Answer, Mesh, Node, Placement, SigtermMeans, alive, chat, chat_with_key, endpoint, find, list, ready,
    serving_nodes, stderr, stdout, stream_chat,
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
    // In turns, so that both replicas have some of the streams.
    let slow = endpoint("hello", 2, "50ms").replace("placement:", "routing: {policy: round-robin}, placement:");
    mesh.nodes[0].apply(&slow);
    for node in &mesh.nodes {
        node.wait_for("both replicas to be heard of", |status| ready(status, "hello") == 2).await;
    }
    let holders = mesh.holders("hello").await;
    let ingress = holders.iter().position(|holds| !holds).expect("a node without a replica");
    // Two of three serve, so this is never the first, which is the issuer.
    let victim = (0..3).rev().find(|&node| holders[node]).expect("a serving node");
    let others = [0, 1, 2].into_iter().filter(|&node| node != victim).collect::<Vec<_>>();
    let revoker = others.iter().copied().find(|&node| node != ingress).expect("the other serving node");
    let name = mesh.nodes[victim].name();
    let http = mesh.nodes[ingress].http();
    let mut streams = Vec::new();
    for index in 0..8 {
        let mut stream = stream_chat(&http, "hello", &format!("prompt {index}"), 100).await.unwrap();
        stream.next().await.expect("it has begun").unwrap();
        streams.push(stream);
    }

    let revoked = Instant::now();
    mesh.nodes[revoker].run_ok(&["node", "revoke", &name]);
    let left = || REVOKED_WITHIN.saturating_sub(revoked.elapsed());
    for &other in &others {
        mesh.nodes[other].wait_within(left(), "the node to be gone", |status| !names(status, &name)).await;
    }
    let cut_off = |status: &Value| is_told(status) && !is_connected(status);
    let revoked_node = &mut mesh.nodes[victim];
    revoked_node.wait_within(left(), "the revoked node to be cut off and told so", cut_off).await;
    println!("cut off everywhere after {:?}", revoked.elapsed());
    assert!(revoked_node.log().contains("this node was revoked"), "{}", revoked_node.log());
    let token = revoked_node.run(&["token", "create", "--ttl", "1h"], "");
    assert!(!token.status.success(), "it makes no tokens: {}", stdout(&token));
    let applied = revoked_node.run(&["delete", "endpoint", "hello"], "");
    assert!(stderr(&applied).contains("this node is revoked"), "it acknowledges no writes: {}", stderr(&applied));
    let mut resumed = 0;
    for stream in streams {
        resumed += usize::from(whole(stream).await.contains(": resumed on "));
    }
    assert!(resumed > 0, "streams of the revoked node went on elsewhere");

    // Neither restarted nor joining anew does it come back.
    let revoked_node = &mut mesh.nodes[victim];
    revoked_node.kill();
    revoked_node.start().await;
    revoked_node.wait_for("the restarted node to be told", is_told).await;
    revoked_node.kill();
    for &other in &others {
        let status = mesh.nodes[other].status();
        assert!(!names(&status, &name) && alive(&status) == 2, "{status:#}");
    }
    let token = mesh.nodes[0].run_ok(&["token", "create"]);
    let state_dir = mesh.nodes[victim].state_dir();
    std::fs::remove_file(format!("{state_dir}/identity/node.crt")).unwrap();
    let refused = mesh.nodes[victim].run(&["join", "-", "--state-dir", &state_dir], &token);
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
    for node in &nodes {
        node.wait_for("all nodes to be seen", |status| alive(status) == 3).await;
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
    // As a pod does whose secret was removed: what it serves alone, it serves.
    nodes[1].set_env("SHOAL_JOIN_TOKEN_FILE", "/nonexistent/token");
    nodes[1].start().await;
    assert!(nodes[1].log().contains("has not joined again"), "{}", nodes[1].log());
    assert_eq!(id(&nodes[1]), same);
    nodes[1].kill();
    nodes[1].join_with(&token);
    nodes[1].start().await;
    assert_eq!(id(&nodes[1]), same);
    nodes[0].wait_for("the node to be back", |status| alive(status) == 2 && names(status, "node-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_becomes_an_issuer_and_admits_when_the_first_is_gone() {
    let mut mesh = Mesh::start(2).await;
    let root_key = format!("{}/identity/root.key", mesh.nodes[0].state_dir());
    let is_issuer =
        |status: &Value| list(&status["nodes"]).any(|node| node["name"] == "node-1" && node["facts"]["issuer"] == true);
    let second = &mesh.nodes[1];
    let none = second.run(&["issuer", "add", "node-1", "--state-dir", &second.state_dir()], "");
    assert!(!none.status.success() && stderr(&none).contains("shoal issuer request"), "{}", stderr(&none));
    let not_one = mesh.nodes[0].run(&["issuer", "rotate", "node-1", "--root-key", &root_key], "");
    assert!(stderr(&not_one).contains("is not an issuer"), "{}", stderr(&not_one));
    mesh.nodes[0].run_ok(&["issuer", "add", "node-1", "--root-key", &root_key]);
    mesh.nodes[0].wait_for("the new issuer", is_issuer).await;

    // Once more, with the root key where no daemon is.
    let request = mesh.nodes[0].run_ok(&["issuer", "request", "node-1"]);
    let grant = second.run(&["issuer", "sign", "-", "--root-key", &root_key], &request);
    assert!(grant.status.success(), "{}", stderr(&grant));
    let installed = mesh.nodes[0].run(&["issuer", "install", "node-1", "-"], &stdout(&grant));
    assert!(installed.status.success(), "{}", stderr(&installed));
    let again = mesh.nodes[0].run(&["issuer", "install", "node-1", "-"], &stdout(&grant));
    assert!(stderr(&again).contains("asked for last"), "a grant is for one use: {}", stderr(&again));

    mesh.nodes[0].kill();
    let second = &mut mesh.nodes[1];
    second.kill();
    second.start().await;
    let token = second.run_ok(&["token", "create"]);
    let dir = TempDir::with_prefix("shoal-test-").unwrap();
    let mut third = Node::prepare(dir.path().join("third"), 3, Placement::Home, SigtermMeans::Daemon);
    third.join_with(&token);
    third.start().await;
    third.wait_for("the issuer that admitted it", |status| names(status, "node-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_puts_back_what_was_deleted_and_begins_a_lost_mesh_again() {
    let mut mesh = Mesh::start(1).await;
    mesh.apply(0, "hello", 1).await;
    let dir = TempDir::with_prefix("shoal-test-").unwrap();
    let file = dir.path().join("mesh.backup").display().to_string();
    let node = &mesh.nodes[0];
    let key = node.run_ok(&["key", "create", "team"]).trim().to_owned();
    node.run_ok(&["backup", &file]);
    assert_eq!(node.run_ok(&["backup", "-"]).lines().count(), std::fs::read_to_string(&file).unwrap().lines().count());

    node.run_ok(&["delete", "endpoint", "hello"]);
    node.wait_for("the endpoint to be gone", |status| find(status, "hello").is_none()).await;
    let planned = node.run_ok(&["restore", &file, "--dry-run"]);
    assert!(planned.contains("endpoint/hello") && planned.contains("created"), "{planned}");
    assert!(find(&node.status(), "hello").is_none(), "a dry run does nothing");
    node.run_ok(&["restore", &file]);
    node.wait_for("the endpoint to serve again", |status| ready(status, "hello") == 1).await;

    let text = std::fs::read_to_string(&file).unwrap();
    let cut = node.run(&["restore", "-"], &text[..text.len() - 100]);
    assert!(cut.status.code() == Some(64) && stderr(&cut).contains("cut off"), "{}", stderr(&cut));
    let altered = node.run(&["restore", "-"], &text.replace("hello", "hellp"));
    assert!(altered.status.code() == Some(64) && stderr(&altered).contains("checksum"), "{}", stderr(&altered));

    // All hosts are lost; the root key was kept elsewhere.
    mesh.nodes[0].kill();
    let root_key = format!("{}/identity/root.key", mesh.nodes[0].state_dir());
    let mut again = Node::prepare(dir.path().join("again"), 0, Placement::Home, SigtermMeans::Daemon);
    again.run_ok(&["init", "--state-dir", &again.state_dir(), "--root-key", &root_key]);
    again.configure("ingress: {listen", "ingress: {auth: keys, listen");
    again.start().await;
    again.run_ok(&["restore", &file]);
    again.wait_for("the endpoint to serve on the new host", |status| ready(status, "hello") == 1).await;
    assert_eq!(again.status()["mesh"], mesh_of(&text), "it is the same mesh");
    let answer = chat_with_key(&again.http(), &key, "hello", "Hello", 5).await.unwrap();
    assert_eq!(answer.status, 200, "the client's key is good again");
}

fn mesh_of(backup: &str) -> Value {
    serde_json::from_str::<Value>(backup.lines().next().unwrap()).unwrap()["mesh"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_replaced_while_the_mesh_serves() {
    let dir = TempDir::with_prefix("shoal-test-").unwrap();
    let mut nodes = short_lived(&dir).await;
    nodes[0].apply(&endpoint("hello", 1, "10ms").replace("spread: zone", "home: burst"));
    nodes[0].wait_for("the replica to be heard of", |status| serving_nodes(status, "hello") == ["node-2"]).await;
    let next = dir.path().join("next").display().to_string();
    let (new_key, succession) = (format!("{next}/root.key"), format!("{next}/root.succession"));
    let old_key = format!("{}/identity/root.key", nodes[0].state_dir());
    // It misses all that follows.
    nodes[1].kill();

    nodes[0].run_ok(&["root", "begin", &next, "--root-key", &old_key]);
    let early = nodes[0].run(&["root", "finish", &succession], "");
    assert!(early.status.code() == Some(2) && stderr(&early).contains("node-2 comes from root"), "{}", stderr(&early));
    let root_of = |status: &Value, name: &str| {
        list(&status["nodes"]).find(|node| node["name"] == name).map(|node| node["facts"]["root"].clone())
    };
    let old_root = root_of(&nodes[0].status(), "node-2");
    nodes[0].run_ok(&["issuer", "rotate", "node-0", "--root-key", &new_key]);
    let reissued = |status: &Value| ["node-0", "node-2"].iter().all(|name| root_of(status, name) != old_root);
    nodes[0].wait_for("all to have certificates of the new root", reissued).await;
    let answer = chat(&nodes[0].http(), "hello", "Both are trusted", 5).await.unwrap();
    assert_eq!(answer.status, 200);
    nodes[0].wait_for("the killed node to be missed", |status| alive(status) == 2).await;
    let silent = nodes[0].run(&["root", "finish", &succession], "");
    assert!(stderr(&silent).contains("node-1 is silent"), "{}", stderr(&silent));
    nodes[0].run_ok(&["root", "finish", &succession, "--force"]);

    let log = |node: &Node| node.log().contains("the root of the mesh was replaced");
    nodes[2].wait_for("the old root to be dropped elsewhere", |_| log(&nodes[2])).await;
    nodes[0].wait_for("the nodes to be connected anew", |status| alive(status) == 2 && is_connected(status)).await;
    let answer = chat(&nodes[0].http(), "hello", "One is trusted", 5).await.unwrap();
    assert_eq!(answer.status, 200);

    // Whoever comes knows the new root only, and takes over what was written under the old one.
    let token = nodes[0].run_ok(&["token", "create", "--uses", "2"]);
    let mut newcomer = Node::prepare(dir.path().join("newcomer"), 3, Placement::Home, SigtermMeans::Daemon);
    newcomer.join_with(&token);
    newcomer.start().await;
    newcomer.wait_for("the specs of before", |status| find(status, "hello").is_some()).await;
    assert_eq!(newcomer.status()["mesh"], nodes[0].status()["mesh"]);
    // Whoever was away joins again, also if it has heard of the new root and has nothing from it.
    let root = |node: &Node| format!("{}/identity/root.crt", node.state_dir());
    std::fs::copy(root(&nodes[0]), root(&nodes[1])).unwrap();
    let alone = nodes[1].run_agent();
    assert!(!alone.status.success() && stderr(&alone).contains("join again"), "{}", stderr(&alone));
    let token_file = dir.path().join("token").display().to_string();
    std::fs::write(&token_file, &token).unwrap();
    nodes[1].set_env("SHOAL_JOIN_TOKEN_FILE", &token_file);
    nodes[1].start().await;
    nodes[0].wait_for("all to be there", |status| alive(status) == 4 && names(status, "node-1")).await;
    // The old root key makes nobody an issuer any more.
    let refused = nodes[0].run(&["issuer", "rotate", "node-0", "--root-key", &old_key], "");
    assert!(!refused.status.success(), "{}", stdout(&refused));
}
