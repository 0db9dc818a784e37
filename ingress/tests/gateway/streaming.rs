//! What an engine says reaches the client as it is, when it is said.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use shoal_types::Load;

use super::support::{CHAT, Client, Engine, Node, REQUEST, SSE, local, node_id, remote};

/// The last events of an answer.
const END: &str = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// Each chunk must arrive before the next one is sent, and unchanged.
async fn passes_each_chunk_at_once(mut client: Client, mut engine: Engine) {
    let chat = client.chat();
    let stream = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send("data: {\"choices\":[]}\n\n").await;
        reply
    };
    let (mut answer, reply) = tokio::join!(chat, stream);
    assert_eq!(answer.header("content-type"), SSE);
    assert_eq!(answer.text().await, "data: {\"choices\":[]}\n\n");
    // Whole events, several at once, comments, and what nobody here knows.
    for chunk in [
        "data: {\"a\":1}\n\n",
        ": ping\n\ndata: {\"b\":\"\u{1f41f}\"}\r\n\r\ndata: {}\n\n",
        "id: 7\nevent: x\ndata: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    ] {
        reply.send(chunk).await;
        assert_eq!(answer.text().await, chunk);
    }
    drop(reply);
    assert!(answer.chunk().await.is_none());
}

#[tokio::test]
async fn chunks_of_a_local_engine_pass_at_once_and_unchanged() {
    let engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    passes_each_chunk_at_once(node.client().await, engine).await;
}

#[tokio::test]
async fn chunks_of_another_nodes_engine_pass_at_once_and_unchanged() {
    let engine = Engine::start();
    let node = Node::start([remote(2, 0)]).await;
    node.peer(2, [local(2, engine.address(), 0)]);
    passes_each_chunk_at_once(node.client().await, engine).await;
}

#[tokio::test]
async fn comments_are_held_until_the_first_event_and_then_passed_on() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let stream = async {
        let reply = engine.call().await.begin(200, SSE);
        for part in [": ping\n\n", ": ping\n\nda", "ta: {}\r\n", "\r\n", END] {
            reply.send(part).await;
        }
    };
    let (mut answer, ()) = tokio::join!(client.chat(), stream);
    assert_eq!(answer.rest().await, (format!(": ping\n\n: ping\n\ndata: {{}}\r\n\r\n{END}"), true));
}

/// So that another replica can go on at any time, and an event of ours can follow.
#[tokio::test]
async fn half_an_event_waits_for_the_other_half() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let stream = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send("data: {}\n\nda").await;
        reply
    };
    let (mut answer, reply) = tokio::join!(client.chat(), stream);
    assert_eq!(answer.text().await, "data: {}\n\n");
    reply.send("ta: {\"a\":1}\n").await;
    reply.send("\ndata: {").await;
    assert_eq!(answer.text().await, "data: {\"a\":1}\n\n");
}

#[tokio::test]
async fn a_whole_answer_and_the_right_headers_pass_both_ways() {
    for is_remote in [false, true] {
        let mut engine = Engine::start();
        let replica = local(2, engine.address(), 0);
        let node = Node::start([if is_remote { remote(2, 0) } else { replica.clone() }]).await;
        node.peer(2, [replica]);
        let request = Request::post(format!("{CHAT}?a=b"))
            .header("authorization", "Bearer secret")
            .header("traceparent", "00-aa-bb-01")
            .header("x-request-id", "mine-1")
            .body(Full::from(REQUEST))
            .unwrap();
        let mut client = node.client().await;
        let respond = async {
            let call = engine.call().await;
            assert_eq!(call.request.uri(), "/v1/chat/completions?a=b");
            assert_eq!(call.request.body(), REQUEST);
            let headers = call.request.headers();
            assert_eq!(
                (&headers["traceparent"], &headers["x-request-id"]),
                (&"00-aa-bb-01".parse().unwrap(), &"mine-1".parse().unwrap())
            );
            assert!(!headers.contains_key("authorization"));
            call.answer(404, "application/json", r#"{"error":{"message":"the engine's own"}}"#);
        };
        let (mut answer, ()) = tokio::join!(client.send(request), respond);
        assert_eq!(answer.status, 404);
        assert_eq!((answer.header("content-length"), answer.header("keep-alive")), ("40", ""));
        assert_eq!(answer.header("x-request-id"), "mine-1");
        assert_eq!(answer.header("x-shoal-node"), node_id(2).to_string());
        assert_eq!(answer.rest().await, (r#"{"error":{"message":"the engine's own"}}"#.to_owned(), true));
    }
}

#[tokio::test]
async fn a_large_request_crosses_the_mesh_unchanged() {
    let mut engine = Engine::start();
    let node = Node::start([remote(2, 0)]).await;
    node.peer(2, [local(2, engine.address(), 0)]);
    let prompt: String = (0..200_000).map(|number| format!("{number} ")).collect();
    let request: Bytes = format!(r#"{{"prompt":"{prompt}","model":"meta/Llama-3"}}"#).into();
    let mut client = node.client().await;
    let respond = async {
        let call = engine.call().await;
        assert!(call.request.body() == &request);
        call.answer(200, "application/json", "{}");
    };
    let (answer, ()) = tokio::join!(client.post("/v1/completions", request.clone()), respond);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_connection_to_an_engine_is_used_again() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    for _ in 0..3 {
        let respond = async { engine.call().await.answer(200, "application/json", "{}") };
        let (mut answer, ()) = tokio::join!(client.chat(), respond);
        assert_eq!(answer.rest().await, ("{}".to_owned(), true));
    }
    assert_eq!(engine.connections(), 1);
}

/// The trailer of an answer tells its replica's load sooner than gossip does.
#[tokio::test]
async fn the_load_in_the_trailer_steers_the_next_request() {
    let (mut busy, mut idle) = (Engine::start(), Engine::start());
    let node = Node::start([remote(2, 0), remote(3, 10)]).await;
    let mut loaded = local(2, busy.address(), 0);
    loaded.load = Some(Load { running: Some(50), ..Load::default() });
    node.peer(2, [loaded]);
    node.peer(3, [local(3, idle.address(), 10)]);
    let mut client = node.client().await;
    for engine in [&mut busy, &mut idle] {
        let respond = async { engine.call().await.answer(200, "application/json", "{}") };
        let (mut answer, ()) = tokio::join!(client.chat(), respond);
        answer.rest().await;
    }
}
