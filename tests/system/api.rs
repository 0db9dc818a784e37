//! What clients reach a node by, and by which names: TLS, HTTP/2, adapters.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::harness::{Mesh, Node, eventually, find, ready, request, stderr};

/// A certificate for `localhost` and its key, in files of this directory.
fn renew(directory: &Path) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
}

/// The status by which curl got this page, and over which version of HTTP, trusting the certificate in this file alone;
/// `None` if it did not get one.
async fn curl(version: &str, trusted: &Path, node: &Node) -> Option<String> {
    let port = node.http().rsplit_once(':').unwrap().1.to_owned();
    let mut command = Command::new("curl");
    command.args([version, "--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{http_version}"]);
    command.arg("--cacert").arg(trusted).arg(format!("https://localhost:{port}/v1/models"));
    command.args(["--noproxy", "*", "--ipv4", "--max-time", "20"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_http_2_over_tls_and_a_new_certificate_without_a_restart() {
    let mut mesh = Mesh::start(1).await;
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    renew(directory.path());
    let node = &mut mesh.nodes[0];
    node.stop();
    let listen = format!("ingress: {{listen: '{}'", node.http());
    node.configure(&listen, &format!("{listen}, tls: {{cert: {}, key: {}}}", cert.display(), key.display()));
    node.start().await;
    let trusted = directory.path().join("trusted.pem");
    fs::copy(&cert, &trusted).unwrap();
    assert_eq!(curl("--http2", &trusted, node).await.as_deref(), Some("200 2"), "{}", node.log());
    assert_eq!(curl("--http1.1", &trusted, node).await.as_deref(), Some("200 1.1"));
    renew(directory.path());
    fs::copy(&cert, &trusted).unwrap();
    eventually("the new certificate to be shown", async || curl("--http2", &trusted, node).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_10_an_adapter_is_asked_by_its_name_at_any_node_and_answers_as_itself() {
    let mesh = Mesh::start(2).await;
    let spec = "{model: test/tuned, adapters: {sql: org/sql}, engine: {kind: sim, timeToFirstToken: 0s, \
                interTokenLatency: 0s}, resources: {gpus: 1}}";
    let yaml =
        |spec: &str| format!("{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: tuned}}, spec: {spec}}}");
    mesh.nodes[0].apply(&yaml(spec));
    for node in &mesh.nodes {
        node.wait_for("the replica to be heard of", |status| ready(status, "tuned") == 1).await;
    }
    for node in &mesh.nodes {
        let mut texts = Vec::new();
        for (path, at) in [("/v1/responses", "/output/0/content/0/text"), ("/v1/messages", "/content/0/text")] {
            for model in ["sql", "tuned"] {
                let body = format!(
                    r#"{{"model": "{model}", "max_tokens": 9, "max_output_tokens": 9, "input": "Hello",
                    "messages": [{{"role": "user", "content": "Hello"}}]}}"#
                );
                let answer = request(&node.http(), "POST", path, body).await.unwrap().json().await;
                texts.push(answer.pointer(at).and_then(Value::as_str).unwrap_or_else(|| panic!("{answer}")).to_owned());
            }
        }
        assert_eq!((&texts[0], &texts[1]), (&texts[2], &texts[3]), "both APIs say the same");
        assert_ne!(texts[0], texts[1]);
        let listed = request(&node.http(), "GET", "/v1/models/sql", String::new()).await.unwrap().json().await;
        assert_eq!(listed["parent"], "test/tuned");
    }
    // Another adapter needs other processes.
    let revision = |status: &Value| find(status, "tuned").map(|endpoint| endpoint["status"]["revision"].clone());
    let before = revision(&mesh.nodes[0].status());
    mesh.nodes[0].apply(&yaml(&spec.replace("org/sql", "org/sql-2")));
    assert_ne!(revision(&mesh.nodes[0].status()), before);
    let other = "{model: test/tuned, adapters: {sql: org/sql}, engine: {kind: sglang}}";
    let refused = mesh.nodes[0].run(&["apply", "-f", "-"], &yaml(other));
    assert!(!refused.status.success() && stderr(&refused).contains("spec.adapters"), "{}", stderr(&refused));
}
