//! Either end of a tunnel, fed with what the other end of ours would not send.

use serde::Serialize;
use shoal_ingress::{RoutingTable, Tunnel};
use shoal_types::{ClaimId, wire::encode_prefixed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{
    Answer, Client, Engine, Node, SSE, claim, local, node_id, remote, route, soon, tunnel_pair, without_resume,
};

/// The frames of version 1, written down a second time, so that a change of theirs does not go unnoticed.
#[derive(Serialize)]
struct RequestHead {
    claim: ClaimId,
    method: &'static str,
    target: &'static str,
    headers: Vec<(String, Vec<u8>)>,
    time_left: u64,
    hop: u8,
}

#[derive(Serialize)]
enum Verdict {
    Accepted,
}

#[derive(Serialize)]
enum Outcome {
    Answer { status: u16, headers: Vec<(String, Vec<u8>)> },
}

#[derive(Serialize)]
struct Trailer(u32, Option<u32>, Option<u32>, Option<u8>);

/// A client in the middle of an answer that the test gives in place of node 2.
async fn begun(node: &Node) -> (Client, Answer, Tunnel) {
    let mut peer = node.mesh.script(node_id(2));
    let mut client = node.client().await;
    let begin = async {
        let mut tunnel = soon("a tunnel", peer.recv()).await.unwrap();
        let headers = vec![("content-type".to_owned(), SSE.as_bytes().to_vec())];
        tunnel.send.write_all(&encode_prefixed(&Verdict::Accepted).unwrap()).await.unwrap();
        tunnel.send.write_all(&encode_prefixed(&Outcome::Answer { status: 200, headers }).unwrap()).await.unwrap();
        tunnel.send.write_all(b"\0\0\0\x0adata: {}\n\n").await.unwrap();
        tunnel
    };
    let (mut answer, tunnel) = tokio::join!(client.chat(), begin);
    assert_eq!(answer.text().await, "data: {}\n\n");
    (client, answer, tunnel)
}

#[tokio::test]
async fn an_answer_is_whole_when_its_trailer_has_come() {
    let node = Node::start([remote(2, 0)]).await;
    let (_client, mut answer, mut tunnel) = begun(&node).await;
    let end = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n";
    tunnel.send.write_all(&u32::try_from(end.len()).unwrap().to_be_bytes()).await.unwrap();
    tunnel.send.write_all(end.as_bytes()).await.unwrap();
    assert_eq!(answer.text().await, end);
    tunnel.send.write_all(&[0; 4]).await.unwrap();
    tunnel.send.write_all(&encode_prefixed(&Trailer(1, None, Some(2), None)).unwrap()).await.unwrap();
    assert_eq!(answer.rest().await, (String::new(), true));
}

#[tokio::test]
async fn an_answer_that_just_ends_is_not_whole() {
    for tail in [b"".as_slice(), &[0, 0], &[0, 0, 0, 9, b'x'], &[0; 4], &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]] {
        let node = Node::start([]).await;
        node.ingress.set_routes(RoutingTable::new([without_resume(route([remote(2, 0)]))]));
        let (_client, mut answer, mut tunnel) = begun(&node).await;
        tunnel.send.write_all(tail).await.unwrap();
        tunnel.send.shutdown().await.unwrap();
        let (rest, whole) = answer.rest().await;
        assert!(!whole && rest.contains("replica_lost"), "{tail:?}: {rest:?}");
    }
}

/// Writes `bytes` and FIN to node 1 and returns all that it answers.
async fn answer_to(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let (mut near, far) = tunnel_pair();
    let serve = node.ingress.serve_tunnel(node_id(7), far);
    let exchange = async {
        let _ = near.send.write_all(bytes).await;
        let _ = near.send.shutdown().await;
        let mut answer = Vec::new();
        near.recv.read_to_end(&mut answer).await.unwrap();
        answer
    };
    soon("the far end to answer", async { tokio::join!(serve, exchange).1 }).await
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_without_touching_the_engine() {
    let engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let too_long = u32::MAX.to_be_bytes();
    let other_version = [0, 0, 0, 2, 99, 0];
    for bytes in [&too_long[..], &other_version[..], b"\0\0\0\x03\x01xx", b"", b"GET / HTTP/1.1\r\n\r\n"] {
        let answer = answer_to(&node, bytes).await;
        // One frame of the present version, and its end.
        assert_eq!(answer.get(4), Some(&1), "{bytes:?}");
        assert_eq!(answer.len(), 4 + usize::from(answer[3]), "{bytes:?}");
    }
    assert_eq!(engine.connections(), 0);
    assert_eq!(node.ingress.inflight(claim(1)), 0);
}

/// The node that has sent it waits for that no longer than a moment, and would go elsewhere.
#[tokio::test]
async fn a_request_is_said_to_be_taken_while_its_engine_thinks() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    let (mut near, far) = tunnel_pair();
    let serve = node.ingress.serve_tunnel(node_id(7), far);
    let exchange = async {
        let (claim, headers) = (claim(1), Vec::new());
        let head = RequestHead { claim, method: "POST", target: "/v1/completions", headers, time_left: 60_000, hop: 1 };
        near.send.write_all(&encode_prefixed(&head).unwrap()).await.unwrap();
        near.send.write_all(b"{}").await.unwrap();
        near.send.shutdown().await.unwrap();
        let call = engine.call().await;
        let mut verdict = encode_prefixed(&Verdict::Accepted).unwrap();
        let expected = verdict.clone();
        verdict.fill(0xff);
        near.recv.read_exact(&mut verdict).await.unwrap();
        assert_eq!(verdict, expected);
        call.answer(200, "application/json", "an answer");
        let mut answer = Vec::new();
        near.recv.read_to_end(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("an answer"));
    };
    soon("the far end to answer", async { tokio::join!(serve, exchange) }).await;
}
