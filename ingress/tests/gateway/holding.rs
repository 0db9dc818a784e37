//! Requests to an endpoint that nothing serves yet wait, within bounds, and are served when a replica comes.

use std::time::Duration;

use prometheus_client::{encoding::text::encode, registry::Registry};
use shoal_ingress::{IngressConfig, Limits, QueueBounds, Replica, Route, RoutingTable, Timeouts};
use tokio::time::Instant;

use super::support::{
    Answer, CHAT, Client, Engine, Node, PLAIN, REQUEST, SSE, error_of, local, node_id, pass, remote, soon, waking,
    without_resume,
};

/// The last event of an answer.
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\n";
const COMMENT: &str = ": waiting for a replica of llama\n\n";
const SECOND: Duration = Duration::from_secs(1);
const JSON: &str = "application/json";

/// A node whose `llama` sleeps.
async fn asleep() -> Node {
    asleep_with(IngressConfig::default()).await
}

async fn asleep_with(config: IngressConfig) -> Node {
    let node = Node::start_with(config, []).await;
    node.wake([]);
    node
}

/// A client whose stream has been held for so long that it has been told.
async fn told(node: &Node) -> (Client, Answer) {
    let mut client = node.client().await;
    let held = async {
        node.until_held(1).await;
        pass(SECOND).await;
    };
    let (mut answer, ()) = tokio::join!(client.chat(), held);
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, SSE));
    assert_eq!(answer.header("x-shoal-node"), node_id(1).to_string());
    assert_eq!(answer.text().await, COMMENT);
    (client, answer)
}

/// The last event of `answer`, which must not end like a whole one.
async fn last_words(answer: &mut Answer) -> serde_json::Value {
    let (rest, whole) = answer.rest().await;
    assert!(!whole, "{rest}");
    let error = error_of(&rest);
    // An engine's own error is passed on as it is.
    assert!(error["request_id"].is_null() || error["request_id"] == answer.header("x-request-id"), "{error}");
    error
}

#[tokio::test]
async fn a_held_request_is_served_when_a_replica_comes() {
    let (mut engine, node) = (Engine::start(), asleep().await);
    let (mut client, mut changed) = (node.client().await, node.ingress.demand_changed());
    let wake = async {
        soon("demand to be told", changed.changed()).await.unwrap();
        let demand = node.demand().unwrap();
        assert_eq!((demand.held, demand.inflight, demand.arrivals), (1, 0, 1));
        // A table without a replica changes nothing.
        node.wake([]);
        node.wake([local(2, engine.address(), 0)]);
        let call = engine.call().await;
        let demand = node.demand().unwrap();
        assert_eq!((demand.held, demand.inflight, demand.arrivals), (0, 1, 1));
        assert_eq!(call.request.body(), PLAIN);
        call.answer(200, JSON, "{}");
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wake);
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-node")), (200, node_id(2).to_string().as_str()));
    assert_eq!(answer.rest().await, ("{}".to_owned(), true));
}

#[tokio::test]
async fn a_replica_that_is_gone_again_is_not_the_end_of_the_wait() {
    let (mut engine, node) = (Engine::start(), asleep().await);
    let mut client = node.client().await;
    let wake = async {
        node.until_held(1).await;
        // The one that waits does not look in between.
        node.wake([local(2, engine.address(), 0)]);
        node.wake([]);
        tokio::task::yield_now().await;
        node.until_held(1).await;
        node.wake([local(3, engine.address(), 0)]);
        engine.call().await.answer(200, JSON, "{}");
    };
    let (answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wake);
    assert_eq!(answer.header("x-shoal-node"), node_id(3).to_string());
}

/// A request that `node` gives to its only replica, which is not there any more, is held and served by the one that follows.
async fn is_served_by_the_one_that_follows(node: &Node) {
    let mut engine = Engine::start();
    node.wake([remote(3, 0)]);
    let mut client = node.client().await;
    let wake = async {
        node.until_held(1).await;
        node.wake([]);
        node.wake([local(2, engine.address(), 0)]);
        engine.call().await.answer(200, JSON, "{}");
    };
    let (answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wake);
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-node")), (200, node_id(2).to_string().as_str()));
}

/// Whoever asks for an endpoint in the moment in which its last replica falls asleep wakes it, like anybody later.
#[tokio::test]
async fn a_replica_of_which_it_is_not_known_yet_that_it_sleeps_is_waited_for() {
    let node = asleep().await;
    let _peer = node.peer(3, []);
    is_served_by_the_one_that_follows(&node).await;
}

/// A host dies with the last replica, and nobody has missed it yet: another replica will come.
#[tokio::test]
async fn a_replica_whose_node_cannot_be_reached_any_more_is_waited_for() {
    is_served_by_the_one_that_follows(&asleep().await).await;
}

/// Its engine may have begun: the request waits for another replica, and is not given to the same one again.
#[tokio::test]
async fn a_replica_that_was_lost_with_the_request_is_not_given_it_twice() {
    let (mut engine, node) = (Engine::start(), asleep().await);
    let mut peer = node.mesh.script(node_id(3));
    node.wake([remote(3, 0)]);
    let mut client = node.client().await;
    let wake = async {
        let tunnel = soon("a tunnel", peer.recv()).await.unwrap();
        node.until_held(1).await;
        // Routes change, and the replica is still in them.
        node.wake([remote(3, 1)]);
        pass(2 * SECOND).await;
        node.wake([local(2, engine.address(), 0)]);
        engine.call().await.answer(200, JSON, "{}");
        assert!(peer.try_recv().is_err(), "it was asked again");
        drop(tunnel);
    };
    let (answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wake);
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-node")), (200, node_id(2).to_string().as_str()));
}

/// It is asked again before the wait is over: it may only have been a moment.
#[tokio::test]
async fn a_node_that_stays_out_of_reach_is_an_error_in_the_end() {
    let node = asleep().await;
    node.wake([remote(3, 0)]);
    let mut client = node.client().await;
    let wait = async {
        node.until_held(1).await;
        pass(5 * SECOND).await;
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wait);
    assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (502, "replicas_failed"));
}

/// A table that stays wrong is no reason to wait for minutes.
#[tokio::test]
async fn a_replica_that_nobody_says_has_gone_is_busy_in_the_end() {
    let node = asleep().await;
    let _peer = node.peer(3, []);
    node.wake([remote(3, 0)]);
    let mut client = node.client().await;
    let wait = async {
        node.until_held(1).await;
        pass(5 * SECOND).await;
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wait);
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.error().await.0, "replicas_busy");
}

#[tokio::test]
async fn a_node_that_stops_waits_for_no_news_of_replicas_that_are_gone() {
    let node = asleep().await;
    let _peer = node.peer(3, []);
    node.wake([remote(3, 0)]);
    let mut client = node.client().await;
    let stop = async {
        node.until_held(1).await;
        node.stop();
    };
    let start = Instant::now();
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), stop);
    assert!(start.elapsed() < 2 * SECOND);
    assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (503, "stopping"));
}

#[tokio::test]
async fn a_stream_that_waits_for_a_moment_is_answered_as_if_it_had_not() {
    let (mut engine, node) = (Engine::start(), asleep().await);
    let mut client = node.client().await;
    let wake = async {
        node.until_held(1).await;
        node.wake([local(2, engine.address(), 0)]);
        let call = engine.call().await;
        // A replica that has been asked is waited for in silence, as ever.
        pass(3 * SECOND).await;
        call.answer_with(200, &[("content-type", SSE), ("x-engine", "a")], EVENT);
    };
    let (mut answer, ()) = tokio::join!(client.chat(), wake);
    assert_eq!((answer.header("x-engine"), answer.header("x-shoal-node")), ("a", node_id(2).to_string().as_str()));
    assert_eq!(answer.rest().await, (EVENT.to_owned(), true));
}

#[tokio::test]
async fn a_stream_that_waits_gives_signs_of_life_until_the_replica_answers() {
    let (mut engine, node) = (Engine::start(), asleep().await);
    let (_client, mut answer) = told(&node).await;
    pass(5 * SECOND).await;
    assert_eq!(answer.text().await, COMMENT);
    node.wake([local(2, engine.address(), 0)]);
    let call = engine.call().await;
    assert_eq!(node.demand().unwrap().held, 0);
    pass(5 * SECOND).await;
    assert_eq!(answer.text().await, COMMENT);
    let reply = call.begin(200, SSE);
    for event in [EVENT, "data: [DONE]\n\n"] {
        reply.send(event).await;
        assert_eq!(answer.text().await, event);
    }
    drop(reply);
    assert!(answer.chunk().await.is_none(), "a proper end");
}

#[tokio::test]
async fn a_held_stream_that_breaks_says_so() {
    let (mut engine, node) = (Engine::start(), asleep().await);
    node.ingress.set_routes(RoutingTable::new([without_resume(waking([]))]));
    let (_client, mut answer) = told(&node).await;
    node.wake([local(2, engine.address(), 0)]);
    let reply = engine.call().await.begin(200, SSE);
    reply.send("data: {}\n\n").await;
    assert_eq!(answer.text().await, "data: {}\n\n");
    reply.die().await;
    let error = last_words(&mut answer).await;
    assert_eq!((error["code"].as_str(), error["request_id"].is_string()), (Some("replica_lost"), true));
}

#[tokio::test]
async fn what_is_no_stream_ends_a_held_one_with_an_event() {
    let answers = [
        (400, JSON, "{\"error\": {\"message\": \"too long\",\n\"code\": \"context\"}}", "context"),
        (422, JSON, "{\"detail\": []}", "no_stream"),
        (200, JSON, "{\"choices\": []}", "no_stream"),
        (502, JSON, "{}", "replicas_failed"),
    ];
    for (status, content_type, body, code) in answers {
        let (mut engine, node) = (Engine::start(), asleep().await);
        let (_client, mut answer) = told(&node).await;
        node.wake([local(2, engine.address(), 0)]);
        engine.call().await.answer(status, content_type, body);
        assert_eq!(last_words(&mut answer).await["code"], code, "{status}");
    }
}

fn holding_for(hold: Duration) -> IngressConfig {
    let timeouts = Timeouts { hold, ..Timeouts::default() };
    IngressConfig { timeouts, ..IngressConfig::default() }
}

#[tokio::test]
async fn a_wait_has_an_end() {
    let node = asleep_with(holding_for(10 * SECOND)).await;
    let mut client = node.client().await;
    let wait = async {
        node.until_held(1).await;
        pass(10 * SECOND).await;
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wait);
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-reason")), (503, "no-ready-replica"));
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    let (code, message) = answer.error().await;
    assert_eq!((code.as_str(), message.contains("`llama` has become ready in the 10 s")), ("no_ready_replica", true));
    assert_eq!(node.demand().unwrap().held, 0);

    let (_client, mut answer) = told(&node).await;
    pass(9 * SECOND).await;
    let (rest, whole) = answer.rest().await;
    assert_eq!((error_of(rest.trim_start_matches(COMMENT))["code"].as_str(), whole), (Some("no_ready_replica"), false));
}

#[tokio::test]
async fn no_wait_is_longer_than_the_endpoints_timeout() {
    let node = asleep().await;
    node.ingress.set_routes(RoutingTable::new([Route { timeout: 3 * SECOND, ..waking([]) }]));
    let mut client = node.client().await;
    let wait = async {
        node.until_held(1).await;
        pass(3 * SECOND).await;
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wait);
    assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (503, "no_ready_replica"));
}

async fn is_refused(node: &Node, body: &'static str, what: &str) {
    let mut answer = node.client().await.post(CHAT, body).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-reason")), (503, "too-many-waiting"));
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    let (code, message) = answer.error().await;
    assert_eq!(code, "too_many_waiting");
    assert!(message.contains(what), "{message}");
}

/// Rule 9: everything is bounded.
#[tokio::test]
async fn so_many_requests_wait_and_no_more() {
    let limits = Limits { held: 2, ..Limits::default() };
    let node = asleep_with(IngressConfig { limits, ..IngressConfig::default() }).await;
    let queue = QueueBounds { size: 1, ..QueueBounds::default() };
    let endpoint = |name: &str| Route { endpoint: name.parse().unwrap(), revisions: Vec::new(), queue, ..waking([]) };
    node.ingress.set_routes(RoutingTable::new(["llama", "qwen", "phi"].map(endpoint)));
    let (mut first, mut second) = (node.client().await, node.client().await);
    let refused = async {
        node.until_held(1).await;
        is_refused(&node, REQUEST, "no replica of `llama` is ready, and 1 requests wait for one already").await;
        let held = async {
            while node.ingress.demands().len() < 2 {
                tokio::task::yield_now().await;
            }
            is_refused(&node, r#"{"model":"phi"}"#, "2 requests wait for replicas on this node").await;
        };
        tokio::select! {
            _ = second.post(CHAT, r#"{"model":"qwen"}"#) => panic!("answered"),
            () = held => {}
        }
    };
    tokio::select! {
        _ = first.post(CHAT, PLAIN) => panic!("answered"),
        () = refused => {}
    }
}

#[tokio::test]
async fn a_client_that_goes_away_waits_no_longer() {
    let node = asleep().await;
    for body in [PLAIN, REQUEST] {
        let mut client = node.client().await;
        tokio::select! {
            _ = client.post(CHAT, body) => panic!("answered"),
            () = node.until_held(1) => {}
        }
        drop(client);
        node.until_held(0).await;
    }
    drop(told(&node).await);
    node.until_held(0).await;
}

/// What a held request is told when `change` has been made: in its answer, or at the end of its stream.
async fn ends_with(status: u16, code: &str, change: impl Fn(&Node)) {
    let node = asleep().await;
    let mut client = node.client().await;
    let (_told, mut stream) = told(&node).await;
    let wait = async {
        node.until_held(2).await;
        change(&node);
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wait);
    assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (status, code));
    assert_eq!(last_words(&mut stream).await["code"], code);
}

#[tokio::test]
async fn nothing_waits_for_what_cannot_come() {
    ends_with(404, "model_not_found", |node| node.ingress.set_routes(RoutingTable::new([]))).await;
    ends_with(503, "no_ready_replica", |node| node.route([])).await;
    ends_with(503, "stopping", Node::stop).await;
}

#[tokio::test]
async fn waits_are_counted_however_they_end() {
    let (mut engine, node) = (Engine::start(), asleep_with(holding_for(10 * SECOND)).await);
    let mut registry = Registry::default();
    node.ingress.register_metrics(&mut registry);
    let shown = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    };
    let mut client = node.client().await;
    let wake = async {
        node.until_held(1).await;
        assert!(
            shown().contains(r#"shoal_ingress_requests_held{endpoint="llama",priority="normal"} 1"#),
            "{}",
            shown()
        );
        node.wake([local(2, engine.address(), 0)]);
        engine.call().await.answer(200, JSON, "{}");
    };
    tokio::join!(client.post(CHAT, PLAIN), wake).0.rest().await;
    node.wake(Vec::<Replica>::new());
    drop(told(&node).await);
    node.until_held(0).await;
    for line in [
        r#"shoal_ingress_requests_held{endpoint="llama",priority="normal"} 0"#,
        r#"shoal_ingress_held_requests_total{endpoint="llama",outcome="ready"} 1"#,
        r#"shoal_ingress_held_requests_total{endpoint="llama",outcome="cancelled"} 1"#,
        r#"shoal_ingress_held_seconds_count{endpoint="llama"} 2"#,
        r#"shoal_ingress_requests_total{endpoint="llama",code="2xx",place="local"} 1"#,
    ] {
        assert!(shown().contains(line), "{line} not in\n{}", shown());
    }
}
