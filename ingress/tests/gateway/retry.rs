//! Until the first byte of an answer has been passed on, another replica is tried.

use std::time::Duration;

use shoal_ingress::{IngressConfig, Replica, Route, RoutingTable, StreamPolicy, Timeouts};
use shoal_types::EngineAddress;
use tokio::io::AsyncWriteExt as _;

use super::support::{CHAT, Call, Engine, Node, PLAIN, REQUEST, SSE, local, node_id, pass, remote, route, soon};

/// The last event of an answer.
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\n";

/// A node whose first choice is `first` and whose second is `good`.
async fn node_with(first: Replica, good: &Engine) -> Node {
    Node::start([first, local(9, good.address(), 100)]).await
}

/// Asks; the request must be answered by `good`, whole and as if nothing had happened.
async fn is_answered_by(node: &Node, good: &mut Engine) {
    let mut client = node.client().await;
    let respond = async {
        let call = good.call().await;
        assert_eq!(call.request.body(), REQUEST);
        call.begin(200, SSE).send(EVENT).await;
    };
    let (mut answer, ()) = tokio::join!(client.chat(), respond);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-shoal-node"), node_id(9).to_string());
    assert_eq!(answer.rest().await, (EVENT.to_owned(), true));
}

/// The first choice does `what` with the request, locally and through a tunnel; the second must answer.
async fn another_answers_when_the_first(what: impl AsyncFn(Call)) {
    for is_remote in [false, true] {
        let (mut bad, mut good) = (Engine::start(), Engine::start());
        let replica = local(2, bad.address(), 0);
        let node = node_with(if is_remote { remote(2, 0) } else { replica.clone() }, &good).await;
        node.peer(2, [replica]);
        tokio::join!(is_answered_by(&node, &mut good), async { what(bad.call().await).await });
    }
}

#[tokio::test]
async fn when_an_engine_refuses_connections() {
    let mut good = Engine::start();
    let gone = EngineAddress::Unix(tempfile::tempdir().unwrap().path().join("gone.sock"));
    let node = node_with(local(2, gone, 0), &good).await;
    is_answered_by(&node, &mut good).await;
}

#[tokio::test]
async fn when_an_engine_of_another_node_refuses_connections() {
    let mut good = Engine::start();
    let gone = EngineAddress::Loopback("127.0.0.1:1".parse().unwrap());
    let node = node_with(remote(2, 0), &good).await;
    node.peer(2, [local(2, gone, 0)]);
    is_answered_by(&node, &mut good).await;
}

#[tokio::test]
async fn when_an_engine_is_full() {
    for status in [429, 502, 503, 504] {
        another_answers_when_the_first(async |call| call.answer(status, "application/json", "{}")).await;
    }
}

#[tokio::test]
async fn when_an_engine_dies_before_it_answers() {
    another_answers_when_the_first(async |call| drop(call)).await;
}

#[tokio::test]
async fn when_a_stream_begins_with_an_error() {
    another_answers_when_the_first(async |call| {
        let reply = call.begin(200, SSE);
        reply.send("data: {\"error\":{\"message\":\"EngineCore encountered an issue\",\"code\":500}}\n\n").await;
    })
    .await;
}

#[tokio::test]
async fn when_a_stream_is_done_without_a_token() {
    another_answers_when_the_first(async |call| call.begin(200, SSE).send("data: [DONE]\n\n").await).await;
}

#[tokio::test]
async fn when_a_stream_ends_without_a_token() {
    another_answers_when_the_first(async |call| call.begin(200, SSE).send(": ping\n\n").await).await;
}

#[tokio::test]
async fn when_a_stream_breaks_before_the_first_token() {
    another_answers_when_the_first(async |call| {
        let reply = call.begin(200, SSE);
        reply.send(": ping\n\ndata: {").await;
        reply.die().await;
    })
    .await;
}

#[tokio::test]
async fn when_a_node_cannot_be_reached() {
    let mut good = Engine::start();
    let node = node_with(remote(2, 0), &good).await;
    is_answered_by(&node, &mut good).await;
}

/// Rule 3: a node that no longer holds the claim answers before the engine is touched.
#[tokio::test]
async fn when_a_node_no_longer_has_the_replica() {
    let (other, mut good) = (Engine::start(), Engine::start());
    let node = node_with(remote(2, 0), &good).await;
    node.peer(2, [local(3, other.address(), 0)]);
    is_answered_by(&node, &mut good).await;
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn when_a_node_never_says_that_it_takes_the_request() {
    let mut good = Engine::start();
    let timeouts = Timeouts { accept: Duration::from_millis(50), ..Timeouts::default() };
    let config = IngressConfig { timeouts, ..IngressConfig::default() };
    let node = Node::start_with(config, [remote(2, 0), local(9, good.address(), 100)]).await;
    let mut silent = node.mesh.script(node_id(2));
    is_answered_by(&node, &mut good).await;
    let _tunnel = silent.try_recv().unwrap();
    // And the next request does not wait for it again.
    is_answered_by(&node, &mut good).await;
    assert!(silent.try_recv().is_err());
}

#[tokio::test]
async fn when_a_node_breaks_the_stream() {
    let mut good = Engine::start();
    let node = node_with(remote(2, 0), &good).await;
    let mut peer = node.mesh.script(node_id(2));
    let break_off = async { drop(soon("a tunnel", peer.recv()).await) };
    tokio::join!(is_answered_by(&node, &mut good), break_off);
}

#[tokio::test]
async fn when_a_node_speaks_another_version() {
    let node = Node::start([remote(2, 0)]).await;
    let mut peer = node.mesh.script(node_id(2));
    let mut client = node.client().await;
    let answer = async {
        let mut tunnel = soon("a tunnel", peer.recv()).await.unwrap();
        tunnel.send.write_all(&[0, 0, 0, 2, 99, 0]).await.unwrap();
        tunnel
    };
    let (mut answer, _tunnel) = tokio::join!(client.chat(), answer);
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-reason")), (502, "replicas-failed"));
    let (code, message) = answer.error().await;
    assert_eq!(code, "replicas_failed");
    assert!(message.contains("frame version 99") && message.contains("upgrade"), "{message}");
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_replaced_by_a_new_one_to_the_same_engine() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let respond = async { engine.call().await.answer(200, "application/json", "{}") };
    tokio::join!(client.chat(), respond).0.rest().await;
    let respond = async {
        let first = engine.call().await;
        let (sent, body) = (first.request.headers().clone(), first.request.body().clone());
        drop(first);
        let again = engine.call().await;
        assert_eq!((again.request.headers(), again.request.body()), (&sent, &body));
        again.answer(200, "application/json", "{}");
    };
    assert_eq!(tokio::join!(client.chat(), respond).0.status, 200);
    assert_eq!(engine.connections(), 2);
}

#[tokio::test]
async fn an_engines_own_errors_are_its_answer() {
    for status in [400, 404, 422, 500] {
        let (mut engine, other) = (Engine::start(), Engine::start());
        let node = Node::start([local(2, engine.address(), 0), local(9, other.address(), 100)]).await;
        let mut client = node.client().await;
        let respond = async { engine.call().await.answer(status, "application/json", "{\"mine\":1}") };
        let (mut answer, ()) = tokio::join!(client.chat(), respond);
        assert_eq!((answer.status.as_u16(), answer.rest().await.0.as_str()), (status, "{\"mine\":1}"));
        assert!(!other.has_call());
    }
}

/// Rule 9: three replicas are tried, each once, and the error names them.
#[tokio::test]
async fn attempts_are_bounded_and_told() {
    let mut engines: Vec<Engine> = (0..4).map(|_| Engine::start()).collect();
    let replicas: Vec<Replica> =
        (2..6u8).zip(&engines).map(|(n, engine)| local(n, engine.address(), n.into())).collect();
    let node = Node::start(replicas).await;
    let mut client = node.client().await;
    let fail = async {
        for engine in &mut engines[..3] {
            drop(engine.call().await);
        }
    };
    let (mut answer, ()) = tokio::join!(client.chat(), fail);
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-reason")), (502, "replicas-failed"));
    let (code, message) = answer.error().await;
    assert_eq!(code, "replicas_failed");
    for number in 2..5 {
        assert!(message.contains(&node_id(number).short()), "{message}");
    }
    assert!(engines.iter().all(|engine| !engine.has_call()));
}

/// A node that drains has several replicas that leave at once, and each of them only sends the request on.
#[tokio::test]
async fn replicas_that_leave_do_not_use_up_the_attempts() {
    let mut good = Engine::start();
    let leaving = (2..7).map(|number| remote(number, 0));
    let node = Node::start(leaving.chain([local(9, good.address(), 100)])).await;
    let _peers: Vec<_> = (2..7).map(|number| node.peer(number, [])).collect();
    is_answered_by(&node, &mut good).await;
}

#[tokio::test]
async fn replicas_that_are_all_full_are_asked_again_and_the_client_waits() {
    for status in [429, 503] {
        let mut engine = Engine::start();
        let node = Node::start([local(1, engine.address(), 0)]).await;
        let mut client = node.client().await;
        let respond = async {
            engine.call().await.answer(status, "application/json", "{}");
            node.until_held(1).await;
            // It is believed for a second.
            pass(Duration::from_secs(1)).await;
            engine.call().await.answer(200, "application/json", "{}");
        };
        assert_eq!(tokio::join!(client.post(CHAT, PLAIN), respond).0.status, 200);
    }
}

/// An answer in JSON is of no use before it is whole, so until then another replica can give it.
#[tokio::test]
async fn an_answer_that_breaks_before_it_is_whole_is_got_elsewhere() {
    for is_remote in [false, true] {
        let (mut bad, mut good) = (Engine::start(), Engine::start());
        let replica = local(2, bad.address(), 0);
        let node = node_with(if is_remote { remote(2, 0) } else { replica.clone() }, &good).await;
        node.peer(2, [replica]);
        let mut client = node.client().await;
        let respond = async {
            let reply = bad.call().await.begin(200, "application/json");
            reply.send("{\"choices\":[").await;
            reply.die().await;
            good.call().await.answer(200, "application/json", "{}");
        };
        let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), respond);
        assert_eq!((answer.status.as_u16(), answer.rest().await), (200, ("{}".to_owned(), true)));
    }
}

/// Rule 9: an outage makes the load a fifth larger, not three times as large.
#[tokio::test]
async fn rule_9_a_budget_bounds_what_is_tried_again() {
    let gone = |number| local(number, EngineAddress::Loopback("127.0.0.1:1".parse().unwrap()), 0);
    let node = Node::start([gone(2), gone(3)]).await;
    let mut client = node.client().await;
    let mut reasons = Vec::new();
    for _ in 0..60 {
        let mut answer = client.chat().await;
        let reason = answer.header("x-shoal-reason").to_owned();
        assert!(answer.rest().await.1);
        reasons.push((answer.status.as_u16(), reason));
    }
    let tried = reasons.iter().take_while(|reason| **reason == (502, "replicas-failed".to_owned())).count();
    // 32, and one for each five requests.
    assert!((36..=44).contains(&tried), "{tried}");
    assert!(reasons[tried..].contains(&(503, "retry-budget".to_owned())), "{reasons:?}");
}

#[tokio::test]
async fn a_slow_beginning_is_hedged_where_the_endpoint_wants_that() {
    let (mut slow, mut fast) = (Engine::start(), Engine::start());
    let replicas = [local(2, slow.address(), 0), local(9, fast.address(), 100)];
    let node = Node::start([]).await;
    let streams = StreamPolicy { hedge: true, ..StreamPolicy::default() };
    node.ingress.set_routes(RoutingTable::new([Route { streams, ..route(replicas) }]));
    let mut client = node.client().await;
    // What is slow is known from twenty streams.
    for _ in 0..20 {
        let respond = async { slow.call().await.begin(200, SSE).send(EVENT).await };
        assert!(tokio::join!(client.chat(), respond).0.rest().await.1);
    }
    let respond = async {
        let late = slow.call().await;
        fast.call().await.begin(200, SSE).send(EVENT).await;
        late.gone().await;
    };
    let (mut answer, ()) = tokio::join!(client.chat(), respond);
    assert_eq!(answer.header("x-shoal-node"), node_id(9).to_string());
    assert!(answer.rest().await.1);
    assert!(node.metrics().contains("shoal_ingress_hedges_total{won=\"true\"} 1"));
}
