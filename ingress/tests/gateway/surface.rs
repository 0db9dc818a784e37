//! Which paths there are, and that what is sent to them arrives as it was.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use shoal_ingress::RoutingTable;

use super::support::{
    CHAT, Client, Engine, Node, SSE, error_of, local, raw, remote, revision, route, route_revision, soon,
};

const PATHS: [&str; 17] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/rerank",
    "/v2/rerank",
    "/rerank",
    "/v1/score",
    "/score",
    "/classify",
    "/pooling",
    "/tokenize",
    "/detokenize",
    "/v1/audio/speech",
];
/// Fields that nothing here knows, in a spelling that no writer of JSON has.
const ODD: &str =
    "\n{ \"\\u0078\" : [1e999, -0, {\"model\":7}],\t\"model\":\"llama\" ,\"caché\":\"\\ud83d\", \"x\":1, \"x\":2}  ";
const FORM: &str = "multipart/form-data; boundary=\"b\"";

fn form(model: &str) -> String {
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav";
    format!(
        "--b\r\n{file}\r\n\r\nRIFF\0\r\n--\r\n\r\n--b\r\ncontent-disposition: form-data; name=model\r\n\r\n{model}\r\n--b--\r\n"
    )
}

fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(body.into())).unwrap()
}

/// What `engine` gets of `request`: where, with which headers, and what.
async fn arrives(
    client: &mut Client,
    engine: &mut Engine,
    request: Request<Full<Bytes>>,
) -> (String, HeaderMap, Bytes) {
    let answer = async {
        let call = engine.call().await;
        let (parts, body) = (call.request.uri().to_string(), call.request.body().clone());
        let headers = call.request.headers().clone();
        call.answer(200, "application/json", "{}");
        (parts, headers, body)
    };
    let (answer, arrived) = tokio::join!(client.send(request), answer);
    assert_eq!(answer.status, 200);
    arrived
}

#[tokio::test]
async fn every_path_is_forwarded_with_its_body_as_it_was() {
    let mut engine = Engine::start();
    let near = Node::start([local(1, engine.address(), 0)]).await;
    let far = Node::start([remote(2, 0)]).await;
    far.peer(2, [local(2, engine.address(), 0)]);
    for node in [&near, &far] {
        let mut client = node.client().await;
        for path in PATHS {
            let (target, _, body) = arrives(&mut client, &mut engine, post(&format!("{path}?a=%20"), &[], ODD)).await;
            assert_eq!((target, body.as_ref()), (format!("{path}?a=%20"), ODD.as_bytes()));
        }
        for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
            let request = post(path, &[("content-type", FORM)], form("meta/Llama-3"));
            let (target, headers, body) = arrives(&mut client, &mut engine, request).await;
            assert_eq!((target.as_str(), body), (path, form("meta/Llama-3").into()));
            assert_eq!(headers["content-type"], FORM);
        }
    }
}

#[tokio::test]
async fn traces_and_ids_go_through_and_credentials_do_not() {
    let mut engine = Engine::start();
    let near = Node::start([local(1, engine.address(), 0)]).await;
    let far = Node::start([remote(2, 0)]).await;
    far.peer(2, [local(2, engine.address(), 0)]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for node in [&near, &far] {
        let sent = [
            ("traceparent", trace),
            ("tracestate", "a=1,b=2"),
            ("x-request-id", "mine-1"),
            ("anthropic-version", "2023-06-01"),
            ("x-api-key", "secret"),
        ];
        let request = post("/v1/messages", &sent, r#"{"model":"llama"}"#);
        let (_, headers, _) = arrives(&mut node.client().await, &mut engine, request).await;
        for (name, value) in &sent[..4] {
            assert_eq!(headers[*name], value);
        }
        assert!(!headers.contains_key("x-api-key"));
    }
}

#[tokio::test]
async fn a_form_without_a_known_model_is_told_so() {
    let node = Node::start([]).await;
    let mut client = node.client().await;
    for (content_type, body, status, code) in [
        (FORM, form("lama"), 404, "model_not_found"),
        (FORM, form("llama").replace("name=model", "name=x"), 400, "invalid_body"),
        ("application/json", form("llama"), 400, "invalid_body"),
        (FORM, form("llama")[..40].to_owned(), 400, "invalid_body"),
    ] {
        let request = post("/v1/audio/transcriptions", &[("content-type", content_type)], body);
        let mut answer = client.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (status, code));
    }
}

#[tokio::test]
async fn what_an_engine_has_not_is_its_own_answer_with_a_reason() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    for (status, reason) in [(404, "engine-refused"), (405, "engine-refused"), (501, "engine-refused"), (400, "")] {
        let answer = async { engine.call().await.answer(status, "application/json", r#"{"detail":"Not Found"}"#) };
        let (mut answer, ()) = tokio::join!(client.post("/v1/responses", r#"{"model":"llama"}"#), answer);
        assert_eq!((answer.status.as_u16(), answer.header("x-shoal-reason")), (status, reason));
        assert_eq!(answer.rest().await.0, r#"{"detail":"Not Found"}"#);
    }
}

#[tokio::test]
async fn clients_of_anthropics_api_are_told_in_its_shape() {
    let node = Node::start([]).await;
    let mut client = node.client().await;
    for (body, status, kind) in [
        ("{}", 400, "invalid_request_error"),
        (r#"{"model":"lama"}"#, 404, "not_found_error"),
        (r#"{"model":"llama"}"#, 503, "overloaded_error"),
    ] {
        let mut answer = client.post("/v1/messages", body).await;
        assert_eq!(answer.status, status);
        let error: serde_json::Value = serde_json::from_str(&answer.rest().await.0).unwrap();
        assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &kind.into()));
        assert_eq!(error["request_id"], answer.header("x-request-id"));
        let reason = if status == 503 { "no-ready-replica" } else { "" };
        assert_eq!(answer.header("x-shoal-reason"), reason);
    }
}

/// Streams of these APIs are named events, and end without `[DONE]`.
#[tokio::test]
async fn named_events_pass_as_they_are() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let responses = [
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null},\"sequence_number\":0}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n",
    ];
    let messages = [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ];
    for (path, events) in [("/v1/responses", responses.as_slice()), ("/v1/messages", &messages)] {
        let answer = async {
            let reply = engine.call().await.begin(200, SSE);
            for event in events {
                reply.send(*event).await;
            }
        };
        let request = client.post(path, r#"{"model":"llama","stream":true}"#);
        let all = async { request.await.rest().await };
        assert_eq!(tokio::join!(all, answer).0, (events.concat(), true));
    }
}

#[tokio::test]
async fn a_stream_that_is_lost_ends_in_the_shape_of_its_api() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let begun = "event: message_start\ndata: {}\n\n";
    let die = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send(begun).await;
        reply.die().await;
    };
    let all = async { client.post("/v1/messages", r#"{"model":"llama","stream":true}"#).await.rest().await };
    let ((text, whole), ()) = tokio::join!(all, die);
    let last = text.strip_prefix(begun).unwrap().strip_prefix("event: error\n").unwrap();
    assert_eq!((error_of(last)["type"].as_str(), whole), (Some("api_error"), false));
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let node = Node::start([]).await;
    let mut client = node.client().await;
    for (method, path, allowed) in [
        ("GET", CHAT, "POST"),
        ("OPTIONS", "/v1/messages", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("PUT", "/livez", "GET, HEAD"),
    ] {
        let answer = client.send(Request::builder().method(method).uri(path).body(Full::default()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allowed), "{method} {path}");
    }
    let length = client.get("/v1/models").await.rest().await.0.len();
    for (path, status) in [("/v1/models", 200), ("/livez", 200), ("/v1/models/lama", 404), (CHAT, 405)] {
        let mut answer = client.send(Request::head(path).body(Full::default()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.rest().await), (status, (String::new(), true)), "{path}");
        if path == "/v1/models" {
            assert_eq!(answer.header("content-length"), length.to_string());
        }
    }
}

#[tokio::test]
async fn a_head_is_bounded_in_each_way() {
    let node = Node::start([]).await;
    let mut client = node.client().await;
    let mut long = client.get(&format!("/v1/models/{}", "a".repeat(8 << 10))).await;
    assert_eq!((long.status.as_u16(), long.error().await.0.as_str()), (414, "uri_too_long"));
    let headers = "a: 1\r\n".repeat(200);
    let many = raw(node.address, format!("GET /livez HTTP/1.1\r\nhost: a\r\n{headers}\r\n").as_bytes()).await;
    assert!(many.starts_with("HTTP/1.1 431 "), "{many}");
}

/// RFC 9110, section 10.1.1: who expects 100 (Continue) is asked for the body, unless it will not be taken anyway.
#[tokio::test]
async fn a_body_that_is_announced_is_asked_for_or_refused_at_once() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let head = |length: usize| {
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let body = r#"{"model":"llama"}"#;
    let taken = format!("{}{body}", head(body.len()));
    let respond = async { engine.call().await.answer(200, "application/json", "{}") };
    let (answer, ()) = tokio::join!(raw(node.address, taken.as_bytes()), respond);
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "), "{answer}");
    let refused = soon("a refusal", raw(node.address, head(1 << 30).as_bytes())).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
}

/// Rule 10: an adapter is only answered by a replica that has it.
#[tokio::test]
async fn rule_10_an_adapter_is_only_answered_by_revisions_that_have_it() {
    let (old, mut new) = (Engine::start(), Engine::start());
    let node = Node::start([]).await;
    let mut with = route_revision(2, "meta/Llama-3", 0);
    with.adapters.insert("sql".to_owned());
    let mut rolling = route([]);
    rolling.revisions = vec![with, route_revision(1, "meta/Llama-3", 100)];
    let mut second = local(2, new.address(), 100);
    second.revision = revision(2);
    rolling.replicas = vec![local(1, old.address(), 0), second];
    node.ingress.set_routes(RoutingTable::new([rolling]));
    let mut client = node.client().await;
    for _ in 0..8 {
        let (_, _, body) = arrives(&mut client, &mut new, post(CHAT, &[], r#"{"model":"sql"}"#)).await;
        assert_eq!(body, r#"{"model":"sql"}"#);
    }
    assert_eq!(old.connections(), 0);
    let (model, _) = client.get("/v1/models/sql").await.rest().await;
    let model: serde_json::Value = serde_json::from_str(&model).unwrap();
    assert_eq!((&model["root"], &model["parent"]), (&"sql".into(), &"meta/Llama-3".into()));
}
