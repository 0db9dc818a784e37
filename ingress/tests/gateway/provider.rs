//! Gateways: replicas that stand for a service which shoal does not run.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use shoal_ingress::{IngressConfig, Replica};
use shoal_types::GatewayTarget;

use super::support::{
    Answer, CHAT, Call, Client, Engine, Node, Provider, REQUEST, SSE, gateway, local, node_id, remote,
};

/// The last event of an answer.
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\n";

/// A request for `llama` with `headers`.
fn request(headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let request = headers.iter().fold(Request::post(CHAT), |request, (name, value)| request.header(*name, *value));
    request.body(Full::from(REQUEST)).unwrap()
}

/// A gateway of node 1 to `provider`.
fn to(provider: &Provider) -> Replica {
    gateway(1, provider.target(), 0)
}

/// What `client` gets for `request` while the provider does `what` with it.
async fn exchange(
    client: &mut Client,
    request: Request<Full<Bytes>>,
    provider: &mut Provider,
    what: impl FnOnce(Call),
) -> Answer {
    let respond = async { what(provider.call().await) };
    tokio::join!(client.send(request), respond).0
}

fn ok(call: Call) {
    call.answer(200, "application/json", "{\"model\":\"big\"}");
}

#[tokio::test]
async fn a_provider_is_asked_below_its_path_with_our_key_and_its_name_of_the_model() {
    let mut provider = Provider::start().await;
    let node = Node::start([to(&provider)]).await;
    let mut client = node.client().await;
    let host = format!("127.0.0.1:{}", provider.target().port);
    let sent = request(&[("authorization", "Bearer theirs"), ("x-api-key", "theirs"), ("traceparent", "00-1-2-01")]);
    let mut answer = exchange(&mut client, sent, &mut provider, |call| {
        let headers = call.request.headers();
        assert_eq!(call.request.uri(), "/openai/v1/chat/completions");
        assert_eq!(headers["host"], host);
        assert_eq!(headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer sk-ours"]);
        assert!(!format!("{headers:?}").contains("theirs"));
        assert_eq!(
            (&headers["x-shoal-hops"], &headers["traceparent"]),
            (&"1".parse().unwrap(), &"00-1-2-01".parse().unwrap())
        );
        assert_eq!(headers["content-length"], call.request.body().len().to_string());
        assert_eq!(call.request.body(), &REQUEST.replace("llama", "big"));
        call.answer_with(200, &[("set-cookie", "a=1"), ("alt-svc", "h3"), ("x-ratelimit", "9")], "{\"model\":\"big\"}");
    })
    .await;
    assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit")), (200, "9"));
    assert_eq!((answer.header("set-cookie"), answer.header("alt-svc")), ("", ""));
    assert_eq!(answer.rest().await, ("{\"model\":\"big\"}".to_owned(), true), "its answer is passed on as it is");
}

#[tokio::test]
async fn a_stream_of_a_provider_arrives_piece_by_piece_and_can_be_given_up() {
    let mut provider = Provider::start().await;
    let node = Node::start([to(&provider)]).await;
    let mut client = node.client().await;
    let begin = async {
        let reply = provider.call().await.begin(200, SSE);
        reply.send(EVENT).await;
        reply
    };
    let (mut answer, reply) = tokio::join!(client.chat(), begin);
    assert_eq!(answer.text().await, EVENT);
    reply.send("data: {}\n\n").await;
    assert_eq!(answer.text().await, "data: {}\n\n");
    drop((answer, client));
    reply.gone().await;
}

#[tokio::test]
async fn a_gateway_of_another_node_asks_with_that_nodes_key() {
    let mut provider = Provider::start().await;
    let node = Node::start([remote(2, 0)]).await;
    node.peer(2, [gateway(2, provider.target(), 0)]);
    let mut client = node.client().await;
    let sent = request(&[("authorization", "Bearer theirs"), ("x-shoal-hops", "1")]);
    let answer = exchange(&mut client, sent, &mut provider, |call| {
        assert_eq!(call.request.headers()["authorization"], "Bearer sk-ours");
        assert_eq!(call.request.headers()["x-shoal-hops"], "2");
        assert_eq!(call.request.body(), &REQUEST.replace("llama", "big"));
        ok(call);
    })
    .await;
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-node")), (200, node_id(2).to_string().as_str()));
}

#[tokio::test]
async fn an_engine_is_preferred_to_a_gateway_that_has_as_little_to_do() {
    let (provider, mut engine) = (Provider::start().await, Engine::start());
    let node = Node::start([to(&provider), local(2, engine.address(), 0)]).await;
    for _ in 0..8 {
        let mut client = node.client().await;
        let respond = async { engine.call().await.answer(200, "application/json", "{}") };
        let (answer, ()) = tokio::join!(client.chat(), respond);
        assert_eq!(answer.status, 200);
    }
    assert!(!provider.has_call());
}

#[tokio::test]
async fn another_replica_answers_when_a_provider_does_not() {
    for status in [401, 403, 301, 429, 502, 503, 504, 508] {
        let (mut provider, mut engine) = (Provider::start().await, Engine::start());
        let node = Node::start([to(&provider), local(2, engine.address(), 9)]).await;
        let mut client = node.client().await;
        let refuse = async { provider.call().await.answer_with(status, &[("location", "http://elsewhere/")], "{}") };
        let serve = async { engine.call().await.answer(200, "application/json", "{}") };
        let (answer, (), ()) = tokio::join!(client.chat(), refuse, serve);
        assert_eq!(answer.status, 200, "{status}");
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_this_nodes_fault_and_not_the_clients() {
    for is_remote in [false, true] {
        let mut provider = Provider::start().await;
        let node = Node::start([if is_remote { remote(2, 0) } else { to(&provider) }]).await;
        node.peer(2, [gateway(2, provider.target(), 0)]);
        let mut client = node.client().await;
        let mut answer = exchange(&mut client, request(&[]), &mut provider, |call| {
            let headers = [("www-authenticate", "Bearer realm=\"theirs\"")];
            call.answer_with(401, &headers, "{\"error\":{\"message\":\"Incorrect API key provided: sk-ours\"}}");
        })
        .await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (502, ""));
        let (code, message) = answer.error().await;
        assert_eq!(code, "replicas_failed");
        assert!(message.contains("does not accept this node's key and answers 401"), "{message}");
        assert!(!message.contains("sk-ours"), "{message}");
    }
}

#[tokio::test]
async fn a_provider_is_asked_over_tls_if_its_certificate_names_it() {
    let (mut provider, tls) = Provider::start_tls().await;
    let config = IngressConfig { gateway_tls: Some(tls), ..IngressConfig::default() };
    let node = Node::start_with(config.clone(), [to(&provider)]).await;
    let mut client = node.client().await;
    let answer = exchange(&mut client, request(&[]), &mut provider, ok).await;
    assert_eq!(answer.status, 200);

    let other_name = GatewayTarget { host: "127.0.0.1".to_owned(), ..provider.target() };
    let node = Node::start_with(config, [gateway(1, other_name, 0)]).await;
    let (_, message) = node.client().await.chat().await.error().await;
    assert!(message.contains("certificate"), "{message}");
}

#[tokio::test]
async fn a_provider_whose_certificate_nobody_vouches_for_is_not_told_the_key() {
    let (provider, _) = Provider::start_tls().await;
    let (_, other) = Provider::start_tls().await;
    for gateway_tls in [Some(other), None] {
        let node = Node::start_with(IngressConfig { gateway_tls, ..IngressConfig::default() }, [to(&provider)]).await;
        let mut answer = node.client().await.chat().await;
        assert_eq!(answer.status, 502);
        let (_, message) = answer.error().await;
        assert!(message.contains("certificate"), "{message}");
    }
    assert!(!provider.has_call());
}

/// Where `node` listens, as a gateway that calls the model as the node does.
fn to_node(node: &Node) -> Replica {
    let target = GatewayTarget {
        tls: false,
        host: "127.0.0.1".to_owned(),
        port: node.address.port(),
        base: String::new(),
        key: None,
        model: "llama".to_owned(),
    };
    gateway(1, target, 0)
}

#[tokio::test]
async fn gateways_that_lead_in_a_circle_end_it() {
    let (here, there) = (Node::start([]).await, Node::start([]).await);
    here.route([to_node(&there)]);
    there.route([to_node(&here)]);
    let mut answer = here.client().await.chat().await;
    assert_eq!((answer.status.as_u16(), answer.header("x-shoal-reason")), (508, "loop"));
    let (code, message) = answer.error().await;
    assert_eq!(code, "loop_detected");
    assert!(message.contains("in a circle"), "{message}");
}

/// Two meshes may help each other out: what has gone around as often as it may is served by an engine, or not at all.
#[tokio::test]
async fn a_request_that_has_gone_around_stays_where_an_engine_is() {
    let (provider, mut engine) = (Provider::start().await, Engine::start());
    let node = Node::start([to(&provider), local(2, engine.address(), 9)]).await;
    let mut client = node.client().await;
    let respond = async {
        let call = engine.call().await;
        assert_eq!(call.request.headers()["x-shoal-hops"], "3");
        call.answer(200, "application/json", "{}");
    };
    let (answer, ()) = tokio::join!(client.send(request(&[("x-shoal-hops", "3")])), respond);
    assert_eq!(answer.status, 200);
    assert!(!provider.has_call());
}

#[tokio::test]
async fn a_request_with_too_many_hops_is_refused_whatever_would_serve_it() {
    let engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    for hops in ["4", "255", "many"] {
        let mut answer = node.client().await.send(request(&[("x-shoal-hops", hops)])).await;
        assert_eq!((answer.status.as_u16(), answer.error().await.0.as_str()), (508, "loop_detected"), "{hops}");
    }
    assert_eq!(engine.connections(), 0);
}

/// Through a tunnel, too, the near end learns that it was the request's fault and not the replica's.
#[tokio::test]
async fn a_request_that_has_gone_around_leaves_a_gateway_of_another_node_unsuspected() {
    let mut provider = Provider::start().await;
    let node = Node::start([remote(2, 0)]).await;
    node.peer(2, [gateway(2, provider.target(), 0)]);
    let mut client = node.client().await;
    assert_eq!(client.send(request(&[("x-shoal-hops", "3")])).await.status, 508);
    // A second replica is there now, which would be preferred to a suspect.
    let engine = Engine::start();
    node.peer(3, [local(3, engine.address(), 0)]);
    node.route([remote(2, 0), remote(3, 9)]);
    let answer = exchange(&mut client, request(&[]), &mut provider, ok).await;
    assert_eq!(answer.status, 200);
}
