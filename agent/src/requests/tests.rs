use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use shoal_ingress::TraceContext;
use shoal_types::{Hlc, MemorySize, Revision};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{sleep, timeout},
};

use super::*;
use crate::config::{AccessLogConfig, OtlpConfig};

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// A request that was tried at two replicas.
fn record(id: &str, trace: Option<&TraceContext>) -> Arc<RequestRecord> {
    let time = UnixMillis::from_millis(1);
    let replica = |number: u8| {
        let claim = shoal_types::ClaimId { node: node(number), generation: time, counter: 1 };
        json!({"claim": claim, "revision": Revision(Hlc { time, counter: 0, node: node(1) }), "weight": 100,
               "local": false, "suspect": false, "tried": false, "own": 0, "load": 1})
    };
    let record = json!({
        "id": id, "arrived": 1_700_000_000_000_u64, "client": "10.0.0.9", "path": "/v1/chat/completions",
        "operation": "chat", "endpoint": "llama", "model": null, "stream": true, "status": 200, "outcome": "finished",
        "error": null, "queuedUs": 1_500, "firstByteUs": 30_000, "tookUs": 500_000,
        "tokens": {"input": 11, "output": 2, "cached": 8, "exact": true}, "received": 100, "sent": 900,
        "decisions": [
            {"afterUs": 10, "tookUs": 3, "considered": [replica(2), replica(3)], "chosen": 0, "endedUs": 900,
             "failed": {"reason": "engine", "error": "it broke"}, "span": "00000000000000a1"},
            {"afterUs": 910, "tookUs": 4, "considered": [replica(2), replica(3)], "chosen": 1, "endedUs": 30_000,
             "span": "00000000000000a2"},
        ],
        "trace": trace,
    });
    Arc::new(serde_json::from_value(record).unwrap())
}

fn config(log: Option<&Path>, otlp: Option<String>) -> Config {
    let mut config = Config::default();
    config.ingress.access_log = log.map(|file| AccessLogConfig { file: Some(file.to_owned()), ..Default::default() });
    config.telemetry.otlp = otlp.map(|endpoint| OtlpConfig { endpoint, sample_ratio: 0.5 });
    config
}

/// Tells `records`, and stops.
async fn tell(config: &Config, records: &[Arc<RequestRecord>]) -> (u64, u64) {
    let requests = Requests::new(config, node(1), History::default()).unwrap();
    let (observer, counts) =
        (requests.telling().observer, (requests.log_dropped.clone(), requests.spans_dropped.clone()));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    requests.start(&tasks, watch::Sender::default().subscribe(), &stop);
    let observer = observer.unwrap();
    records.iter().for_each(|record| observer.request(record));
    stop.cancel();
    tasks.close();
    timeout(Duration::from_secs(20), tasks.wait()).await.unwrap();
    (counts.0.get(), counts.1.get())
}

#[tokio::test]
async fn each_request_is_a_line_and_none_is_lost_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let records: Vec<_> = (0..1_000).map(|number| record(&number.to_string(), None)).collect();
    assert_eq!(tell(&config(Some(&file), None), &records).await, (0, 0));
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1_000);
    assert_eq!(
        lines[7],
        json!({
            "time": "2023-11-14T22:13:20.000Z", "requestId": "7", "client": "10.0.0.9", "ingress": node(1), "method": "POST",
            "path": "/v1/chat/completions", "operation": "chat", "endpoint": "llama", "model": "llama", "stream": true,
            "status": 200, "outcome": "finished", "node": node(3), "replica": lines[7]["replica"], "attempts": 2,
            "resumes": 0,
            "failed": ["engine"], "queueMs": 1.5, "chooseUs": 7, "firstByteMs": 30.0, "durationMs": 500.0,
            "inputTokens": 11, "outputTokens": 2, "cachedTokens": 8, "tokensExact": true, "receivedBytes": 100,
            "sentBytes": 900,
        })
    );
    assert!(lines[7]["replica"].as_str().unwrap().starts_with("llama-"));
}

/// Rule 9: everything is bounded.
#[tokio::test]
async fn the_log_stays_within_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let mut config = config(Some(&file), None);
    let max_size = MemorySize::from_bytes(200_000);
    config.ingress.access_log = Some(AccessLogConfig { file: Some(file.clone()), max_size });
    let records: Vec<_> = (0..2_000).map(|number| record(&number.to_string(), None)).collect();
    tell(&config, &records).await;
    let sizes: Vec<u64> =
        std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 2, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 200_000), "{sizes:?}");
    assert!(std::fs::read_to_string(file).unwrap().contains(r#""requestId":"1999""#));
}

/// As whoever turns log files over does: move it away, then say so.
#[tokio::test]
async fn a_file_that_was_moved_away_is_let_go_when_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (file, aside) = (dir.path().join("access.log"), dir.path().join("access.log-20261130"));
    let requests = Requests::new(&config(Some(&file), None), node(1), History::default()).unwrap();
    let observer = requests.telling().observer.unwrap();
    let (tasks, stop, moved) = (TaskTracker::new(), CancellationToken::new(), watch::Sender::default());
    requests.start(&tasks, moved.subscribe(), &stop);
    let written = async |id: &str, file: &Path| {
        observer.request(&record(id, None));
        let line = format!("\"requestId\":\"{id}\"");
        let is_there = async || {
            while !std::fs::read_to_string(file).is_ok_and(|text| text.contains(&line)) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), is_there()).await.unwrap();
    };
    written("before", &file).await;
    std::fs::rename(&file, &aside).unwrap();
    written("between", &aside).await;
    moved.send_replace(());
    written("after", &file).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    assert_eq!(std::fs::read_to_string(&aside).unwrap().lines().count(), 2);
    stop.cancel();
    tasks.close();
    timeout(Duration::from_secs(20), tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else() {
    let records: Vec<_> = (0..10).map(|number| record(&number.to_string(), None)).collect();
    assert_eq!(tell(&config(Some(Path::new("/dev/full")), None), &records).await, (10, 0));
}

/// Rule 9: everything is bounded.
#[tokio::test]
async fn what_finds_the_queue_full_is_counted() {
    let (queue, _kept) = mpsc::channel(1);
    let feed = Feed { queue, dropped: Counter::default() };
    (0..3).for_each(|number| feed.add(number));
    assert_eq!(feed.dropped.get(), 2);
}

/// The body of the first POST to `listener`, which is answered with 200.
async fn collected(listener: &TcpListener) -> (String, Value) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut read, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length.is_some_and(|length: usize| body.len() >= length) {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            return (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap());
        }
    }
}

fn trace() -> TraceContext {
    serde_json::from_value(json!({
        "trace": "0af7651916cd43dd8448eb211c80319c", "span": "00000000000000a0", "parent": "b7ad6b7169203331",
    }))
    .unwrap()
}

#[tokio::test]
async fn a_request_is_a_span_and_each_attempt_one_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(None, Some(format!("http://{}/", listener.local_addr().unwrap())));
    let records = [record("one", Some(&trace())), record("two", None)];
    let (told, (line, body)) = tokio::join!(tell(&config, &records), collected(&listener));
    assert_eq!((told, line.as_str()), ((0, 0), "POST /v1/traces HTTP/1.1"));
    let resource = &body["resourceSpans"][0];
    assert_eq!(
        resource["resource"]["attributes"][0],
        json!({"key": "service.name", "value": {"stringValue": "shoal"}})
    );
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let [server, failed, answered] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!((&server["name"], &server["kind"], &server["status"]), (&json!("chat llama"), &json!(2), &Value::Null));
    assert_eq!((&server["spanId"], &server["parentSpanId"]), (&json!("00000000000000a0"), &json!("b7ad6b7169203331")));
    assert_eq!(server["startTimeUnixNano"], "1700000000000000000");
    assert_eq!(server["endTimeUnixNano"], "1700000000500000000");
    let tokens = json!({"key": "gen_ai.usage.output_tokens", "value": {"intValue": "2"}});
    assert!(server["attributes"].as_array().unwrap().contains(&tokens));
    for (span, id) in [(failed, "00000000000000a1"), (answered, "00000000000000a2")] {
        assert_eq!((&span["spanId"], &span["parentSpanId"]), (&json!(id), &json!("00000000000000a0")));
        assert_eq!((&span["kind"], &span["traceId"]), (&json!(3), &json!("0af7651916cd43dd8448eb211c80319c")));
    }
    assert_eq!(failed["status"], json!({"code": 2, "message": "it broke"}));
    assert_eq!(answered["status"], Value::Null);
}

#[tokio::test]
async fn spans_that_nobody_takes_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(None, Some(format!("http://{}", listener.local_addr().unwrap())));
    drop(listener);
    assert_eq!(tell(&config, &[record("one", Some(&trace()))]).await, (0, 1));
}
