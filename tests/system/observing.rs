//! What a mesh tells of single requests.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::harness::{Mesh, chat, eventually, free_tcp_port, ready, stderr};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A collector of traces: takes what is posted and keeps the spans.
async fn collect(listener: TcpListener, spans: tokio::sync::watch::Sender<Vec<Value>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(take(stream, spans.clone()));
    }
}

async fn take(mut stream: TcpStream, spans: tokio::sync::watch::Sender<Vec<Value>>) {
    let (mut read, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length.is_none_or(|length: usize| body.len() < length) {
            continue;
        }
        let body: Value = serde_json::from_str(body).expect("a batch of spans");
        let source = &body["resourceSpans"][0];
        let host = source["resource"]["attributes"].as_array().expect("attributes");
        let host = host.iter().find(|one| one["key"] == "host.name").expect("a host")["value"]["stringValue"].clone();
        let batch = source["scopeSpans"][0]["spans"].as_array().expect("spans").clone();
        spans.send_modify(|all| all.extend(batch.into_iter().map(|span| json!({"host": host, "span": span}))));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.expect("an answer");
        read.clear();
    }
}

async fn raw(address: &str, request: String) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_explained_by_any_node_logged_measured_and_traced() {
    let mut mesh = Mesh::start(2).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = listener.local_addr().unwrap();
    let (sender, mut spans) = tokio::sync::watch::channel(Vec::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(collect(listener, sender));

    let metrics = format!("127.0.0.1:{}", free_tcp_port());
    let log = std::path::PathBuf::from(mesh.nodes[0].state_dir()).join("access.log");
    for node in &mut mesh.nodes {
        node.terminate();
    }
    for (index, node) in mesh.nodes.iter_mut().enumerate() {
        node.configure("engines:", &format!("telemetry: {{otlp: {{endpoint: 'http://{collector}'}}}}\nengines:"));
        if index == 0 {
            node.configure("listen: null", &format!("listen: '{metrics}'"));
            let listen = format!("listen: '{}'", node.http());
            node.configure(&listen, &format!("{listen}, accessLog: {{file: {}}}", log.display()));
        }
        node.start().await;
    }
    mesh.apply(0, "hello", 1).await;
    for node in &mesh.nodes {
        node.wait_for("the replica to be heard of", |status| ready(status, "hello") == 1).await;
    }

    let body = r#"{"model":"hello","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}"#;
    // Through either node: one of both is not the one that has the replica.
    for (index, node) in mesh.nodes.iter().enumerate() {
        let http = node.http();
        let answer = raw(
            &http,
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: question-{index}\r\n\
             traceparent: 00-{TRACE}-b7ad6b716920333{index}-01\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        let answer = answer.await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("[DONE]"), "{answer}");
        assert!(answer.to_lowercase().contains(&format!("x-request-id: question-{index}")), "{answer}");
    }

    // Asked of the other node than the one that took it.
    let why = mesh.nodes[1].run_ok(&["why", "request", "question-0"]);
    for part in
        ["Request question-0 came to node-0", "Endpoint hello", "chose hello-", "all of the answer was passed on, 200"]
    {
        assert!(why.contains(part), "{part}\n{why}");
    }
    let json: Value =
        serde_json::from_str(&mesh.nodes[1].run_ok(&["why", "request", "question-0", "-o", "json"])).unwrap();
    assert_eq!(json["requests"][0]["tokens"]["output"], 5, "{json:#}");
    let unknown = mesh.nodes[1].run(&["why", "request", "no-such"], "");
    assert_eq!(unknown.status.code(), Some(5));
    assert!(stderr(&unknown).contains("4,096"), "{}", stderr(&unknown));

    let line: Value = eventually("a line in the access log", || async {
        let text = fs::read_to_string(&log).ok()?;
        text.lines().find(|line| line.contains("question-0")).map(|line| serde_json::from_str(line).expect("JSON"))
    })
    .await;
    assert_eq!(
        (&line["endpoint"], &line["status"], &line["outputTokens"]),
        (&json!("hello"), &json!(200), &json!(5)),
        "{line:#}"
    );
    assert_eq!(line["traceId"], TRACE);

    let shown = raw(&metrics, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned()).await;
    for series in [
        r#"gen_ai_server_time_to_first_token_seconds_count{endpoint="hello",gen_ai_operation_name="chat"} 1"#,
        r#"gen_ai_server_request_duration_seconds_count{endpoint="hello",gen_ai_operation_name="chat"} 1"#,
        r#"shoal_ingress_tokens_total{endpoint="hello",type="output"} 5"#,
        "shoal_ingress_choice_seconds_count",
        "shoal_access_log_dropped_total 0",
    ] {
        assert!(shown.contains(series), "{series}\n{shown}");
    }

    // Two requests, two attempts, and one far end.
    let all = tokio::time::timeout(Duration::from_secs(20), spans.wait_for(|spans| spans.len() >= 5)).await;
    let all = all.expect("spans in time").expect("a collector").clone();
    assert!(all.iter().all(|one| one["span"]["traceId"] == TRACE), "{all:#?}");
    let hop = all.iter().find(|one| one["span"]["name"] == "tunnel").expect("the far end");
    let attempt = all.iter().find(|one| one["span"]["spanId"] == hop["span"]["parentSpanId"]).expect("its attempt");
    let server = all.iter().find(|one| one["span"]["spanId"] == attempt["span"]["parentSpanId"]).expect("its request");
    assert_eq!(server["host"], attempt["host"]);
    assert_ne!(hop["host"], attempt["host"], "the far end is on the other node: {all:#?}");

    // Turned over as logrotate does it.
    fs::rename(&log, log.with_extension("log-1")).expect("the log can be moved");
    mesh.nodes[0].hang_up();
    eventually("the signal to be heard", || async { mesh.nodes[0].log().contains("SIGHUP").then_some(()) }).await;
    let answer = chat(&mesh.nodes[0].http(), "hello", "x", 1).await.expect("an answer");
    assert_eq!(answer.status, 200);
    eventually("a line in the new file", || async { fs::metadata(&log).ok().filter(|file| file.len() > 0) }).await;
}
