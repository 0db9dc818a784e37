use std::{io::ErrorKind, sync::Arc, time::Duration};

use quinn::ConnectionError;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::{Builder, Runtime},
    time::{Instant, interval, sleep, timeout},
};

use super::{Node, PATIENCE, joined, mesh, pair, shut_down, soon};
use crate::{
    clock,
    identity::{Identity, RootKey, dns_name, testing::first_node},
    transport::{
        OpenError, StreamKind,
        dial::dial,
        error::CloseCode,
        link::Use,
        tls::{self, ALPN_MESH},
    },
};

/// Dials `to` whether there is a connection or not, as happens when both dial at once.
async fn dial_regardless(from: &Node, to: &Node) {
    let pool = from.pool();
    let name = dns_name(to.id, from.identity.mesh_id());
    let connection = dial(&pool.endpoint, &pool.client.load_full(), &name, &[to.address()]).await.unwrap();
    let certificate = tls::peer(&connection, &from.identity).unwrap();
    pool.attach(connection, certificate, from.id).unwrap();
}

async fn until_one_connection(node: &Node) {
    let deadline = Instant::now() + PATIENCE;
    while node.pool().endpoint.open_connections() != 1 {
        assert!(Instant::now() < deadline, "the duplicate connection stays");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_is_driven_where_its_transport_was_bound_whoever_asked_for_it() {
    let (_dir, a, mut b) = pair();
    let (transport, to) = (a.transport.clone(), b.id);
    let asked = tokio::task::spawn_blocking(move || {
        // Ends with this.
        let elsewhere = Builder::new_current_thread().enable_all().build().unwrap();
        elsewhere.block_on(transport.open(to, StreamKind::Admin))
    });
    let mut asked = soon(asked).await.unwrap().unwrap();
    soon(asked.send.write_all(b"a word")).await.unwrap();
    soon(asked.send.shutdown()).await.unwrap();
    let mut answers = b.next_stream().await.stream;
    let mut word = Vec::new();
    soon(answers.recv.read_to_end(&mut word)).await.unwrap();
    assert_eq!(word, b"a word");
    shut_down([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_connections_the_smaller_nodes_stays() {
    for smaller_first in [true, false] {
        let (_dir, mut nodes) = mesh(2);
        nodes.sort_by_key(|node| node.id);
        let (first, second) = if smaller_first { (&nodes[0], &nodes[1]) } else { (&nodes[1], &nodes[0]) };
        dial_regardless(first, second).await;
        second.until_connected(&[first.id]).await;
        dial_regardless(second, first).await;
        for (node, peer) in [(first, second), (second, first)] {
            until_one_connection(node).await;
            let (link, _) = node.pool().link(peer.id, Use::Stream).await.unwrap();
            assert_eq!((link.dialer, link.connection.close_reason()), (nodes[0].id, None));
        }
        shut_down(nodes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_the_connection_that_goes_are_finished_first() {
    for reader_is_smaller in [true, false] {
        let (_dir, mut nodes) = mesh(2);
        nodes.sort_by_key(|node| node.id);
        // The larger node dials, then the smaller.
        dial_regardless(&nodes[1], &nodes[0]).await;
        nodes[0].until_connected(&[nodes[1].id]).await;
        let (reader, writer) = if reader_is_smaller { (0, 1) } else { (1, 0) };
        let mut reading = nodes[reader].transport.open(nodes[writer].id, StreamKind::Forward).await.unwrap();
        reading.send.shutdown().await.unwrap();
        let mut writing = nodes[writer].next_stream().await.stream;
        dial_regardless(&nodes[0], &nodes[1]).await;

        // Nearly a window full: the writer has done its part long before the reader begins.
        let long = vec![7; 1_000_000];
        soon(writing.send.write_all(&long)).await.unwrap();
        writing.send.shutdown().await.unwrap();
        drop(writing);
        sleep(Duration::from_millis(300)).await;
        assert_eq!(nodes[0].pool().endpoint.open_connections(), 2, "the older one is in use at one end");
        let mut read = Vec::new();
        soon(reading.recv.read_to_end(&mut read)).await.unwrap();
        assert!(read == long);
        drop(reading);
        until_one_connection(&nodes[0]).await;
        until_one_connection(&nodes[1]).await;
        shut_down(nodes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_dial_each_other_at_once_end_with_one_connection() {
    let (_dir, mut a, mut b) = pair();
    let (there, back) =
        tokio::join!(a.transport.open(b.id, StreamKind::Probe), b.transport.open(a.id, StreamKind::Probe));
    drop((a.next_stream().await, b.next_stream().await, there.unwrap(), back.unwrap()));
    until_one_connection(&a).await;
    until_one_connection(&b).await;
    shut_down([a, b]).await;
}

/// A node on a runtime of its own. Stopped with it, it is dead: not one packet leaves it any more.
fn mortal(identity: Identity, start: impl FnOnce(Identity) -> Node) -> (Runtime, Node) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let node = {
        let _entered = runtime.enter();
        start(identity)
    };
    (runtime, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_died_is_silent_long_before_its_connection_ends() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), clock::now());
    let second = joined(&first, dir.path(), 1);
    let a = Node::start(first);
    let (runtime, b) = mortal(second, Node::start);
    a.knows(&b);
    let (id, silent_for) = (b.id, Duration::from_secs(4));
    // For no more than that: who waits for a peer hangs up on one that is silent.
    let (link, _) = a.pool().link(id, Use::Message).await.unwrap();
    let mut every = interval(Duration::from_millis(250));
    for _ in 0..20 {
        every.tick().await;
        assert!(a.transport.silent_for(silent_for).is_empty(), "connections are kept alive every second");
    }
    runtime.shutdown_background();
    while a.transport.silent_for(silent_for) != [id].into() {
        every.tick().await;
        assert_eq!(link.connection.close_reason(), None, "that it is silent shows while it is open");
    }
    drop(b);
    shut_down([a]).await;
}

/// Far longer than a peer may be silent that is waited for.
const QUIETLY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_died_is_missed_by_whoever_waits_for_it() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), clock::now());
    let second = joined(&first, dir.path(), 1);
    let a = Node::start_patient(first);
    let (runtime, mut b) = mortal(second, Node::start_patient);
    a.knows(&b);
    let mut there = a.transport.open(b.id, StreamKind::Admin).await.unwrap();
    let here = b.next_stream().await;
    assert!(timeout(QUIETLY, there.recv.read_u8()).await.is_err(), "keep-alives are enough");

    runtime.shutdown_background();
    let error = soon(there.recv.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("nothing came from the peer"), "{error}");
    a.until_connected(&[]).await;
    drop((b, here));
    shut_down([a]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_noticed_long_before_the_idle_timeout() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), clock::now());
    let identity = joined(&first, dir.path(), 1);
    let a = Node::start(first);

    // In a runtime of its own, so that it can die without a word.
    let (runtime, mut b) = mortal(identity.clone(), Node::start);
    a.knows(&b);
    let (id, address) = (b.id, b.address());
    let mut stream = a.transport.open(id, StreamKind::Probe).await.unwrap();
    // An answer, so that the handshake is over for both: before, there is no reset (RFC 9000, section 10.3).
    let mut answer = b.next_stream().await.stream;
    answer.send.write_all(b"yes").await.unwrap();
    soon(stream.recv.read_exact(&mut [0; 3])).await.unwrap();
    let (link, _) = a.pool().link(id, Use::Stream).await.unwrap();
    tokio::task::spawn_blocking(move || {
        runtime.shutdown_timeout(PATIENCE);
        drop((b, answer));
    })
    .await
    .unwrap();

    let restarted = Node::start_on(identity, address);
    // By a stateless reset, with the next packet: a second at most, where it would be six by the timeout.
    assert_eq!(soon(link.connection.closed()).await, ConnectionError::Reset);
    a.until_connected(&[]).await;
    assert!(soon(stream.recv.read_u8()).await.is_err());
    a.transport.open(id, StreamKind::Probe).await.unwrap();
    shut_down([a, restarted]).await;
}

#[tokio::test]
async fn a_revoked_node_is_refused_and_told_why() {
    let (_dir, mut a, b) = pair();
    a.admission.revoke(b.id);
    let error = a.transport.open(b.id, StreamKind::Probe).await.unwrap_err();
    assert_eq!(error, OpenError::Revoked { node: b.id });
    // The dialler's handshake ends before the other side can judge it.
    if let Ok(mut stream) = b.transport.open(a.id, StreamKind::Probe).await {
        assert!(soon(stream.recv.read_u8()).await.is_err());
    }
    b.until_connected(&[]).await;
    let error = b.transport.open(a.id, StreamKind::Probe).await.unwrap_err();
    assert!(matches!(&error, OpenError::Refused { reason, .. } if reason.contains("revoked")), "{error}");
    assert!(a.inbound.streams.try_recv().is_err());
    assert!(a.transport.connected().borrow().is_empty());
    shut_down([a, b]).await;
}

#[tokio::test]
async fn revoking_a_connected_node_breaks_its_streams() {
    let (_dir, a, b) = pair();
    let mut stream = b.transport.open(a.id, StreamKind::Forward).await.unwrap();
    a.until_connected(&[b.id]).await;
    a.admission.revoke(b.id);
    a.transport.disconnect(b.id);
    assert!(soon(stream.recv.read_u8()).await.is_err());
    a.until_connected(&[]).await;
    assert!(a.transport.peers().is_empty());
    shut_down([a, b]).await;
}

#[tokio::test]
async fn a_connection_that_began_under_a_root_that_was_replaced_is_not_taken_in() {
    let (dir, a, b) = pair();
    let old = RootKey::read(&dir.path().join("first/root.key")).unwrap();
    let succession = old.begin_succession(&dir.path().join("next"), clock::now()).unwrap();
    let pool = a.pool();
    let name = dns_name(b.id, a.identity.mesh_id());
    let connection = dial(&pool.endpoint, &pool.client.load_full(), &name, &[b.address()]).await.unwrap();
    let certificate = tls::peer(&connection, &a.identity).unwrap();
    // Whoever hangs up on peers of the old root does not see this one, which is not taken in yet.
    a.identity.succeed(&succession, clock::now()).unwrap();
    a.transport.take_roots().unwrap();
    let error = pool.attach(connection.clone(), certificate, a.id).unwrap_err();
    assert!(matches!(&error, OpenError::Lost { reason, .. } if reason.contains("replaced")), "{error}");
    assert!(connection.close_reason().is_some() && a.transport.connected().borrow().is_empty());
    b.until_connected(&[]).await;
    shut_down([a, b]).await;
}

#[tokio::test]
async fn who_is_kept_out_by_now_is_hung_up_on() {
    let (_dir, a, b) = pair();
    let mut stream = b.transport.open(a.id, StreamKind::Forward).await.unwrap();
    a.until_connected(&[b.id]).await;
    a.transport.expel();
    assert_eq!(a.transport.connected().borrow().len(), 1, "nobody is");
    a.admission.revoke(b.id);
    a.transport.expel();
    assert!(soon(stream.recv.read_u8()).await.is_err());
    a.until_connected(&[]).await;
    shut_down([a, b]).await;
}

#[tokio::test]
async fn a_node_of_another_mesh_is_no_peer() {
    let (_dir, a, _b) = pair();
    let dir = tempdir().unwrap();
    let stranger = Node::start(first_node(dir.path(), clock::now()));
    stranger.knows(&a);
    let error = stranger.transport.open(a.id, StreamKind::Probe).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");

    // Neither one that does not care who it talks to, nor one that shows no certificate.
    for identity in [Some(stranger.identity.clone()), None] {
        let closed = intrude(&stranger, &a, identity.as_deref()).await;
        match (&identity, &closed) {
            (Some(_), ConnectionError::ConnectionClosed(close)) => {
                assert!(close.to_string().contains("certificate") || close.to_string().contains("CA"), "{close}");
            }
            (None, error) => assert_eq!(CloseCode::of(error).unwrap().0, CloseCode::Unauthenticated),
            (Some(_), error) => panic!("{error}"),
        }
    }
    assert!(a.transport.connected().borrow().is_empty());
    shut_down([a, stranger]).await;
}

/// Connects to `to` with `identity` and without looking at its certificate. Returns how that ends.
async fn intrude(from: &Node, to: &Node, identity: Option<&Identity>) -> ConnectionError {
    let builder = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            rustls::sign::CertifiedKey::clone(&identity.credentials().tls),
        ))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_MESH.to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    match from.pool().endpoint.connect_with(config, to.address(), "anybody").unwrap().await {
        Ok(connection) => soon(connection.closed()).await,
        Err(error) => error,
    }
}

#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[tokio::test]
async fn shutting_down_ends_all_tasks_and_is_seen_at_once() {
    let (_dir, a, b) = pair();
    a.transport.open(b.id, StreamKind::Probe).await.unwrap();
    b.until_connected(&[a.id]).await;
    let (link, _) = b.pool().link(a.id, Use::Stream).await.unwrap();
    a.transport.shutdown().await;
    assert!(a.pool().tasks.is_empty());
    let closed = soon(link.connection.closed()).await;
    assert_eq!(CloseCode::of(&closed).map(|(code, _)| code), Some(CloseCode::Shutdown), "{closed}");
    b.until_connected(&[]).await;
    assert_eq!(a.transport.open(b.id, StreamKind::Probe).await.unwrap_err(), OpenError::Closed);
    shut_down([b]).await;
}
