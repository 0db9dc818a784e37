//! What is told of single requests: who was considered, what came of it, and by which ids it is found elsewhere.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use shoal_ingress::{Hop, IngressConfig, Observer, Outcome, RequestRecord, Telling, Tokens};
use shoal_types::UnixMillis;

use super::support::{CHAT, Engine, Node, PLAIN, REQUEST, SSE, claim, local, node_id, remote, soon};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const USAGE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":2,\"total_tokens\":13}}\n\n";

/// Remembers all that it hears.
#[derive(Debug, Default)]
struct Ears {
    requests: Mutex<Vec<Arc<RequestRecord>>>,
    hops: Mutex<Vec<Hop>>,
}

impl Observer for Ears {
    fn request(&self, record: &Arc<RequestRecord>) {
        self.requests.lock().unwrap().push(Arc::clone(record));
    }

    fn hop(&self, hop: Hop) {
        self.hops.lock().unwrap().push(hop);
    }
}

fn traced(ears: &Arc<Ears>, sample: f64) -> IngressConfig {
    let observer = Some(Arc::clone(ears) as Arc<dyn Observer>);
    let clock = || UnixMillis::from_millis(1_700_000_000_000);
    IngressConfig { telling: Telling { clock, traces: true, sample, observer }, ..IngressConfig::default() }
}

fn with_headers(headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let request = headers.iter().fold(Request::post(CHAT), |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(REQUEST.into())).unwrap()
}

/// The record of the only request with this id, once its account is closed.
async fn record(node: &Node, id: &str) -> Arc<RequestRecord> {
    let closed = async {
        loop {
            if let Some(record) = node.ingress.requests(id).pop() {
                return record;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("the request to be remembered", closed).await
}

#[tokio::test]
async fn a_request_is_remembered_with_all_that_was_considered() {
    let (mut dying, mut engine) = (Engine::start(), Engine::start());
    let node = Node::start([local(1, dying.address(), 0), local(2, engine.address(), 50)]).await;
    let mut client = node.client().await;
    let serve = async {
        drop(dying.call().await);
        let reply = engine.call().await.begin(200, SSE);
        reply.send("data: {\"a\":1}\n\n").await;
        reply.send("data: {\"b\":2}\n\n").await;
        reply.send(USAGE).await;
    };
    let (mut answer, ()) = tokio::join!(client.send(with_headers(&[("x-request-id", "one")])), serve);
    assert!(answer.rest().await.1);
    let record = record(&node, "one").await;
    assert_eq!((record.status, record.outcome, record.attempts()), (Some(200), Outcome::Finished, 2));
    assert_eq!(record.tokens, Tokens { input: 11, output: 2, cached: 0, exact: true });
    let [first, second] = record.decisions.as_slice() else { panic!("{:?}", record.decisions) };
    assert_eq!(first.chosen().map(|chosen| chosen.claim), Some(claim(1)));
    assert_eq!(first.failed.as_ref().map(|failed| failed.reason.as_str()), Some("engine"));
    let loads: Vec<_> = first.considered.iter().map(|replica| (replica.claim, replica.load)).collect();
    assert_eq!(loads, [(claim(1), Some(0)), (claim(2), Some(50))]);
    assert_eq!(second.chosen().map(|chosen| chosen.claim), Some(claim(2)));
    let reasons: Vec<_> = second.considered.iter().map(|replica| (replica.suspect, replica.tried)).collect();
    assert_eq!(reasons, [(true, true), (false, false)]);
    assert_eq!(record.answered(), Some(second));
    assert!(node.ingress.requests("two").is_empty());
}

#[tokio::test]
async fn a_request_that_nobody_served_is_remembered_too() {
    let node = Node::start([]).await;
    let mut client = node.client().await;
    assert_eq!(client.send(with_headers(&[("x-request-id", "one")])).await.status, 503);
    let refused = record(&node, "one").await;
    assert_eq!((refused.status, refused.error.as_deref()), (Some(503), Some("no_ready_replica")));
    assert_eq!(refused.decisions.len(), 1);
    assert_eq!((refused.decisions[0].chosen, refused.tokens), (None, Tokens::default()));
    let unknown =
        Request::post(CHAT).header("x-request-id", "two").body(Full::new("{\"model\":\"x\"}".into())).unwrap();
    assert_eq!(client.send(unknown).await.status, 404);
    let unknown = record(&node, "two").await;
    assert_eq!((&unknown.endpoint, unknown.error.as_deref()), (&None, Some("model_not_found")));
}

#[tokio::test]
async fn a_client_that_leaves_is_charged_with_what_it_got() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let begin = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send("data: {}\n\ndata: {}\n\n").await;
        reply
    };
    let (mut answer, reply) = tokio::join!(client.send(with_headers(&[("x-request-id", "one")])), begin);
    assert_eq!(answer.text().await, "data: {}\n\ndata: {}\n\n");
    drop((answer, client));
    reply.gone().await;
    let record = record(&node, "one").await;
    let guessed = u32::try_from(REQUEST.len() / 4).unwrap();
    assert_eq!(record.outcome, Outcome::Cancelled);
    assert_eq!(record.tokens, Tokens { input: guessed, output: 2, cached: 0, exact: false });
}

#[tokio::test]
async fn a_trace_goes_through_both_nodes_to_the_engine() {
    let mut engine = Engine::start();
    let (near, far) = (Arc::<Ears>::default(), Arc::<Ears>::default());
    let node = Node::start_with(traced(&near, 0.0), [remote(2, 0)]).await;
    let _peer = node.peer_with(2, traced(&far, 0.0), [local(2, engine.address(), 0)]);
    let mut client = node.client().await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let sent = with_headers(&[("x-request-id", "one"), ("traceparent", &parent)]);
    let serve = async {
        let call = engine.call().await;
        let sent = call.request.headers()["traceparent"].to_str().unwrap().to_owned();
        call.begin(200, SSE).send(USAGE).await;
        sent
    };
    let (mut answer, at_engine) = tokio::join!(client.send(sent), serve);
    assert!(answer.rest().await.1);
    let record = record(&node, "one").await;
    let server = record.trace.unwrap();
    assert_eq!(
        (server.trace.to_string().as_str(), server.parent.unwrap().to_string().as_str()),
        (TRACE, "b7ad6b7169203331")
    );
    let heard = soon("the far end to tell", async {
        while far.hops.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        far.hops.lock().unwrap()[0].clone()
    });
    let hop = heard.await;
    assert_eq!((hop.trace.trace, hop.from, hop.claim, &hop.error), (server.trace, node_id(2), claim(2), &None));
    assert_eq!(hop.trace.parent, record.decisions[0].span, "its parent is the attempt at the near end");
    assert_eq!(at_engine, format!("00-{TRACE}-{}-01", hop.trace.span));
    assert_eq!(near.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_recorded_goes_on_untouched() {
    let mut engine = Engine::start();
    let ears = Arc::<Ears>::default();
    let node = Node::start_with(traced(&ears, 1.0), [local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
    for (header, expected) in [(Some(parent.as_str()), Some(parent.as_str())), (None, None)] {
        let headers: Vec<_> = header.map(|parent| ("traceparent", parent)).into_iter().collect();
        let serve = async {
            let call = engine.call().await;
            let sent = call.request.headers().get("traceparent").map(|sent| sent.to_str().unwrap().to_owned());
            call.answer(200, "application/json", "{}");
            sent
        };
        let (mut answer, at_engine) = tokio::join!(client.send(with_headers(&headers)), serve);
        answer.rest().await;
        match expected {
            Some(expected) => assert_eq!(at_engine.as_deref(), Some(expected)),
            None => assert!(at_engine.is_some_and(|made| made.ends_with("-01")), "one of its own, as all are sampled"),
        }
    }
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let mut client = node.client().await;
    let serve = async {
        let call = engine.call().await;
        assert!(!call.request.headers().contains_key("traceparent"));
        call.answer(200, "application/json", "{}");
    };
    tokio::join!(client.post(CHAT, PLAIN), serve);
}
