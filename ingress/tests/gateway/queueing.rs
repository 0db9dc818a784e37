//! Replicas are given what they run at once; what is over it waits its turn, within bounds.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use shoal_ingress::{QueueBounds, Replica, Route, RoutingTable};
use tokio::{task::JoinSet, time::Instant};

use super::support::{
    Answer, CHAT, Call, Engine, Node, PLAIN, Peer, REQUEST, SSE, claim, local, node_id, pass, remote, route, soon,
    waking,
};

const JSON: &str = "application/json";
const EVENT: &str = "data: {\"choices\":[]}\n\n";
const SECOND: Duration = Duration::from_secs(1);

/// `llama` with these replicas, each of which is given `max` requests at once.
fn limited(max: u32, replicas: impl IntoIterator<Item = Replica>) -> Route {
    Route { max_inflight: Some(max), ..route(replicas) }
}

async fn node(route: Route) -> Node {
    let node = Node::start([]).await;
    node.ingress.set_routes(RoutingTable::new([route]));
    node
}

/// Clients that ask in the order in which they were told to, each once the one before waits or is served.
#[derive(Default)]
struct Crowd(JoinSet<(usize, u16, String)>);

impl Crowd {
    /// One more client, number `number`, that asks with these headers; `held` wait then.
    async fn asks(&mut self, node: &Node, number: usize, headers: &[(&'static str, &'static str)], held: u32) {
        let mut client = node.client().await;
        let request = headers.iter().fold(Request::post(CHAT), |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(PLAIN.into())).unwrap();
        self.0.spawn(async move {
            let mut answer = client.send(request).await;
            (number, answer.status.as_u16(), answer.rest().await.0)
        });
        node.until_held(held).await;
    }

    /// Who is answered next, and how.
    async fn next(&mut self) -> (usize, u16) {
        let (number, status, _) = soon("an answer", self.0.join_next()).await.unwrap().unwrap();
        (number, status)
    }
}

/// A client that has the only place of `node`, whose replica is `engine`.
async fn occupy(node: &Node, engine: &mut Engine) -> (Crowd, Call) {
    let mut crowd = Crowd::default();
    crowd.asks(node, 0, &[], 0).await;
    let call = engine.call().await;
    (crowd, call)
}

#[tokio::test]
async fn a_replica_gets_no_more_than_it_runs_and_the_rest_in_their_order() {
    let mut engine = Engine::start();
    let node = node(limited(2, [local(1, engine.address(), 0)])).await;
    let mut crowd = Crowd::default();
    for number in 0..5 {
        crowd.asks(&node, number, &[], u32::try_from(number.saturating_sub(1)).unwrap()).await;
    }
    let mut calls = vec![engine.call().await, engine.call().await];
    for number in 0..5 {
        assert!(node.ingress.inflight(claim(1)) <= 2);
        assert!(!engine.has_call());
        calls.remove(0).answer(200, JSON, "{}");
        assert_eq!(crowd.next().await, (number, 200));
        if number < 3 {
            calls.push(engine.call().await);
        }
    }
    assert_eq!(node.demand().unwrap().held, 0);
}

#[tokio::test]
async fn what_waits_is_demand() {
    let mut engine = Engine::start();
    let node = node(limited(1, [local(1, engine.address(), 0)])).await;
    let mut changed = node.ingress.demand_changed();
    let (_client, call) = occupy(&node, &mut engine).await;
    let mut crowd = Crowd::default();
    crowd.asks(&node, 1, &[], 1).await;
    let demand = node.demand().unwrap();
    assert_eq!((demand.inflight, demand.held), (1, 1));
    assert!(!changed.has_changed().unwrap(), "it serves: no replica is missing that must be told of at once");
    changed.mark_unchanged();
    drop(call);
}

#[tokio::test]
async fn what_is_less_urgent_waits_behind_what_is_more() {
    let mut engine = Engine::start();
    let node = node(limited(1, [local(1, engine.address(), 0)])).await;
    let (_client, call) = occupy(&node, &mut engine).await;
    let mut crowd = Crowd::default();
    crowd.asks(&node, 0, &[("x-shoal-priority", "low")], 1).await;
    // Nobody is more urgent than its key allows.
    crowd.asks(&node, 1, &[("x-shoal-priority", "high")], 2).await;
    crowd.asks(&node, 2, &[], 3).await;
    call.answer(200, JSON, "{}");
    for number in [1, 2, 0] {
        engine.call().await.answer(200, JSON, "{}");
        assert_eq!(crowd.next().await, (number, 200));
    }
    let odd = Request::post(CHAT).header("x-shoal-priority", "urgent").body(Full::new(PLAIN.into())).unwrap();
    let mut answer = node.client().await.send(odd).await;
    assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (400, "invalid_priority"));
}

async fn is_saturated(mut answer: Answer, reason: &str, what: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-reason")), (429, reason));
    assert!((1..=60).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
    let (code, message) = answer.error().await;
    assert_eq!((code.as_str(), message.contains(what)), ("saturated", true), "{message}");
}

/// Rule 9: everything is bounded.
#[tokio::test]
async fn a_full_queue_says_when_to_come_again() {
    let mut engine = Engine::start();
    let limited = limited(1, [local(1, engine.address(), 0)]);
    for size in [0, 2] {
        let queue = QueueBounds { size, ..QueueBounds::default() };
        let node = node(Route { queue, ..limited.clone() }).await;
        let (_client, _call) = occupy(&node, &mut engine).await;
        let mut crowd = Crowd::default();
        for number in 0..size {
            crowd.asks(&node, number, &[], u32::try_from(number + 1).unwrap()).await;
        }
        let answer = node.client().await.post(CHAT, PLAIN).await;
        let (reason, what) = if size == 0 { ("saturated", "no queue") } else { ("queue-full", "2 requests wait") };
        is_saturated(answer, reason, what).await;
        assert_eq!(node.demand().unwrap().held, u32::try_from(size).unwrap());
    }
}

#[tokio::test]
async fn a_more_urgent_one_takes_the_last_place_of_what_can_wait() {
    let mut engine = Engine::start();
    let queue = QueueBounds { size: 1, ..QueueBounds::default() };
    let node = node(Route { queue, ..limited(1, [local(1, engine.address(), 0)]) }).await;
    let (_client, _call) = occupy(&node, &mut engine).await;
    let low = Request::post(CHAT).header("x-shoal-priority", "low").body(Full::new(PLAIN.into())).unwrap();
    let mut client = node.client().await;
    let mut crowd = Crowd::default();
    let displace = async {
        node.until_held(1).await;
        crowd.asks(&node, 1, &[], 1).await;
    };
    let (answer, ()) = tokio::join!(client.send(low), displace);
    is_saturated(answer, "fair-share", "a greater claim").await;
}

#[tokio::test]
async fn a_wait_for_room_has_an_end() {
    let mut engine = Engine::start();
    let queue = QueueBounds { deadline: 10 * SECOND, ..QueueBounds::default() };
    let node = node(Route { queue, ..limited(1, [local(1, engine.address(), 0)]) }).await;
    let (_client, _call) = occupy(&node, &mut engine).await;
    let mut client = node.client().await;
    let wait = async {
        node.until_held(1).await;
        pass(9 * SECOND).await;
        assert_eq!(node.demand().unwrap().held, 1);
        pass(SECOND).await;
    };
    let (answer, ()) = tokio::join!(client.post(CHAT, PLAIN), wait);
    is_saturated(answer, "queue-deadline", "in the 10 s that the request waited").await;
    assert_eq!(node.demand().unwrap().held, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let mut engine = Engine::start();
    let queue = QueueBounds { size: 1, ..QueueBounds::default() };
    let node = node(Route { queue, ..limited(1, [local(1, engine.address(), 0)]) }).await;
    let (_client, call) = occupy(&node, &mut engine).await;
    let mut gone = node.client().await;
    tokio::select! {
        _ = gone.post(CHAT, PLAIN) => panic!("answered"),
        () = node.until_held(1) => {}
    }
    drop(gone);
    node.until_held(0).await;
    let mut crowd = Crowd::default();
    crowd.asks(&node, 1, &[], 1).await;
    call.answer(200, JSON, "{}");
    engine.call().await.answer(200, JSON, "{}");
    assert_eq!(crowd.next().await, (1, 200));
}

#[tokio::test]
async fn a_stream_that_waits_for_room_gives_signs_of_life() {
    let mut engine = Engine::start();
    let node = node(limited(1, [local(1, engine.address(), 0)])).await;
    let (_client, call) = occupy(&node, &mut engine).await;
    let mut client = node.client().await;
    let wait = async {
        node.until_held(1).await;
        pass(SECOND).await;
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, REQUEST), wait);
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, SSE));
    assert_eq!(answer.text().await, ": waiting for a replica of llama\n\n");
    call.answer(200, JSON, "{}");
    engine.call().await.begin(200, SSE).send(EVENT).await;
    assert_eq!(answer.text().await, EVENT);
}

#[tokio::test]
async fn a_replica_that_comes_is_given_as_many_as_it_runs_and_the_rest_wait_on() {
    let mut engine = Engine::start();
    let queue = QueueBounds { deadline: 5 * SECOND, ..QueueBounds::default() };
    let waking = |replicas: Vec<Replica>| Route { may_wake: true, queue, ..limited(2, replicas) };
    let node = node(waking(Vec::new())).await;
    let mut crowd = Crowd::default();
    for number in 0..3 {
        crowd.asks(&node, number, &[], u32::try_from(number + 1).unwrap()).await;
    }
    pass(6 * SECOND).await;
    assert_eq!(node.demand().unwrap().held, 3, "a cold start may take longer");
    node.ingress.set_routes(RoutingTable::new([waking(vec![local(1, engine.address(), 0)])]));
    let (first, second) = (engine.call().await, engine.call().await);
    assert_eq!(node.demand().unwrap().held, 1);
    // The cold start is over: from now on it waits for room, and only as long as one does for that.
    pass(5 * SECOND).await;
    assert_eq!(crowd.next().await, (2, 429));
    drop((first, second));
}

#[tokio::test]
async fn another_replica_takes_what_one_has_no_room_for() {
    let (mut full, mut free) = (Engine::start(), Engine::start());
    let node = node(limited(1, [local(1, full.address(), 0)])).await;
    let (_client, _call) = occupy(&node, &mut full).await;
    let mut crowd = Crowd::default();
    crowd.asks(&node, 0, &[], 1).await;
    node.ingress
        .set_routes(RoutingTable::new([limited(1, [local(1, full.address(), 0), local(2, free.address(), 9)])]));
    free.call().await.answer(200, JSON, "{}");
    assert_eq!(crowd.next().await, (0, 200));
}

/// Several nodes know of each other's requests only what the replica's node told a moment ago. It takes an eighth more
/// than the replica runs, at least one, and sends back what is over that: then it waits where it came from.
#[tokio::test]
async fn a_node_protects_its_engine_from_others() {
    let mut engine = Engine::start();
    let table = |replica| RoutingTable::new([limited(2, [replica])]);
    let node = node(limited(2, [local(1, engine.address(), 0)])).await;
    let others = [Node::start([]).await, Node::start([]).await, Node::start([]).await];
    for other in &others {
        other.ingress.set_routes(table(remote(1, 0)));
        other.mesh.put(node_id(1), Peer::Serves(node.ingress.clone()));
    }
    let mut crowd = Crowd::default();
    for (number, other) in others.iter().chain(&others).enumerate() {
        let mut client = other.client().await;
        crowd.0.spawn(async move {
            let mut answer = client.post(CHAT, PLAIN).await;
            (number, answer.status.as_u16(), answer.rest().await.0)
        });
    }
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(engine.call().await);
    }
    let waiting = async {
        while others.iter().map(|other| other.demand().map_or(0, |demand| demand.held)).sum::<u32>() < 3 {
            tokio::task::yield_now().await;
        }
    };
    soon("the rest to wait", waiting).await;
    assert!(!engine.has_call() && node.ingress.inflight(claim(1)) == 3);
    let start = Instant::now();
    for _ in 0..6 {
        if calls.is_empty() {
            calls.push(engine.call().await);
        }
        calls.remove(0).answer(200, JSON, "{}");
        assert_eq!(crowd.next().await.1, 200);
    }
    assert!(start.elapsed() < 20 * SECOND);
}

#[tokio::test]
async fn a_node_that_stops_keeps_nobody_waiting() {
    let mut engine = Engine::start();
    let node = node(Route { max_inflight: Some(1), ..waking([local(1, engine.address(), 0)]) }).await;
    let (_client, call) = occupy(&node, &mut engine).await;
    let mut client = node.client().await;
    let stop = async {
        node.until_held(1).await;
        node.stop();
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), stop);
    assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (503, "stopping"));
    drop(call);
}
