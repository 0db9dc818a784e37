//! The official OpenAI client for Python against a node that holds no replica.

use std::{io::Write as _, process::Command};

use super::harness::{Mesh, ready};

/// Interpreter with the `openai` package; `.ci/run` makes one.
fn python() -> Option<String> {
    let python = std::env::var("SHOAL_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_openai = Command::new(&python).args(["-c", "import openai"]).output().is_ok_and(|run| run.status.success());
    has_openai.then_some(python)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_works_against_a_node_without_a_replica() {
    let Some(python) = python() else {
        // Not `println!`, which the test runner swallows when a test passes.
        let why = "no Python with the `openai` package: pip install openai, or name one in SHOAL_TEST_PYTHON";
        writeln!(std::io::stderr(), "SKIPPED openai: {why}").expect("stderr can be written");
        return;
    };
    let mesh = Mesh::start(2).await;
    mesh.apply(0, "hello", 1).await;
    let (_, other) = mesh.serving_and_not("hello").await;
    mesh.nodes[other].wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/openai_client.py");
    let url = mesh.nodes[other].url();
    let run = tokio::task::spawn_blocking(move || Command::new(python).args([script, &url, "hello"]).output());
    let output = run.await.unwrap().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}
