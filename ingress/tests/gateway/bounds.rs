//! What is refused, and how it is told. Rules 9 and 10.

use http::Request;
use http_body_util::Full;
use shoal_ingress::{IngressConfig, Limits, Timeouts};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::support::{CHAT, Engine, Node, REQUEST, local, node_id, raw, remote, soon};

fn with_limits(limits: Limits) -> IngressConfig {
    IngressConfig { limits, ..IngressConfig::default() }
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413() {
    let engine = Engine::start();
    let config = with_limits(Limits { body: 1000, ..Limits::default() });
    let node = Node::start_with(config, [local(1, engine.address(), 0)]).await;
    let mut announced = node.client().await.post(CHAT, " ".repeat(1001)).await;
    assert_eq!(announced.status, 413);
    assert_eq!(announced.error().await.0, "request_too_large");
    let chunk = format!("3e8\r\n{}\r\n", " ".repeat(1000));
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let chunked = raw(node.address, format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes()).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    assert_eq!(engine.connections(), 0);
}

#[tokio::test]
async fn all_bodies_together_are_bounded() {
    let mut engine = Engine::start();
    let config = with_limits(Limits { body: REQUEST.len() + 10, bodies: 0, ..Limits::default() });
    let node = Node::start_with(config, [local(1, engine.address(), 0)]).await;
    let (mut first, mut second) = (node.client().await, node.client().await);
    let overlap = async {
        let call = engine.call().await;
        let mut refused = second.chat().await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
        assert_eq!(refused.error().await.0, "overloaded");
        call.answer(200, "application/json", "{}");
    };
    let (answer, ()) = tokio::join!(first.chat(), overlap);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408_and_one_that_breaks_off_holds_nothing() {
    let timeouts = Timeouts { body: Duration::from_millis(50), ..Timeouts::default() };
    let node = Node::start_with(IngressConfig { timeouts, ..IngressConfig::default() }, []).await;
    let answer =
        raw(node.address, format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{{").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let timeouts = Timeouts { head: Duration::from_millis(50), ..Timeouts::default() };
    let node = Node::start_with(IngressConfig { timeouts, ..IngressConfig::default() }, []).await;
    raw(node.address, b"").await;
    raw(node.address, b"GET /livez HTTP/1.1\r\nhost:").await;
}

/// What is waited for, or being taken, is no idle connection, and one on which there was something is one when that has ended.
#[tokio::test]
async fn a_connection_is_idle_only_between_requests() {
    let timeouts = Timeouts { head: Duration::from_millis(100), ..Timeouts::default() };
    let mut engine = Engine::start();
    let config = IngressConfig { timeouts, ..IngressConfig::default() };
    let node = Node::start_with(config, [local(1, engine.address(), 0)]).await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let body = r#"{"model":"llama"}"#;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let call = engine.call().await;
    tokio::time::sleep(3 * Duration::from_millis(100)).await;
    call.answer(200, "application/json", "an answer");
    let mut answer = Vec::new();
    let _ = soon("the connection to end", stream.read_to_end(&mut answer)).await;
    assert!(answer.ends_with(b"an answer"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_head_over_the_limit_is_a_431() {
    let node = Node::start_with(with_limits(Limits { head: 1000, ..Limits::default() }), []).await;
    let answer = raw(node.address, format!("GET /livez HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(1000)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let node = Node::start_with(with_limits(Limits { connections: 1, ..Limits::default() }), []).await;
    let mut first = node.client().await;
    assert_eq!(first.get("/livez").await.status, 200);
    let mut second = node.client().await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), second.get("/livez")).await;
    assert!(waiting.is_err(), "served over the limit");
    drop(first);
    let mut third = node.client().await;
    drop(second);
    assert_eq!(third.get("/livez").await.status, 200);
}

#[tokio::test]
async fn requests_of_other_nodes_over_the_limit_go_elsewhere() {
    let (engine, mut good) = (Engine::start(), Engine::start());
    let node = Node::start([remote(2, 0), local(9, good.address(), 100)]).await;
    node.peer_with(2, with_limits(Limits { tunnels: 0, ..Limits::default() }), [local(2, engine.address(), 0)]);
    let mut client = node.client().await;
    let respond = async { good.call().await.answer(200, "application/json", "{}") };
    assert_eq!(tokio::join!(client.chat(), respond).0.status, 200);
    assert_eq!(engine.connections(), 0);
}

/// Rule 10: the model never changes silently.
#[tokio::test]
async fn rule_10_an_unknown_model_is_a_404_that_names_the_nearest() {
    let engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let mut answer = client.post(CHAT, r#"{"model":"lama"}"#).await;
    assert_eq!(answer.status, 404);
    let (code, message) = answer.error().await;
    assert_eq!((code.as_str(), message.contains("`llama`")), ("model_not_found", true), "{message}");
    assert_eq!(engine.connections(), 0);
}

#[tokio::test]
async fn an_endpoint_without_a_ready_replica_is_a_503() {
    let node = Node::start([]).await;
    let mut answer = node.client().await.chat().await;
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-reason")), (503, "no-ready-replica"));
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    assert_eq!(answer.header("x-shoal-node"), node_id(1).to_string());
    assert_eq!(answer.header("x-request-id").len(), 32);
    assert_eq!(answer.error().await.0, "no_ready_replica");
}

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let node = Node::start([]).await;
    let mut client = node.client().await;
    for (body, status, code) in
        [("[]", 400, "invalid_body"), ("{\"model\":", 400, "invalid_body"), ("{}", 400, "invalid_body")]
    {
        let mut answer = client.post(CHAT, body).await;
        assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (status, code), "{body}");
    }
    for (method, path) in [("GET", "/metrics"), ("POST", "/sleep"), ("GET", "/v1/responses/resp_1")] {
        let request = Request::builder().method(method).uri(path).body(Full::default()).unwrap();
        let mut answer = client.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (404, "route_not_found"), "{path}");
    }
}

#[tokio::test]
async fn models_are_listed_and_found_under_all_their_names() {
    let node = Node::start([]).await;
    let mut client = node.client().await;
    let (list, _) = client.get("/v1/models").await.rest().await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!((list["data"][0]["id"].as_str(), list["data"][1]["id"].as_str()), (Some("llama"), Some("meta/Llama-3")));
    for path in ["/v1/models/llama", "/v1/models/meta/Llama-3", "/v1/models/meta%2FLlama-3"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    let mut unknown = client.get("/v1/models/lama").await;
    assert_eq!((unknown.status.as_u16(), unknown.error().await.0.as_str()), (404, "model_not_found"));
}

/// Rule 10: a node that has not heard of all endpoints yet does not say that a model does not exist.
#[tokio::test]
async fn rule_10_a_node_that_may_not_know_all_models_asks_to_be_asked_again() {
    let node = Node::start([]).await;
    node.ingress.set_routes(shoal_ingress::RoutingTable::new([]).incomplete());
    let mut client = node.client().await;
    let mut answer = client.post(CHAT, r#"{"model":"lama"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (503, "not_known_yet"));
}
