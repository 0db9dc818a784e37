//! Streams outlive their replicas: what a client gets is what it would have got.

use std::{net::SocketAddr, time::Duration};

use http::Request;
use http_body_util::Full;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use shoal_ingress::{Replica, Route, RoutingTable, StreamPolicy};
use tokio::task::JoinSet;

use super::support::{
    CHAT, Client, Engine, Faults, Flaky, Node, SSE, Sim, error_of, local, node_id, remote, route, soon,
};

const COMPLETIONS: &str = "/v1/completions";
/// About as long as the longest answers.
const LONGEST: usize = 25_000;

/// One request of many kinds.
fn request(random: &mut StdRng, number: usize) -> (&'static str, Value) {
    let mut body = json!({"model": "llama", "stream": true});
    let path = if random.random() { CHAT } else { COMPLETIONS };
    let prompt = format!("Tell me \"{number}\"\n");
    if path == CHAT {
        body["messages"] = json!([{"role": "user", "content": prompt}]);
    } else {
        body["prompt"] = prompt.into();
        body["max_tokens"] = 200.into();
    }
    if random.random_bool(0.5) {
        body["stream_options"] = json!({"include_usage": true});
    }
    if random.random_bool(0.3) {
        body["max_tokens"] = random.random_range(1..100).into();
    } else if body["stream_options"].is_null() {
        body["stop"] = json!(["of fish", "tide over"]);
    }
    (path, body)
}

/// The whole stream, without its comments, and how often it was resumed.
async fn stream(address: SocketAddr, id: &str, path: &str, body: &Value) -> (String, usize, bool) {
    let mut client = Client::connect(address).await;
    let request = Request::post(path).header("x-request-id", id).body(Full::from(body.to_string())).unwrap();
    let mut answer = client.send(request).await;
    let (text, whole) = answer.rest().await;
    assert_eq!(answer.status, 200, "{text}");
    let resumed = text.matches(": resumed on ").count();
    let events = text.split_inclusive("\n\n").filter(|event| !event.starts_with(':')).collect();
    (events, resumed, whole)
}

/// `stream` with the time at which it was created left out: a second may pass between two of them.
fn timeless(stream: &str) -> String {
    let created = stream.find("\"created\":").unwrap() + 10;
    let end = created + stream[created..].find(|byte: char| !byte.is_ascii_digit()).unwrap();
    stream.replace(&format!("\"created\":{}", &stream[created..end]), "\"created\":0")
}

/// Sends `count` requests to `node`, many at once, and compares what comes with what `sound` gives. Returns how many
/// streams were resumed, and how often.
async fn all_are_as_if_nothing_had_happened(node: &Node, sound: &Node, count: usize, seed: u64) -> (usize, usize) {
    const AT_ONCE: usize = 20;
    let (mut tasks, mut resumed) = (JoinSet::new(), Vec::new());
    for number in 0..count {
        let (flaky, sound) = (node.address, sound.address);
        tasks.spawn(async move {
            let (path, body) = request(&mut StdRng::seed_from_u64(seed + number as u64), number);
            let id = format!("r-{number}");
            let (expected, _, _) = stream(sound, &id, path, &body).await;
            let (got, resumed, whole) = stream(flaky, &id, path, &body).await;
            assert!(whole && got.ends_with("data: [DONE]\n\n"), "{body}: {got}");
            assert_eq!(timeless(&got), timeless(&expected), "{body}");
            resumed
        });
        if tasks.len() >= AT_ONCE {
            resumed.push(tasks.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(done) = tasks.join_next().await {
        resumed.push(done.unwrap());
    }
    (resumed.iter().filter(|times| **times > 0).count(), resumed.iter().sum())
}

/// Replicas die at random bytes of 500 streams, between events and within them: each joined stream equals the
/// uninterrupted one byte for byte, its usage included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_outlive_their_replicas() {
    let sim = Sim::start(Duration::from_micros(200)).await;
    let sound = Node::start([local(2, sim.address(), 0)]).await;
    let faults = Faults::new(7, LONGEST);
    let flaky = [2, 3, 4].map(|number| (number, Flaky::start(&sim, faults.clone())));
    // Two on this node, the third on another one.
    let node = Node::start([local(2, flaky[0].1.address(), 0), local(3, flaky[1].1.address(), 0), remote(4, 0)]).await;
    let _peer = node.peer(4, [local(4, flaky[2].1.address(), 0)]);
    let (streams, times) = all_are_as_if_nothing_had_happened(&node, &sound, 500, 1).await;
    assert!(
        streams > 150 && times > streams,
        "{streams} streams were resumed {times} times of {} cuts",
        faults.count()
    );
}

/// The same where it is the connection between two nodes that breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_outlive_the_connection_to_their_node() {
    let sim = Sim::start(Duration::from_micros(200)).await;
    let sound = Node::start([local(2, sim.address(), 0)]).await;
    let node = Node::start([remote(2, 0), remote(3, 0), local(4, sim.address(), 500)]).await;
    let _peers = [2, 3].map(|number| node.peer(number, [local(number, sim.address(), 0)]));
    node.mesh.break_by(Faults::new(11, LONGEST));
    let (streams, _) = all_are_as_if_nothing_had_happened(&node, &sound, 240, 1_000).await;
    assert!(streams > 5, "{streams} streams were resumed");
}

/// An event of a chat with this text.
fn text(text: &str) -> String {
    format!("data: {}\n\n", json!({"id": "one", "created": 1, "choices": [{"index": 0, "delta": {"content": text}}]}))
}

/// A node with two engines that the test plays; the first one is asked first.
struct Two {
    node: Node,
    first: Engine,
    second: Engine,
}

impl Two {
    async fn start(streams: StreamPolicy) -> Self {
        let (first, second) = (Engine::start(), Engine::start());
        let node = Node::start([]).await;
        let replicas = [local(2, first.address(), 0), local(9, second.address(), 100)];
        node.ingress.set_routes(RoutingTable::new([Route { streams, ..route(replicas) }]));
        Self { node, first, second }
    }
}

fn chat(more: Value) -> String {
    let mut body = json!({"model": "llama", "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

#[tokio::test]
async fn another_replica_is_asked_for_the_rest_and_the_client_is_told() {
    let mut two = Two::start(StreamPolicy::default()).await;
    let mut client = two.node.client().await;
    let begin = async {
        let reply = two.first.call().await.begin(200, SSE);
        reply.send(text("One") + &text(" two")).await;
        reply.die().await;
        let call = two.second.call().await;
        let asked: Value = serde_json::from_slice(call.request.body()).unwrap();
        assert_eq!(asked["messages"][1], json!({"role": "assistant", "content": "One two"}));
        assert_eq!((&asked["continue_final_message"], &asked["add_generation_prompt"]), (&json!(true), &json!(false)));
        let reply = call.begin(200, SSE);
        reply.send(text(" three").replace("one", "other")).await;
        reply.send(END).await;
    };
    let request = Request::post(CHAT).header("te", "trailers").body(Full::from(chat(json!({})))).unwrap();
    let (mut answer, ()) = tokio::join!(client.send(request), begin);
    assert_eq!(answer.header("trailer"), "x-shoal-resumed");
    let (got, trailers) = answer.rest_and_trailers().await;
    let resumed = format!(": resumed on {}\n\n", node_id(9));
    assert_eq!(got, text("One") + &text(" two") + &resumed + &text(" three") + END);
    assert_eq!(trailers.unwrap()["x-shoal-resumed"], "1");
    let metrics = two.node.metrics();
    assert!(metrics.contains(r#"shoal_ingress_resumes_total{endpoint="llama",outcome="resumed"} 1"#), "{metrics}");
}

/// Its client is in the middle of it: it does not wait where others would.
#[tokio::test]
async fn the_rest_of_an_answer_does_not_wait_for_room() {
    let (mut first, mut second) = (Engine::start(), Engine::start());
    let node = Node::start([]).await;
    let limited = |replicas: Vec<Replica>| RoutingTable::new([Route { max_inflight: Some(1), ..route(replicas) }]);
    let other = local(9, second.address(), 0);
    node.ingress.set_routes(limited(vec![other.clone()]));
    let (mut occupant, mut client) = (node.client().await, node.client().await);
    let serve = async {
        let _occupied = second.call().await;
        node.ingress.set_routes(limited(vec![local(2, first.address(), 0), other]));
        let begin = async {
            let reply = first.call().await.begin(200, SSE);
            reply.send(text("One")).await;
            reply.die().await;
            second.call().await.begin(200, SSE).send(text(" two") + END).await;
        };
        let (mut answer, ()) = tokio::join!(client.post(CHAT, chat(json!({}))), begin);
        let (got, whole) = answer.rest().await;
        assert!(whole && got.contains(": resumed on ") && got.ends_with(END), "{got}");
    };
    tokio::select! {
        _ = occupant.chat() => panic!("it is answered by nobody"),
        () = serve => {}
    }
}

#[tokio::test]
async fn what_cannot_be_exact_ends_with_an_error_that_says_why() {
    let tool = json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "x"}]}}]});
    let cases = [
        (json!({"n": 2}), text("One"), "several answers"),
        (json!({"logprobs": true}), text("One"), "logprobs"),
        (json!({"response_format": {"type": "json_object"}}), text("{"), "enforced"),
        (json!({"tools": []}), format!("data: {tool}\n\n"), "tool call"),
    ];
    for (more, begun, why) in cases {
        let mut two = Two::start(StreamPolicy::default()).await;
        let mut client = two.node.client().await;
        let begin = async {
            let reply = two.first.call().await.begin(200, SSE);
            reply.send(begun.clone()).await;
            reply.die().await;
        };
        let (mut answer, ()) = tokio::join!(client.post(CHAT, chat(more)), begin);
        let (got, whole) = answer.rest().await;
        let error = error_of(got.strip_prefix(&begun).unwrap());
        assert!(!whole && error["code"] == "replica_lost", "{error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        assert!(!two.second.has_call());
    }
}

#[tokio::test]
async fn a_replica_that_falls_silent_or_talks_nonsense_is_replaced() {
    for nonsense in [None, Some("<html>\n\n"), Some("data: {\"error\":{\"code\":500}}\n\n"), Some("data: [DONE]\n\n")] {
        let stall = Duration::from_millis(if nonsense.is_none() { 300 } else { 60_000 });
        let mut two = Two::start(StreamPolicy { stall, ..StreamPolicy::default() }).await;
        let mut client = two.node.client().await;
        let begin = async {
            let reply = two.first.call().await.begin(200, SSE);
            reply.send(text("One")).await;
            if let Some(nonsense) = nonsense {
                reply.send(nonsense).await;
            }
            let rest = two.second.call().await.begin(200, SSE);
            rest.send(END).await;
            soon("the first to be given up", reply.gone()).await;
        };
        let (mut answer, ()) = tokio::join!(client.post(CHAT, chat(json!({}))), begin);
        let (got, whole) = answer.rest().await;
        assert!(whole && got.starts_with(&text("One")) && got.ends_with(END), "{nonsense:?}: {got}");
    }
}

/// Rule 10: the model never changes silently, neither to another one nor to one that would answer the beginning of an
/// answer instead of going on with it.
#[tokio::test]
async fn rule_10_no_other_model_goes_on() {
    for (model, continues_messages) in [("other/Model", true), ("meta/Llama-3", false)] {
        let (mut first, second) = (Engine::start(), Engine::start());
        let node = Node::start([]).await;
        let mut other = local(9, second.address(), 100);
        other.revision = super::support::revision(2);
        let mut route = route([local(2, first.address(), 0), other]);
        let revision = super::support::route_revision(2, model, 0);
        route.revisions.push(shoal_ingress::RouteRevision { continues_messages, ..revision });
        node.ingress.set_routes(RoutingTable::new([route]));
        let mut client = node.client().await;
        let begin = async {
            let reply = first.call().await.begin(200, SSE);
            reply.send(text("One")).await;
            reply.die().await;
            // The same one is the last resort.
            first.call().await.begin(200, SSE).send(END).await;
        };
        let (mut answer, ()) = tokio::join!(client.post(CHAT, chat(json!({}))), begin);
        assert!(answer.rest().await.1);
        assert!(!second.has_call());
    }
}

#[tokio::test]
async fn what_has_been_said_to_its_end_needs_no_other_replica() {
    let mut two = Two::start(StreamPolicy::default()).await;
    let mut client = two.node.client().await;
    let (finish, done) = END.split_at(END.find("data: [DONE]").unwrap());
    let begin = async {
        let reply = two.first.call().await.begin(200, SSE);
        reply.send(text("One") + finish).await;
        reply.die().await;
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, chat(json!({}))), begin);
    assert_eq!(answer.rest().await, (text("One") + finish + done, true));
    assert!(!two.second.has_call());
}

#[tokio::test]
async fn where_no_replica_is_left_the_client_is_told() {
    let mut two = Two::start(StreamPolicy::default()).await;
    let mut client = two.node.client().await;
    let node = &two.node;
    let begin = async {
        let reply = two.first.call().await.begin(200, SSE);
        reply.send(text("One")).await;
        node.route([]);
        reply.die().await;
    };
    let (mut answer, ()) = tokio::join!(client.post(CHAT, chat(json!({}))), begin);
    let (got, whole) = answer.rest().await;
    assert!(got.contains(": looking for another replica\n\n"), "{got}");
    let error = error_of(&got[got.rfind("data: ").unwrap()..]);
    assert_eq!((error["code"].as_str(), whole), (Some("replica_lost"), false));
}
