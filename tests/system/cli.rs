//! The command line as people and scripts use it: exit codes, formats, and what is only told to people.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::harness::{Mesh, Node, endpoint, list, ready, shoal, stderr, stdout};

/// Runs the program where there is no daemon, with this directory as home.
fn alone(home: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(shoal());
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").args(args);
    let output = command.output().expect("the program runs");
    (output.status.code(), stdout(&output), stderr(&output))
}

/// A version as other verbs take it.
const VERSION: &str = "jsonpath={.status.version.time}.{.status.version.counter}.{.status.version.node}";

fn code(node: &Node, args: &[&str], stdin: &str) -> Option<i32> {
    node.run(args, stdin).status.code()
}

/// An endpoint that no node has GPUs for.
fn too_large(name: &str) -> String {
    endpoint(name, 1, "10ms").replace("gpus: 1", "gpus: 8")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exit_code_means_what_the_help_says() {
    let home = tempfile::tempdir().unwrap();
    let (code_of_help, help, _) = alone(home.path(), &["--help"]);
    assert_eq!(code_of_help, Some(0));
    let socket = home.path().join("no.sock").display().to_string();
    assert_eq!(alone(home.path(), &["--socket", &socket, "status"]).0, Some(3), "no daemon");
    assert_eq!(alone(home.path(), &["frobnicate"]).0, Some(64), "no such verb");
    assert_eq!(alone(home.path(), &["get", "nodes", "-o", "xml"]).0, Some(64), "no such format");

    let mut mesh = Mesh::start(1).await;
    let node = &mesh.nodes[0];
    assert_eq!(code(node, &["status"], ""), Some(0), "healthy");
    assert_eq!(code(node, &["get", "endpoint", "nothing"], ""), Some(5), "not there");
    assert_eq!(code(node, &["apply", "-f", "-"], "spec: {}"), Some(64), "no endpoint");
    assert_eq!(code(node, &["get", "fish"], ""), Some(64), "no such kind");
    mesh.apply(0, "hello", 1).await;
    let stale = node.run_ok(&["get", "endpoint/hello", "-o", VERSION]);
    node.run_ok(&["scale", "endpoint/hello", "--replicas", "2"]);
    let again = endpoint("hello", 1, "10ms");
    assert_eq!(code(node, &["apply", "-f", "-", "--expect", &stale], &again), Some(6), "since {stale}");
    let unplaced = node.run(&["apply", "-f", "-", "--wait"], &too_large("large"));
    assert_eq!(unplaced.status.code(), Some(2), "no node has room");
    for part in ["error[not-ready]", "needs  per replica: 8 GPUs", "tried  1 node (node-0)", "try    shoal why"] {
        assert!(stderr(&unplaced).contains(part), "{part}: {}", stderr(&unplaced));
    }
    assert_eq!(code(node, &["status"], ""), Some(1), "which needs attention");
    let late = node.run(&["wait", "endpoint/hello", "--for", "deleted", "--timeout", "1s"], "");
    assert_eq!(late.status.code(), Some(124), "{}", stderr(&late));

    // Over TCP nobody is let in without the token.
    let node = &mut mesh.nodes[0];
    node.stop();
    let port = super::harness::free_tcp_port();
    let token = home.path().join("token");
    fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    node.configure("listen: null", &format!("listen: '127.0.0.1:{port}', tokenFile: {}", token.display()));
    node.start().await;
    let address = format!("127.0.0.1:{port}");
    assert_eq!(alone(home.path(), &["--addr", &address, "get", "nodes"]).0, Some(4), "no token");
    let token = token.display().to_string();
    assert_eq!(alone(home.path(), &["--addr", &address, "--admin-token-file", &token, "get", "nodes"]).0, Some(0));
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "64 ", "124 "] {
        assert!(help.contains(code), "{code} is explained: {help}");
    }

    // A context is the same with a name, and any node of it may be away.
    let gone = format!("127.0.0.1:{}", super::harness::free_tcp_port());
    let set = ["context", "set", "lab", "--address", &gone, "--address", &address, "--admin-token-file", &token];
    assert_eq!(alone(home.path(), &set).0, Some(0));
    let (code_of_context, nodes, why) = alone(home.path(), &["--context", "lab", "get", "nodes", "-o", "name"]);
    assert_eq!((code_of_context, nodes.as_str()), (Some(0), "node/node-0\n"), "{why}");
    assert_eq!(alone(home.path(), &["context", "use", "lab"]).0, Some(0));
    assert_eq!(alone(home.path(), &["get", "nodes", "-o", "name"]).1, "node/node-0\n");
    assert_eq!(alone(home.path(), &["--socket", &socket, "get", "nodes"]).0, Some(3), "a flag overrides it");
    assert!(alone(home.path(), &["context", "list"]).1.contains("*         lab"));
    assert_eq!(alone(home.path(), &["context", "delete", "lab"]).0, Some(0));
    assert_eq!(alone(home.path(), &["--context", "lab", "status"]).0, Some(5));
    assert_eq!(alone(home.path(), &["context", "list", "-o", "json"]).1.trim(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_exported_scaled_waited_for_and_told_in_every_format() {
    let mesh = Mesh::start(2).await;
    let node = &mesh.nodes[0];
    mesh.apply(0, "hello", 1).await;
    let labelled = endpoint("other", 1, "10ms").replace("metadata: {", "metadata: {labels: {team: search}, ");
    node.apply(&labelled);

    // Formats: one value behind all of them, tables on standard output, advice beside it.
    assert_eq!(node.run_ok(&["get", "nodes", "-o", "name"]), "node/node-0\nnode/node-1\n");
    assert_eq!(node.run_ok(&["get", "no", "-l", "cluster=burst", "-o", "name"]), "node/node-1\n");
    assert_eq!(node.run_ok(&["get", "ep", "-l", "team=search", "-o", "name"]), "endpoint/other\n");
    assert_eq!(node.run_ok(&["get", "endpoint/hello", "-o", "jsonpath={.status.ready}"]), "1");
    let template = "jsonpath={range .items[*]}{.name}{\"\\t\"}{.gpusFree}{\"\\n\"}{end}";
    let listed = node.run_ok(&["get", "nodes", "--sort-by", ".facts.name", "-o", template]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert_eq!(node.run_ok(&["describe", "endpoint/hello", "-o", "jsonpath={.metadata.name}"]), "hello");
    node.run_ok(&["wait", "endpoint/other"]);
    let table = node.run(&["get", "replicas"], "");
    assert!(stdout(&table).starts_with("NAME") && stdout(&table).contains("NEWS"), "{}", stdout(&table));
    assert_eq!(stderr(&table), "");
    assert!(node.run_ok(&["get", "events"]).contains("EndpointApplied"));
    assert_eq!(code(node, &["get", "events", "-l", "a=b"], ""), Some(64));
    let none = node.run(&["get", "keys"], "");
    assert_eq!((stdout(&none).as_str(), stderr(&none).as_str()), ("", "there is no key\n"));
    for text in [stdout(&table), node.run_ok(&["status"]), node.run_ok(&["describe", "node", "node-0"])] {
        assert!(!text.contains('\u{1b}'), "no colours where nobody looks: {text:?}");
    }

    // Scaling changes replicas and nothing else.
    let spec = || -> Value { serde_json::from_str(&node.run_ok(&["get", "endpoint/hello", "-o", "json"])).unwrap() };
    let before = spec();
    let scaled = node.run(&["scale", "endpoint/hello", "--replicas", "2", "--wait"], "");
    assert!(scaled.status.success(), "{}", stderr(&scaled));
    assert_eq!(stdout(&scaled), "ENDPOINT   RESULT\nhello      configured\n", "progress is not on standard output");
    assert!(stderr(&scaled).contains("hello"), "{}", stderr(&scaled));
    let after = spec();
    assert_eq!(after["spec"]["replicas"]["min"], 2);
    let without = |mut value: Value| {
        value["spec"]["replicas"] = Value::Null;
        (value["metadata"].clone(), value["spec"].clone())
    };
    assert_eq!(without(before), without(after));
    let refused = node.run(&["scale", "endpoint/hello", "--max", "1"], "");
    assert_eq!(refused.status.code(), Some(64), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("spec.replicas.max"), "{}", stderr(&refused));
    assert_eq!(code(node, &["scale", "endpoint/hello"], ""), Some(64));

    // What is exported can be applied: now, and where it is gone.
    assert_eq!(
        node.run_ok(&["wait", "endpoint", "hello", "other"]),
        "endpoint hello is ready\nendpoint other is ready\n"
    );
    let exported = node.run_ok(&["export", "--all"]);
    let unchanged: Value =
        serde_json::from_str(&stdout(&node.run(&["apply", "-f", "-", "-o", "json"], &exported))).unwrap();
    let outcomes: Vec<&Value> = list(&unchanged).map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["unchanged", "unchanged"], "{exported}");
    node.run_ok(&["delete", "endpoint", "hello", "other"]);
    node.run_ok(&["wait", "endpoint/hello", "endpoint/other", "--for=deleted"]);
    node.apply(&exported);
    assert_eq!(node.run_ok(&["export", "--all"]), exported);
    assert!(!node.run_ok(&["export", "endpoint/other"]).contains("hello"));

    // A node is waited for like an endpoint.
    assert_eq!(node.run_ok(&["wait", "node/node-1"]), "node node-1 is ready\n");
    node.run_ok(&["drain", "node/node-1"]);
    node.wait_for("the drain to be heard of", |status| !status["nodes"][1]["departure"].is_null()).await;
    assert_eq!(code(node, &["wait", "node/node-1", "--timeout", "1s"], ""), Some(124));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_changes_and_a_shell_completes_names() {
    let mesh = Mesh::start(1).await;
    let node = &mesh.nodes[0];
    mesh.apply(0, "hello", 1).await;
    let mut watch = tokio::process::Command::new(shoal());
    watch.args(["get", "endpoints", "--watch", "--socket"]).arg(node.socket()).stdout(std::process::Stdio::piped());
    let mut watch = watch.kill_on_drop(true).spawn().expect("the watch starts");
    let mut lines = {
        use tokio::io::{AsyncBufReadExt as _, BufReader};
        BufReader::new(watch.stdout.take().expect("its output")).lines()
    };
    let mut next = async || {
        let line = tokio::time::timeout(super::harness::PATIENCE, lines.next_line()).await.expect("a line in time");
        line.expect("the watch can be read").expect("the watch goes on")
    };
    assert!(next().await.starts_with("NAME"));
    assert!(next().await.contains("ready"));
    node.run_ok(&["delete", "endpoint", "hello"]);
    while !next().await.contains("gone") {}

    mesh.apply(0, "completed", 1).await;
    node.wait_for("the endpoint", |status| ready(status, "completed") == 1).await;
    let complete = |words: &[&str], socket: &Path| {
        let mut command = Command::new(shoal());
        command
            .env("SHOAL_COMPLETE", "bash")
            .env("_CLAP_IFS", "\n")
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
        command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true").env("SHOAL_SOCKET", socket);
        let output = command.arg("--").args(words).output().expect("the program runs");
        (stdout(&output), stderr(&output))
    };
    let socket = node.socket();
    assert!(complete(&["shoal", "des"], &socket).0.contains("describe"));
    assert!(complete(&["shoal", "get", "endp"], &socket).0.contains("endpoints"));
    assert!(complete(&["shoal", "get", "endpoint", "com"], &socket).0.contains("completed"));
    assert!(complete(&["shoal", "describe", "endpoint/"], &socket).0.contains("endpoint/completed"));
    assert!(complete(&["shoal", "explain", "endpoint.spec.rep"], &socket).0.contains("endpoint.spec.replicas"));
    assert!(complete(&["shoal", "drain", "no"], &socket).0.contains("node-0"));
    assert!(complete(&["shoal", "rollout", "status", ""], &socket).0.contains("completed"));
    assert_eq!(complete(&["shoal", "drain", "no"], Path::new("/nonexistent")), (String::new(), String::new()));
    for shell in ["bash", "zsh", "fish"] {
        assert!(node.run_ok(&["completion", shell]).contains("SHOAL_COMPLETE"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_looks_at_every_way_and_a_report_holds_what_a_helper_needs_and_no_secret() {
    let mut mesh = Mesh::start(2).await;
    mesh.apply(0, "hello", 1).await;
    let (node, config) = (&mesh.nodes[0], mesh.nodes[0].config().display().to_string());
    let found = node.run(&["doctor", "--config", &config, "-o", "json"], "");
    assert_eq!(found.status.code(), Some(0), "{}{}", stdout(&found), stderr(&found));
    let found: Value = serde_json::from_str(&stdout(&found)).unwrap();
    let ok = |check: &str| list(&found).any(|finding| finding["check"] == check && finding["level"] == "ok");
    for check in ["engine", "certificate", "daemon", "path", "mtu"] {
        assert!(ok(check), "{check}: {found:#}");
    }
    for finding in list(&found) {
        assert_eq!(finding["try"].is_string(), finding["level"] != "ok", "one thing to do: {finding}");
    }
    assert_eq!(code(node, &["doctor", "--peer", "nobody"], ""), Some(5));
    for (page, word) in [("nodes", "node-1"), ("endpoints", "hello"), ("requests", "AGE")] {
        let table = node.run_ok(&["top", page]);
        assert!(table.contains(word) && !table.contains('\u{1b}'), "{table}");
    }

    // A report: for its owner, never over another file, without addresses where that is asked for.
    let key = node.run_ok(&["key", "create", "team"]);
    let secret = key.trim().rsplit('-').next().unwrap().to_owned();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("report.tar.gz");
    let path = file.display().to_string();
    let written = node.run(&["bugreport", &path, "--redact", "--config", &config], "");
    assert!(written.status.success(), "{}", stderr(&written));
    assert!(stdout(&written).starts_with(&path) && stderr(&written).contains("Never in it: prompts"));
    assert_eq!(code(node, &["bugreport", &path], ""), Some(1), "it is there");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut unpack = Command::new("tar");
    assert!(unpack.arg("xzf").arg(&file).arg("-C").arg(home.path()).status().unwrap().success());
    let read = |name: &str| fs::read_to_string(home.path().join("shoal-bugreport").join(name)).unwrap_or_default();
    for part in
        ["README.txt", "versions.json", "config.json", "status.json", "paths.json", "metrics.txt", "why/hello.json"]
    {
        assert!(!read(part).is_empty() && !read(part).contains(&secret), "{part}");
    }
    let unredacted: Value = serde_json::from_str(&read("status.json")).unwrap();
    assert_eq!(list(&unredacted["nodes"]).count(), 2);

    mesh.nodes[1].kill();
    let lost = mesh.nodes[0].run(&["doctor", "--peer", "node-1"], "");
    assert_eq!(lost.status.code(), Some(1), "{}", stdout(&lost));
    assert!(stdout(&lost).contains("FAIL") && stdout(&lost).contains("try"), "{}", stdout(&lost));
}
