//! Clients that speak HTTP/2, without TLS.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use shoal_ingress::{IngressConfig, Limits, RoutingTable, Timeouts};

use super::support::{CHAT, Engine, Http2Client, Node, SSE, claim, local, route, soon, without_resume};

const EVENT: &str = "data: {}\n\n";
const END: &str = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

fn with_timeouts(timeouts: Timeouts) -> IngressConfig {
    IngressConfig { timeouts, ..IngressConfig::default() }
}

/// The only replica, with whose streams nobody goes on.
fn route_to(node: &Node, engine: &Engine) {
    node.ingress.set_routes(RoutingTable::new([without_resume(route([local(1, engine.address(), 0)]))]));
}

#[tokio::test]
async fn one_connection_carries_many_answers_at_once() {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    route_to(&node, &engine);
    let client = Http2Client::connect(node.address).await;
    let begin = async { [engine.call().await.begin(200, SSE), engine.call().await.begin(200, SSE)] };
    let begin = async {
        let replies = begin.await;
        for reply in &replies {
            reply.send(EVENT).await;
        }
        replies
    };
    let (mut first, mut second, [a, b]) = tokio::join!(client.chat(), client.chat(), begin);
    assert_eq!((first.status.as_u16(), first.header("x-request-id").len()), (200, 32));
    assert_eq!((first.text().await, second.text().await), (EVENT.to_owned(), EVENT.to_owned()));
    for (reply, answer) in [(a, &mut first), (b, &mut second)] {
        reply.send(END).await;
        drop(reply);
        assert_eq!(answer.rest().await, (END.to_owned(), true));
    }
    assert_eq!(client.get("/livez").await.status, 200);
    let mut answer = client.send(Request::head("/livez").body(Full::default()).unwrap()).await;
    assert_eq!(answer.header("content-length"), "2");
    assert_eq!(answer.rest().await, (String::new(), true));
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_end_properly() {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    route_to(&node, &engine);
    let client = Http2Client::connect(node.address).await;
    let die = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send(EVENT).await;
        reply.die().await;
    };
    let (mut answer, ()) = tokio::join!(client.chat(), die);
    let (text, whole) = answer.rest().await;
    assert!(text.contains("replica_lost") && !whole, "{text}");
    assert_eq!(client.get("/livez").await.status, 200, "the others go on");
}

#[tokio::test]
async fn a_client_that_gives_up_one_answer_ends_its_request() {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    route_to(&node, &engine);
    let client = Http2Client::connect(node.address).await;
    let begin = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send(EVENT).await;
        reply
    };
    let (answer, reply) = tokio::join!(client.chat(), begin);
    drop(answer);
    reply.gone().await;
    assert_eq!(client.get("/livez").await.status, 200);
}

/// Rule 9: everything is bounded. Each answer by itself: one that its client leaves where it is holds an engine no
/// longer than the patience, although the client reads others on the same connection.
#[tokio::test]
async fn an_answer_that_is_not_taken_is_given_up_and_others_go_on() {
    let mut engine = Engine::start();
    let config = with_timeouts(Timeouts { stall: Duration::from_millis(200), ..Timeouts::default() });
    let node = Node::start_with(config, []).await;
    route_to(&node, &engine);
    let client = Http2Client::connect(node.address).await;
    let (left, reply) = tokio::join!(client.chat(), async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send(EVENT).await;
        reply
    });
    let (mut read, other) = tokio::join!(client.chat(), async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send(EVENT).await;
        reply
    });
    let flood = async { while reply.try_send(format!("data: {}\n\n", "x".repeat(10_000))).await {} };
    let trickle = async {
        loop {
            other.send(EVENT).await;
            read.text().await;
        }
    };
    tokio::select! {
        () = soon("the answer to be given up", flood) => {}
        () = trickle => {}
    }
    drop(left);
    other.send(END).await;
    drop(other);
    assert!(read.rest().await.1);
    soon("both to be over", node.ingress.drained(claim(1))).await;
}

#[tokio::test]
async fn a_connection_without_requests_is_closed() {
    let config = with_timeouts(Timeouts { head: Duration::from_millis(50), ..Timeouts::default() });
    let node = Node::start_with(config, []).await;
    let client = Http2Client::connect(node.address).await;
    assert_eq!(client.get("/livez").await.status, 200);
    client.closed().await;
}

#[tokio::test]
async fn a_stop_lets_answers_finish_and_takes_nothing_new() {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    route_to(&node, &engine);
    let (client, idle) = (Http2Client::connect(node.address).await, Http2Client::connect(node.address).await);
    assert_eq!(idle.get("/readyz").await.status, 200);
    let begin = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send(EVENT).await;
        reply
    };
    let (mut answer, reply) = tokio::join!(client.chat(), begin);
    node.stop();
    idle.closed().await;
    reply.send(END).await;
    drop(reply);
    assert_eq!(answer.rest().await, ([EVENT, END].concat(), true));
    client.closed().await;
    node.stopped().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let mut engine = Engine::start();
    let config = with_timeouts(Timeouts { stop: Duration::from_millis(50), ..Timeouts::default() });
    let node = Node::start_with(config, []).await;
    route_to(&node, &engine);
    let client = Http2Client::connect(node.address).await;
    let request = Request::post(CHAT).body(Full::new(super::support::REQUEST.into())).unwrap();
    let stop = async {
        let call = engine.call().await;
        node.stop();
        call.gone().await;
    };
    assert!(tokio::join!(client.try_send(request), stop).0.is_err());
    node.stopped().await;
}

#[tokio::test]
async fn a_head_is_bounded_as_over_http_1() {
    let limits = Limits { head: 8_000, ..Limits::default() };
    let node = Node::start_with(IngressConfig { limits, ..IngressConfig::default() }, []).await;
    let client = Http2Client::connect(node.address).await;
    let many = (0..101).fold(Request::get("/livez"), |request, index| request.header(format!("a-{index}"), "1"));
    let mut many = client.send(many.body(Full::default()).unwrap()).await;
    assert_eq!((many.status.as_u16(), many.error().await.0.as_str()), (431, "too_many_headers"));
    let large = Request::get("/livez").header("a", "x".repeat(8_000)).body(Full::default()).unwrap();
    assert!(client.try_send(large).await.map_or(true, |answer| answer.status == 431));
}
