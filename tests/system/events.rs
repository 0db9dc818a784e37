//! What any node tells of what happened, and what an admin token may.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::harness::{Mesh, Node, eventually, free_tcp_port, list, shoal, stderr, stdout};

/// Events that `node` tells, with further arguments.
fn events(node: &Node, args: &[&str]) -> Vec<Value> {
    let args = [&["events", "-o", "json", "--limit", "1000"], args].concat();
    serde_json::from_str(&node.run_ok(&args)).expect("a list of events")
}

fn has(events: &[Value], reason: &str, about: &str) -> bool {
    events.iter().any(|event| event["reason"] == reason && event["about"] == about)
}

/// Waits until `node` tells that `reason` happened to `about`.
async fn told(node: &Node, reason: &str, about: &str) -> Value {
    eventually(&format!("{reason} of {about}"), async || {
        let found = |event: &&Value| event["reason"] == reason && event["about"] == about;
        events(node, &[]).iter().rev().find(found).cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_tells_what_happened_to_whom_why_and_who_did_it() {
    let mut mesh = Mesh::start(3).await;
    mesh.apply(0, "hello", 2).await;
    let asked = &mesh.nodes[2];
    let applied = told(asked, "EndpointApplied", "endpoint/hello").await;
    assert_eq!((applied["actor"].as_str(), applied["node"].as_str()), (Some(&*own_uid()), Some("node-0")), "{applied}");
    let scaled = told(asked, "Scaled", "endpoint/hello").await;
    assert!(scaled["actor"].as_str().is_some_and(|actor| actor.starts_with("steward node-")), "{scaled}");
    let ready = eventually("both replicas to be told of", async || {
        let of_it = events(asked, &["--for", "endpoint/hello"]);
        let ready: Vec<Value> = of_it.into_iter().filter(|event| event["reason"] == "ReplicaReady").collect();
        (ready.len() == 2).then_some(ready)
    })
    .await;
    assert!(
        ready.iter().all(|event| event["actor"] == format!("node {}", event["node"].as_str().unwrap())),
        "{ready:?}"
    );

    // Also by a node that was not there meanwhile, and of one that has been restarted since.
    mesh.nodes[0].terminate();
    mesh.nodes[0].start().await;
    told(&mesh.nodes[0], "EndpointApplied", "endpoint/hello").await;
    let again = told(&mesh.nodes[2], "DaemonStarted", "node/node-0").await;
    assert!(has(&events(&mesh.nodes[2], &[]), "DaemonStopping", "node/node-0"), "{again}");

    // What two nodes saw is one thing that happened; whose events are missing is said.
    let (serving, _) = mesh.serving_and_not("hello").await;
    mesh.nodes[serving].kill();
    let gone = mesh.nodes[serving].name();
    let others: Vec<&Node> = mesh.running().collect();
    let subject = format!("node/{gone}");
    let seen = eventually("both others to tell that it is silent", async || {
        let silent = told(others[0], "NodeSilent", &subject).await;
        (list(&silent["also"]).count() == 1).then_some(silent)
    })
    .await;
    assert_eq!(seen["level"], "warning");
    let warned = events(others[0], &["--warnings", "--since", "10m"]);
    assert!(has(&warned, "NodeSilent", &subject) && !has(&warned, "EndpointApplied", "endpoint/hello"), "{warned:?}");
    let output = others[0].run(&["events", "--for", &subject], "");
    assert!(stderr(&output).contains(&format!("events of node {gone} are missing")), "{}", stderr(&output));
    let described = others[0].run_ok(&["describe", "endpoint", "hello"]);
    let (_, section) = described.split_once("Events:\n").expect("a section of events");
    assert!(section.contains("ReplicaClaimed"), "{section}");
}

/// How a write over the socket is told, of whoever runs these tests.
fn own_uid() -> String {
    use std::os::unix::fs::MetadataExt as _;
    format!("uid {}", fs::metadata("/proc/self").expect("a process").uid())
}

/// Runs a verb against the admin API over TCP with the token in `token`.
fn with_token(address: &str, token: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(shoal());
    command.args(args).args(["--addr", address, "--admin-token-file"]).arg(token).env_remove("SHOAL_SOCKET");
    let output = command.output().expect("it runs");
    (output.status.code().unwrap_or(-1), stdout(&output), stderr(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_what_its_role_says_and_what_it_does_is_told() {
    let mut mesh = Mesh::start(1).await;
    let address = format!("127.0.0.1:{}", free_tcp_port());
    let dir = tempfile::tempdir().unwrap();
    let token = |role: &str, digit: &str| {
        let path = dir.path().join(role);
        fs::write(&path, digit.repeat(32)).unwrap();
        path
    };
    let (view, operate, admin) = (token("view", "1"), token("operate", "2"), token("admin", "3"));
    mesh.nodes[0].terminate();
    let tokens = format!(
        "listen: '{address}', tokenFile: {}, tokens: [{{name: eve, role: view, file: {}}}, {{name: bob, role: operate, file: {}}}]",
        admin.display(),
        view.display(),
        operate.display()
    );
    mesh.nodes[0].configure("listen: null", &tokens);
    mesh.nodes[0].start().await;

    let status = |token: &Path, args: &[&str]| with_token(&address, token, args).0;
    assert_eq!(status(&view, &["get", "nodes"]), 0);
    assert_eq!(status(&view, &["key", "list"]), 0);
    let (code, _, told) = with_token(&address, &view, &["drain", "node-0"]);
    assert_eq!(code, 4, "{told}");
    assert!(told.contains("needs the role operate; token eve from 127.0.0.1 has view"), "{told}");
    assert_eq!(status(&operate, &["drain", "node-0"]), 0);
    assert_eq!(status(&operate, &["undrain", "node-0"]), 0);
    assert_eq!(status(&operate, &["key", "create", "k"]), 4);
    assert_eq!(status(&operate, &["token", "create"]), 4);
    assert_eq!(status(&admin, &["key", "create", "k"]), 0);
    assert_eq!(status(&token("wrong", "4"), &["get", "nodes"]), 4);

    let all = events(&mesh.nodes[0], &[]);
    let by = |reason: &str| -> Vec<&str> {
        let of_it = all.iter().filter(|event| event["reason"] == reason);
        of_it.filter_map(|event| event["actor"].as_str()).collect()
    };
    let (eve, bob) = ("token eve from 127.0.0.1", "token bob from 127.0.0.1");
    assert_eq!(by("WriteRefused"), [eve, bob], "each once a minute: {all:?}");
    assert_eq!((by("DrainAsked"), by("UndrainAsked")), (vec![bob], vec![bob]));
    assert_eq!(by("KeyCreated"), ["token admin from 127.0.0.1"]);
}
