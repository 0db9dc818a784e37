//! Which replica gets a request, by the policy of its endpoint.

use http::Request;
use http_body_util::Full;
use serde::Serialize;
use shoal_ingress::{Replica, Route, RoutingTable};
use shoal_types::{RoutingPolicy, wire::encode_prefixed};
use tokio::io::AsyncWriteExt as _;

use super::support::{CHAT, Engine, Node, PLAIN, SSE, local, node_id, remote, route, soon};

const REPLICAS: u8 = 4;

/// Engines, and their replicas, all on this node and with nothing to do.
fn fleet() -> (Vec<Engine>, Vec<Replica>) {
    let engines: Vec<Engine> = (0..REPLICAS).map(|_| Engine::start()).collect();
    let replicas = (2..).zip(&engines).map(|(number, engine)| local(number, engine.address(), 0)).collect();
    (engines, replicas)
}

async fn node(policy: RoutingPolicy, replicas: &[Replica]) -> Node {
    let node = Node::start([]).await;
    node.ingress.set_routes(RoutingTable::new([Route { policy, ..route(replicas.to_vec()) }]));
    node
}

/// Which of the engines `node` sends the request to.
async fn serves(node: &Node, engines: &mut [Engine], request: Request<Full<bytes::Bytes>>) -> usize {
    let mut client = node.client().await;
    let respond = async {
        let asked = soon("a request at an engine", async {
            loop {
                if let Some(asked) = engines.iter().position(Engine::has_call) {
                    return asked;
                }
                tokio::task::yield_now().await;
            }
        });
        let asked = asked.await;
        engines[asked].call().await.answer(200, "application/json", "{}");
        asked
    };
    let (mut answer, asked) = tokio::join!(client.send(request), respond);
    assert!(answer.rest().await.1);
    asked
}

fn request(body: String) -> Request<Full<bytes::Bytes>> {
    Request::post(CHAT).body(Full::new(body.into())).unwrap()
}

/// A conversation after so many turns.
fn conversation(number: u64, turns: usize) -> Request<Full<bytes::Bytes>> {
    let mut messages = format!(r#"{{"role":"system","content":"{}"}}"#, "You are a help. ".repeat(40));
    messages.push_str(&format!(r#",{{"role":"user","content":"{}"}}"#, format!("{number}?").repeat(200)));
    for turn in 0..turns {
        let answer = format!("{turn}!").repeat(100);
        messages
            .push_str(&format!(r#",{{"role":"assistant","content":"{answer}"}},{{"role":"user","content":"go on"}}"#));
    }
    request(format!(r#"{{"model":"llama","messages":[{messages}]}}"#))
}

/// No ingress has told another anything: it has died, and the next one does not know of it.
#[tokio::test]
async fn a_conversation_stays_with_its_replica_when_its_ingress_dies() {
    let (mut engines, replicas) = fleet();
    let mut homes = Vec::new();
    for number in 0..8 {
        let first = node(RoutingPolicy::Prefix, &replicas).await;
        let home = serves(&first, &mut engines, conversation(number, 0)).await;
        for turns in 1..4 {
            assert_eq!(serves(&first, &mut engines, conversation(number, turns)).await, home);
        }
        first.stop();
        first.stopped().await;
        let next = node(RoutingPolicy::Prefix, &replicas).await;
        for turns in 4..6 {
            assert_eq!(serves(&next, &mut engines, conversation(number, turns)).await, home);
        }
        homes.push(home);
    }
    homes.sort_unstable();
    homes.dedup();
    assert!(homes.len() > 1, "all conversations have the same home");
}

#[tokio::test]
async fn a_session_is_at_one_replica_whatever_is_asked_and_wherever() {
    let (mut engines, replicas) = fleet();
    let (one, other) = (node(RoutingPolicy::Session, &replicas).await, node(RoutingPolicy::Session, &replicas).await);
    for session in 0..4 {
        let of = |header: &str, number| {
            let mut request = conversation(number, 0);
            request
                .headers_mut()
                .insert(http::HeaderName::try_from(header).unwrap(), format!("session-{session}").parse().unwrap());
            request
        };
        let home = serves(&one, &mut engines, of("x-session-id", 1)).await;
        assert_eq!(serves(&one, &mut engines, of("x-session-token", 2)).await, home);
        assert_eq!(serves(&other, &mut engines, of("x-session-id", 3)).await, home);
        let body = format!(r#"{{"model":"llama","messages":[],"prompt_cache_key":"session-{session}"}}"#);
        assert_eq!(serves(&other, &mut engines, request(body)).await, home);
    }
}

#[tokio::test]
async fn replicas_take_turns() {
    let (mut engines, replicas) = fleet();
    let node = node(RoutingPolicy::RoundRobin, &replicas).await;
    for turn in 0..6 {
        if turn == 3 {
            // A new table does not begin again.
            let policy = RoutingPolicy::RoundRobin;
            node.ingress.set_routes(RoutingTable::new([Route { policy, ..route(replicas.clone()) }]));
        }
        assert_eq!(serves(&node, &mut engines, request(PLAIN.to_owned())).await, turn % usize::from(REPLICAS));
    }
}

#[derive(Serialize)]
enum Verdict {
    Accepted,
}

#[derive(Serialize)]
enum Outcome {
    Answer { status: u16, headers: Vec<(String, Vec<u8>)> },
}

/// A stream that goes on for minutes has told with its first token that its replica has much to do.
#[tokio::test]
async fn load_rides_back_with_the_head_of_an_answer_and_no_further() {
    let mut engine = Engine::start();
    let node = Node::start([remote(2, 0), remote(3, 10)]).await;
    node.peer(3, [local(3, engine.address(), 10)]);
    let mut peer = node.mesh.script(node_id(2));
    let (mut client, mut next) = (node.client().await, node.client().await);
    let begin = async {
        let mut tunnel = soon("a tunnel", peer.recv()).await.unwrap();
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let headers = vec![header("content-type", SSE), header("x-shoal-load", "50,50,2,90")];
        tunnel.send.write_all(&encode_prefixed(&Verdict::Accepted).unwrap()).await.unwrap();
        tunnel.send.write_all(&encode_prefixed(&Outcome::Answer { status: 200, headers }).unwrap()).await.unwrap();
        tunnel.send.write_all(b"\0\0\0\x0adata: {}\n\n").await.unwrap();
        tunnel
    };
    let (answer, _tunnel) = tokio::join!(client.chat(), begin);
    assert_eq!(answer.header("x-shoal-load"), "");
    let respond = async { engine.call().await.answer(200, "application/json", "{}") };
    let (answer, ()) = tokio::join!(next.chat(), respond);
    assert_eq!((answer.header("x-shoal-node"), answer.header("x-shoal-load")), (node_id(3).to_string().as_str(), ""));
}
