//! After the first byte, where no other replica goes on: a break is told, never hidden.

use std::time::Duration;

use shoal_ingress::{Replica, Route, RoutingTable, StreamPolicy};

use super::support::{
    Answer, Client, Engine, Node, Reply, SSE, error_of, local, node_id, remote, route, without_resume,
};

const EVENT: &str = "data: {\"choices\":[]}\n\n";

/// A client in the middle of an answer from `engine`.
async fn begun(node: &Node, engine: &mut Engine, content_type: &str) -> (Client, Answer, Reply) {
    let mut client = node.client().await;
    let begin = async {
        let reply = engine.call().await.begin(200, content_type);
        reply.send(EVENT).await;
        reply
    };
    let (mut answer, reply) = tokio::join!(client.chat(), begin);
    assert_eq!(answer.text().await, EVENT);
    (client, answer, reply)
}

/// A node whose streams end with their replica.
async fn node_without_resume(replicas: impl IntoIterator<Item = Replica>) -> Node {
    let node = Node::start([]).await;
    node.ingress.set_routes(RoutingTable::new([without_resume(route(replicas))]));
    node
}

async fn a_lost_replica_is_told(node: &Node, engine: &mut Engine) {
    let (_client, mut answer, reply) = begun(node, engine, SSE).await;
    reply.die().await;
    let (rest, whole) = answer.rest().await;
    assert!(!whole, "a broken answer must not end like a whole one");
    let error = error_of(&rest);
    assert_eq!(
        (error["code"].as_str(), error["request_id"].as_str()),
        (Some("replica_lost"), Some(answer.header("x-request-id")))
    );
    assert!(error["message"].as_str().unwrap().contains(&node_id(2).short()), "{error}");
}

#[tokio::test]
async fn a_stream_whose_local_engine_dies_ends_with_an_error_and_no_end() {
    let (mut engine, other) = (Engine::start(), Engine::start());
    let node = node_without_resume([local(2, engine.address(), 0), local(9, other.address(), 100)]).await;
    a_lost_replica_is_told(&node, &mut engine).await;
    assert!(!other.has_call());
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_stream_whose_engine_dies_on_another_node_ends_with_an_error_and_no_end() {
    let mut engine = Engine::start();
    let node = node_without_resume([remote(2, 0)]).await;
    node.peer(2, [local(2, engine.address(), 0)]);
    a_lost_replica_is_told(&node, &mut engine).await;
}

#[tokio::test]
async fn half_an_event_is_not_passed_on_and_the_error_is_an_event_of_its_own() {
    let mut engine = Engine::start();
    let node = node_without_resume([local(2, engine.address(), 0)]).await;
    let (_client, mut answer, reply) = begun(&node, &mut engine, SSE).await;
    reply.send("data: {\"cho").await;
    reply.die().await;
    let (rest, whole) = answer.rest().await;
    assert!(rest.starts_with("data: {\"error\"") && !whole, "{rest:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_a_lost_replica() {
    let long = format!("data: {}", "x".repeat(5 << 20));
    for nonsense in
        ["<html>\n\n", "data: {\"a\n\n", "data: {\"error\":{\"code\":500}}\n\n", "data: [DONE]\n\n", "", &long]
    {
        let mut engine = Engine::start();
        let node = node_without_resume([local(2, engine.address(), 0)]).await;
        let (_client, mut answer, reply) = begun(&node, &mut engine, SSE).await;
        if !nonsense.is_empty() {
            reply.send(nonsense.to_owned()).await;
        }
        drop(reply);
        let (rest, whole) = answer.rest().await;
        assert_eq!((error_of(&rest)["code"].as_str(), whole), (Some("replica_lost"), false), "{rest}");
    }
}

#[tokio::test]
async fn a_replica_that_falls_silent_is_lost() {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    let route = without_resume(route([local(2, engine.address(), 0)]));
    let streams = StreamPolicy { stall: Duration::from_millis(400), ..route.streams };
    node.ingress.set_routes(RoutingTable::new([Route { streams, ..route }]));
    let (_client, mut answer, reply) = begun(&node, &mut engine, SSE).await;
    let (rest, whole) = answer.rest().await;
    assert!(!whole && error_of(&rest)["message"].as_str().unwrap().contains("said nothing"), "{rest}");
    reply.gone().await;
}

#[tokio::test]
async fn anything_but_a_stream_of_events_is_cut() {
    for is_remote in [false, true] {
        let mut engine = Engine::start();
        let replica = local(2, engine.address(), 0);
        let node = Node::start([if is_remote { remote(2, 0) } else { replica.clone() }]).await;
        node.peer(2, [replica]);
        let (_client, mut answer, reply) = begun(&node, &mut engine, "audio/mpeg").await;
        reply.die().await;
        assert_eq!(answer.rest().await, (String::new(), false));
    }
}

fn with_timeout(millis: u64, route: Route) -> RoutingTable {
    RoutingTable::new([Route { timeout: Duration::from_millis(millis), ..route }])
}

#[tokio::test]
async fn a_stream_that_takes_too_long_says_so() {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    node.ingress.set_routes(with_timeout(1500, route([local(2, engine.address(), 0)])));
    let (_client, mut answer, reply) = begun(&node, &mut engine, SSE).await;
    let (rest, whole) = answer.rest().await;
    assert_eq!((error_of(&rest)["code"].as_str(), whole), (Some("timeout"), false));
    reply.gone().await;
}

#[tokio::test]
async fn an_engine_that_says_nothing_in_time_is_a_504() {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    node.ingress.set_routes(with_timeout(500, route([local(2, engine.address(), 0)])));
    let mut client = node.client().await;
    let (mut answer, call) = tokio::join!(client.chat(), engine.call());
    assert_eq!(answer.status, 504);
    assert_eq!(answer.error().await.0, "timeout");
    call.gone().await;
}

/// The far end has the deadline too: a near end that is gone without a trace leaves nothing running there.
#[tokio::test]
async fn the_far_end_gives_up_in_time_by_itself() {
    let mut engine = Engine::start();
    let node = Node::start([remote(2, 0)]).await;
    let peer = node.peer(2, []);
    peer.set_routes(with_timeout(1500, route([local(2, engine.address(), 0)])));
    node.ingress.set_routes(RoutingTable::new([without_resume(route([remote(2, 0)]))]));
    let (_client, mut answer, reply) = begun(&node, &mut engine, SSE).await;
    reply.gone().await;
    let (rest, whole) = answer.rest().await;
    assert_eq!((error_of(&rest)["code"].as_str(), whole), (Some("replica_lost"), false));
}
