//! What an ingress says of what its clients ask for.

use std::time::Duration;

use shoal_ingress::{Route, RoutingTable};
use shoal_types::Outcome;

use super::support::{
    CHAT, Call, Engine, Node, PLAIN, SSE, claim, local, node_id, pass, remote, revision, route, soon, without_resume,
};

/// The last event of an answer.
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\n";
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn demand_is_what_is_asked_and_decays_to_nothing() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    assert_eq!(node.demand(), None);
    let mut client = node.client().await;
    let begin = async {
        let call = engine.call().await;
        pass(Duration::from_secs(2)).await;
        let reply = call.begin(200, SSE);
        reply.send(EVENT).await;
        reply
    };
    let (mut answer, reply) = tokio::join!(client.chat(), begin);
    for _ in 0..3 {
        reply.send(EVENT).await;
    }
    reply.send("data: [DONE]\n\n").await;
    let demand = node.demand().unwrap();
    assert_eq!((demand.inflight, demand.held, demand.arrivals, demand.hourly), (1, 0, 1, 1));
    drop(reply);
    answer.rest().await;
    soon("the replica to be drained", node.ingress.drained(claim(1))).await;
    let demand = node.demand().unwrap();
    assert_eq!((demand.inflight, demand.arrivals, demand.tokens), (0, 1, 4));
    let [Outcome { requests: 1, failed: 0, ttft, .. }] = &demand.outcomes[..] else { panic!("{demand:?}") };
    assert_eq!(ttft.count(), 1);
    assert!(ttft.quantile(0.5).unwrap() > Duration::from_secs(1), "{ttft:?}");
    pass(MINUTE).await;
    let demand = node.demand().unwrap();
    assert_eq!((demand.arrivals, demand.tokens, demand.hourly, demand.outcomes.len()), (0, 0, 1, 1));
    pass(5 * MINUTE).await;
    assert_eq!(node.demand().unwrap().outcomes, []);
    pass(60 * MINUTE).await;
    assert_eq!(node.demand(), None);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_not_asked_for() {
    let node = Node::start([]).await;
    assert_eq!(node.client().await.chat().await.status, 503);
    assert_eq!(node.demand().unwrap().arrivals, 1);
    node.ingress.set_routes(RoutingTable::new([]));
    assert_eq!(node.demand(), None);
    node.route([]);
    assert_eq!(node.demand(), None, "it is another one now");
}

#[tokio::test]
async fn requests_of_other_nodes_are_demand_there() {
    let mut engine = Engine::start();
    let node = Node::start([remote(2, 0)]).await;
    let peer = node.peer(2, [local(2, engine.address(), 0)]);
    let mut client = node.client().await;
    let respond = async { engine.call().await.answer(200, "application/json", "{}") };
    tokio::join!(client.post(CHAT, PLAIN), respond).0.rest().await;
    assert_eq!((node.demand().unwrap().arrivals, peer.demands().len()), (1, 0));
}

/// What is told of the only replica's revision after it has done `what` with a request: requests, failed, and times to
/// the first token.
async fn outcome(what: impl AsyncFn(Call)) -> Option<(u32, u32, u64)> {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    node.ingress.set_routes(RoutingTable::new([without_resume(route([local(2, engine.address(), 0)]))]));
    let mut client = node.client().await;
    let asked = async {
        client.chat().await.rest().await;
    };
    tokio::join!(asked, async { what(engine.call().await).await });
    soon("the replica to be drained", node.ingress.drained(claim(2))).await;
    let outcomes = node.demand().unwrap().outcomes;
    outcomes.first().map(|told| {
        assert_eq!(told.revision, revision(1));
        (told.requests, told.failed, told.ttft.count())
    })
}

#[tokio::test]
async fn an_answer_is_a_request_and_its_first_token_is_timed() {
    assert_eq!(outcome(async |call| call.begin(200, SSE).send(EVENT).await).await, Some((1, 0, 1)));
    assert_eq!(outcome(async |call| call.answer(200, "application/json", "{}")).await, Some((1, 0, 0)));
}

#[tokio::test]
async fn a_replica_that_gives_no_answer_has_failed() {
    for status in [500, 502, 504] {
        let failed = outcome(async |call| call.answer(status, "application/json", "{}")).await;
        assert_eq!(failed, Some((1, 1, 0)), "{status}");
    }
    assert_eq!(outcome(async |call| drop(call)).await, Some((1, 1, 0)));
    assert_eq!(outcome(async |call| call.begin(200, SSE).send("data: [DONE]\n\n").await).await, Some((1, 1, 0)));
    let broken = async |call: Call| {
        let reply = call.begin(200, SSE);
        reply.send("data: {}\n\n").await;
        reply.die().await;
    };
    assert_eq!(outcome(broken).await, Some((1, 1, 1)));
}

#[tokio::test]
async fn a_replica_that_has_no_room_or_a_client_that_errs_is_no_failure() {
    for status in [429, 503] {
        let mut engine = Engine::start();
        let node = Node::start([local(2, engine.address(), 0)]).await;
        let mut client = node.client().await;
        let full = async {
            engine.call().await.answer(status, "application/json", "{}");
            node.until_held(1).await;
        };
        tokio::select! {
            _ = client.chat() => panic!("answered"),
            () = full => {}
        }
        assert_eq!(node.demand().unwrap().outcomes, [], "{status}");
    }
    assert_eq!(outcome(async |call| call.answer(400, "application/json", "{}")).await, Some((1, 0, 0)));
}

#[tokio::test]
async fn a_node_that_does_not_serve_is_no_failure_and_one_that_is_not_there_is() {
    let node = Node::start([remote(2, 0)]).await;
    let _peer = node.peer(2, []);
    assert_eq!(node.client().await.chat().await.status, 503);
    assert_eq!(node.demand().unwrap().outcomes, []);
    node.route([remote(3, 0)]);
    assert_eq!(node.client().await.chat().await.status, 502);
    assert_eq!(node.demand().unwrap().outcomes[0].failed, 1);
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_failure_and_one_that_waits_in_vain_has_met_one() {
    let mut engine = Engine::start();
    let node = Node::start([]).await;
    node.ingress.set_routes(RoutingTable::new([Route {
        timeout: Duration::from_secs(5),
        ..route([local(2, engine.address(), 0)])
    }]));
    let mut client = node.client().await;
    let call = tokio::select! {
        _ = client.chat() => panic!("answered"),
        call = engine.call() => call,
    };
    drop(client);
    call.gone().await;
    soon("the replica to be drained", node.ingress.drained(claim(2))).await;
    let demand = node.demand().unwrap();
    assert_eq!((demand.inflight, demand.arrivals, demand.outcomes.len()), (0, 1, 0));
    let mut client = node.client().await;
    let wait = async {
        let call = engine.call().await;
        pass(Duration::from_secs(5)).await;
        call.gone().await;
    };
    let (answer, ()) = tokio::join!(client.chat(), wait);
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-node")), (504, node_id(1).to_string().as_str()));
    assert_eq!(node.demand().unwrap().outcomes[0].failed, 1);
}
