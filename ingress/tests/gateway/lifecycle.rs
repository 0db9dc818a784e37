//! Draining a replica, and stopping the ingress.

use std::time::Duration;

use futures_util::FutureExt as _;
use prometheus_client::{encoding::text::encode, registry::Registry};
use shoal_ingress::{IngressConfig, Timeouts};

use super::support::{Engine, Node, SSE, claim, local, remote, soon};

/// The last event of an answer.
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\n";

/// Rule 4: a replica that is taken out of the routes finishes what it has, from clients and from other nodes.
#[tokio::test]
async fn a_replica_is_drained_when_its_last_answer_has_ended() {
    let mut engine = Engine::start();
    let near = Node::start([remote(2, 0)]).await;
    let far = Node::start([local(2, engine.address(), 0)]).await;
    near.mesh.put(super::support::node_id(2), super::support::Peer::Serves(far.ingress.clone()));
    let (mut here, mut there) = (far.client().await, near.client().await);
    let begin = async {
        let replies = [engine.call().await.begin(200, SSE), engine.call().await.begin(200, SSE)];
        for reply in &replies {
            reply.send(EVENT).await;
        }
        replies
    };
    let (mut first, mut second, [a, b]) = tokio::join!(here.chat(), there.chat(), begin);
    assert_eq!((first.text().await, second.text().await), (EVENT.to_owned(), EVENT.to_owned()));
    assert_eq!(far.ingress.inflight(claim(2)), 2);
    assert_eq!(near.ingress.inflight(claim(2)), 1);
    far.route([]);
    let mut drained = std::pin::pin!(far.ingress.drained(claim(2)));
    assert!(drained.as_mut().now_or_never().is_none());
    // Nothing new gets in, from either side.
    assert_eq!(near.client().await.chat().await.status, 503);
    assert_eq!(far.client().await.chat().await.status, 503);
    for (reply, answer) in [(a, &mut first), (b, &mut second)] {
        assert!(drained.as_mut().now_or_never().is_none());
        reply.send(EVENT).await;
        drop(reply);
        assert!(answer.rest().await.1);
    }
    soon("the replica to be drained", drained).await;
    assert_eq!(far.ingress.inflight(claim(2)), 0);
}

/// As the daemon serves: on threads with connections to engines of their own, and on no more of them than it takes.
#[tokio::test]
async fn threads_for_clients_serve_them_and_end_with_the_ingress() {
    let mut engine = Engine::start();
    let config = IngressConfig { workers: 2, ..IngressConfig::default() };
    let node = Node::start_with(config, [local(1, engine.address(), 0)]).await;
    let mut clients = [node.client().await, node.client().await];
    for _ in 0..3 {
        for client in &mut clients {
            let respond = async { engine.call().await.answer(200, "application/json", "{}") };
            let (mut answer, ()) = tokio::join!(client.chat(), respond);
            assert_eq!(answer.rest().await, ("{}".to_owned(), true));
        }
    }
    assert!(engine.connections() <= 2, "one for each thread, which is used again");
    let ingress = node.ingress.clone();
    node.stop();
    soon("the ingress to end", node.stopped()).await;
    assert_eq!(ingress.inflight(claim(1)), 0);
}

#[tokio::test]
async fn a_stop_lets_answers_finish_and_takes_nothing_new() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let (mut client, mut idle) = (node.client().await, node.client().await);
    assert_eq!(idle.get("/readyz").await.status, 200);
    let begin = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send(EVENT).await;
        reply
    };
    let (mut answer, reply) = tokio::join!(client.chat(), begin);
    node.stop();
    let request = http::Request::get("/livez").body(Default::default()).unwrap();
    assert!(idle.try_send(request).await.is_err(), "an idle connection is closed");
    reply.send(EVENT).await;
    drop(reply);
    assert_eq!(answer.rest().await, (EVENT.repeat(2), true));
    node.stopped().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let (mut engine, mut other) = (Engine::start(), Engine::start());
    let timeouts = Timeouts { stop: Duration::from_millis(50), ..Timeouts::default() };
    let config = IngressConfig { timeouts, ..IngressConfig::default() };
    let far = Node::start_with(config, [local(2, engine.address(), 0)]).await;
    let near = Node::start([remote(2, 0), local(9, other.address(), 100)]).await;
    near.mesh.put(super::support::node_id(2), super::support::Peer::Serves(far.ingress.clone()));
    let (mut here, mut there) = (far.client().await, near.client().await);
    let calls = async { [engine.call().await, engine.call().await] };
    let stop = async {
        let calls = calls.await;
        far.stop();
        for call in calls {
            call.gone().await;
        }
        // The near node has another replica to go to.
        other.call().await.answer(200, "application/json", "{}");
    };
    let here_chat =
        here.try_send(http::Request::post(super::support::CHAT).body(super::support::REQUEST.into()).unwrap());
    let (cut, answered, ()) = tokio::join!(here_chat, there.chat(), stop);
    assert!(cut.is_err());
    assert_eq!(answered.status, 200);
    far.stopped().await;
}

#[tokio::test]
async fn requests_are_counted_however_they_end() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut registry = Registry::default();
    node.ingress.register_metrics(&mut registry);
    let mut client = node.client().await;
    let (mut answer, ()) = tokio::join!(client.chat(), async { engine.call().await.begin(200, SSE).send(EVENT).await });
    answer.rest().await;
    let (answer, reply) = tokio::join!(client.chat(), async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send(EVENT).await;
        reply
    });
    drop((answer, client));
    reply.gone().await;
    soon("the account to be closed", node.ingress.drained(claim(1))).await;
    let mut client = node.client().await;
    let (answer, ()) = tokio::join!(client.chat(), async { drop(engine.call().await) });
    assert_eq!(answer.status, 502);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        r#"shoal_ingress_requests_total{endpoint="llama",code="2xx",place="local"} 1"#,
        r#"shoal_ingress_requests_total{endpoint="llama",code="cancelled",place="local"} 1"#,
        r#"shoal_ingress_requests_total{endpoint="llama",code="5xx",place="none"} 1"#,
        r#"shoal_ingress_failed_attempts_total{reason="engine"} 1"#,
        r#"shoal_ingress_requests_in_flight{endpoint="llama"} 0"#,
        r#"shoal_ingress_first_byte_seconds_count{endpoint="llama",stream="true"} 2"#,
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}
