//! A client that goes away is noticed at the engine.

use super::support::{Engine, Node, REQUEST, SSE, claim, local, remote, soon};

async fn is_noticed_while_it_waits(node: &Node, engine: &mut Engine) {
    let mut client = node.client().await;
    let call = tokio::select! {
        _ = client.chat() => panic!("answered"),
        call = engine.call() => call,
    };
    assert_eq!(call.request.body(), REQUEST);
    drop(client);
    call.gone().await;
}

async fn is_noticed_in_a_stream(node: &Node, engine: &mut Engine) {
    let mut client = node.client().await;
    let begin = async {
        let reply = engine.call().await.begin(200, SSE);
        reply.send("data: {}\n\n").await;
        reply
    };
    let (answer, reply) = tokio::join!(client.chat(), begin);
    drop((answer, client));
    reply.gone().await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_at_a_local_engine() {
    let mut engine = Engine::start();
    let node = Node::start([local(1, engine.address(), 0)]).await;
    is_noticed_while_it_waits(&node, &mut engine).await;
    is_noticed_in_a_stream(&node, &mut engine).await;
    soon("the replica to be drained", node.ingress.drained(claim(1))).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_at_another_nodes_engine() {
    let mut engine = Engine::start();
    let node = Node::start([remote(2, 0)]).await;
    let peer = node.peer(2, [local(2, engine.address(), 0)]);
    is_noticed_while_it_waits(&node, &mut engine).await;
    is_noticed_in_a_stream(&node, &mut engine).await;
    soon("the replica to be drained here", node.ingress.drained(claim(2))).await;
    soon("the replica to be drained there", peer.drained(claim(2))).await;
}

/// Even while the request is still being sent to the other node.
#[tokio::test]
async fn a_client_that_goes_away_resets_an_upload() {
    use tokio::io::AsyncReadExt as _;
    let node = Node::start([remote(2, 0)]).await;
    let mut peer = node.mesh.script(super::support::node_id(2));
    let mut client = node.client().await;
    let body = format!(r#"{{"model":"llama","prompt":"{}"}}"#, "x".repeat(1 << 20));
    let mut tunnel = tokio::select! {
        _ = client.post("/v1/completions", body) => panic!("answered"),
        tunnel = soon("a tunnel", peer.recv()) => tunnel.unwrap(),
    };
    drop(client);
    soon("STOP", tunnel.send.cancelled()).await;
    let read = soon("RESET", tunnel.recv.read_to_end(&mut Vec::new())).await;
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
