//! While several revisions serve: who gets which request.

use shoal_ingress::{Replica, Route, RoutingTable};

use super::support::{CHAT, Engine, Node, PLAIN, local, node_id, revision, route_revision, soon, waking};

const JSON: &str = "application/json";
const OLD: &str = r#"{"model":"old"}"#;

/// A replica of node `number` that runs revision `of`.
fn replica(number: u8, engine: &Engine, of: u64) -> Replica {
    Replica { revision: revision(of), ..local(number, engine.address(), 0) }
}

/// `llama` at revision 2, model `new`, before that `old`; with these weights.
fn rolling([new, old]: [u8; 2], replicas: impl IntoIterator<Item = Replica>) -> RoutingTable {
    let revisions = vec![route_revision(2, "new", new), route_revision(1, "old", old)];
    RoutingTable::new([Route { revisions, ..waking(replicas) }])
}

/// Rule 10: not even where that model's only replica fails.
#[tokio::test]
async fn rule_10_a_model_is_never_answered_by_another_revision() {
    let (mut old, new) = (Engine::start(), Engine::start());
    let node = Node::start([]).await;
    node.ingress.set_routes(rolling([100, 0], [replica(2, &new, 2), replica(3, &old, 1)]));
    let mut client = node.client().await;
    for _ in 0..5 {
        let respond = async { old.call().await.answer(200, JSON, "{}") };
        let (mut answer, ()) = tokio::join!(client.post(CHAT, OLD), respond);
        answer.rest().await;
    }
    let (answer, ()) = tokio::join!(client.post(CHAT, OLD), async { old.call().await.answer(502, JSON, "{}") });
    assert_eq!(answer.status, 502);
    assert_eq!(new.connections(), 0);
}

/// Rule 10: a request that waits does not wait for just any replica.
#[tokio::test]
async fn rule_10_a_request_for_a_model_waits_for_a_replica_that_has_it() {
    let (mut old, new) = (Engine::start(), Engine::start());
    let node = Node::start([]).await;
    node.ingress.set_routes(rolling([50, 50], []));
    let mut client = node.client().await;
    let wake = async {
        node.until_held(1).await;
        node.ingress.set_routes(rolling([50, 50], [replica(2, &new, 2)]));
        tokio::task::yield_now().await;
        node.until_held(1).await;
        node.ingress.set_routes(rolling([50, 50], [replica(2, &new, 2), replica(3, &old, 1)]));
        old.call().await.answer(200, JSON, "{}");
    };
    let (answer, ()) = tokio::join!(client.post(CHAT, OLD), wake);
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-node")), (200, node_id(3).to_string().as_str()));
    assert_eq!(new.connections(), 0);
}

/// Rule 10: a model that nothing has any more is an error, also for those that wait for it.
#[tokio::test]
async fn rule_10_a_model_is_unknown_when_its_revision_is_gone() {
    let new = Engine::start();
    let node = Node::start([]).await;
    node.ingress.set_routes(rolling([50, 50], [replica(2, &new, 2)]));
    let mut client = node.client().await;
    let (listed, _) = client.get("/v1/models").await.rest().await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let known = |index: usize| (listed["data"][index]["id"].as_str(), listed["data"][index]["root"].as_str());
    assert_eq!(
        [known(0), known(1), known(2)],
        [(Some("llama"), Some("new")), (Some("new"), Some("new")), (Some("old"), Some("old"))]
    );
    let end = async {
        node.until_held(1).await;
        let revisions = vec![route_revision(2, "new", 100)];
        node.ingress.set_routes(RoutingTable::new([Route { revisions, ..waking([replica(2, &new, 2)]) }]));
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, OLD), end);
    assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (404, "model_not_found"));
    assert_eq!(client.post(CHAT, OLD).await.status, 404);
    assert_eq!(new.connections(), 0);
}

#[tokio::test]
async fn a_revision_without_weight_gets_what_nobody_else_can_take() {
    let (mut old, mut new) = (Engine::start(), Engine::start());
    let node = Node::start([]).await;
    node.ingress.set_routes(rolling([0, 100], [replica(2, &new, 2), replica(3, &old, 1)]));
    let mut client = node.client().await;
    for _ in 0..20 {
        let respond = async { old.call().await.answer(200, JSON, "{}") };
        let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), respond);
        answer.rest().await;
    }
    assert_eq!(new.connections(), 0);
    // Another revision may be tried where the first choice fails.
    let respond = async {
        drop(old.call().await);
        // A kept connection is tried twice.
        tokio::select! {
            call = old.call() => drop(call),
            call = new.call() => return call.answer(200, JSON, "{}"),
        }
        new.call().await.answer(200, JSON, "{}");
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, PLAIN), respond);
    assert_eq!(answer.header("x-shoal-node"), node_id(2).to_string());
    answer.rest().await;
    node.ingress.set_routes(rolling([0, 100], [replica(2, &new, 2)]));
    let respond = async { new.call().await.answer(200, JSON, "{}") };
    assert_eq!(soon("an answer", async { tokio::join!(client.post(CHAT, PLAIN), respond).0 }).await.status, 200);
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let (mut old, mut new) = (Engine::start(), Engine::start());
    let node = Node::start([]).await;
    node.ingress.set_routes(rolling([50, 50], [replica(2, &new, 2), replica(3, &old, 1)]));
    let mut client = node.client().await;
    let mut served = [0, 0];
    // That one of them gets none of 60 happens once in 10^18 times.
    for _ in 0..60 {
        let respond = async {
            tokio::select! {
                call = old.call() => (0, call.answer(200, JSON, "{}")),
                call = new.call() => (1, call.answer(200, JSON, "{}")),
            }
        };
        let (mut answer, (which, ())) = tokio::join!(client.post(CHAT, PLAIN), respond);
        answer.rest().await;
        served[which] += 1;
    }
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
}
