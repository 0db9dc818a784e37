//! Clients that speak TLS.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use shoal_ingress::{IngressConfig, ServerTls, Timeouts, TlsFiles};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName},
        version::{TLS12, TLS13},
    },
};

use super::support::{CHAT, Client, Engine, Http2Client, Node, REQUEST, SSE, local, pass, raw, soon};

/// A certificate for `localhost` and its key, in files.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> (Self, CertificateDer<'static>) {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        let certificate = files.renew();
        (files, certificate)
    }

    fn paths(&self) -> TlsFiles {
        TlsFiles { cert: self.directory.path().join("cert.pem"), key: self.directory.path().join("key.pem") }
    }

    /// Puts a new certificate there.
    fn renew(&self) -> CertificateDer<'static> {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(self.paths().cert, certified.cert.pem()).unwrap();
        fs::write(self.paths().key, certified.signing_key.serialize_pem()).unwrap();
        certified.cert.der().clone()
    }

    async fn config(&self, timeouts: Timeouts) -> IngressConfig {
        let tls = Some(ServerTls::open(self.paths()).await.unwrap());
        IngressConfig { tls, timeouts, ..IngressConfig::default() }
    }
}

/// How a client that trusts `certificate` is configured, and offers these protocols above TLS.
fn trusting(certificate: &CertificateDer<'static>, protocols: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_protocol_versions(&[&TLS13]);
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    soon("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

#[tokio::test]
async fn clients_get_the_protocol_that_they_ask_for() {
    let mut engine = Engine::start();
    let (files, certificate) = Files::new();
    let node = Node::start_with(files.config(Timeouts::default()).await, [local(1, engine.address(), 0)]).await;
    for (offered, agreed) in
        [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let stream = connect(node.address, trusting(&certificate, offered)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        let respond = async { engine.call().await.answer(200, "application/json", "{\"choices\":[]}") };
        let ask = async {
            if agreed == Some(b"h2") {
                let client = Http2Client::over(stream).await;
                client.chat().await.rest().await
            } else {
                let mut client = Client::over(stream).await;
                client.chat().await.rest().await
            }
        };
        assert_eq!(tokio::join!(ask, respond).0, ("{\"choices\":[]}".to_owned(), true));
    }
    assert!(connect(node.address, trusting(&certificate, &["spdy/3"])).await.is_err());
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_spoken() {
    let (files, certificate) = Files::new();
    let node = Node::start_with(files.config(Timeouts::default()).await, []).await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let builder = ClientConfig::builder_with_protocol_versions(&[&TLS12]);
    let error = connect(node.address, builder.with_root_certificates(roots).with_no_client_auth()).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
}

#[tokio::test]
async fn a_client_without_tls_is_told_so() {
    let (files, _) = Files::new();
    let node = Node::start_with(files.config(Timeouts::default()).await, []).await;
    for request in ["GET /livez HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = raw(node.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("https://\n"), "{answer}");
    }
}

/// Rule 9: everything is bounded.
#[tokio::test]
async fn a_handshake_that_does_not_come_ends_the_connection() {
    let (files, _) = Files::new();
    let timeouts = Timeouts { handshake: Duration::from_millis(50), ..Timeouts::default() };
    let node = Node::start_with(files.config(timeouts).await, []).await;
    for begun in [&b""[..], &[22, 3, 1]] {
        raw(node.address, begun).await;
    }
}

/// Rule 9: everything is bounded. What TLS holds back is no different from what it has sent.
#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let mut engine = Engine::start();
    let (files, certificate) = Files::new();
    let timeouts = Timeouts { stall: Duration::from_millis(200), ..Timeouts::default() };
    let node = Node::start_with(files.config(timeouts).await, [local(1, engine.address(), 0)]).await;
    let mut stream = connect(node.address, trusting(&certificate, &[])).await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", REQUEST.len());
    stream.write_all(format!("{head}{REQUEST}").as_bytes()).await.unwrap();
    let reply = engine.call().await.begin(200, SSE);
    let flood = async { while reply.try_send(format!("data: {}\n\n", "x".repeat(100_000))).await {} };
    soon("the answer to be given up", flood).await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_old_connections_stay() {
    let (files, first) = Files::new();
    // The connection says nothing for as many looks as it takes.
    let timeouts = Timeouts { head: Duration::from_secs(3_600), ..Timeouts::default() };
    let node = Node::start_with(files.config(timeouts).await, []).await;
    let client = Http2Client::over(connect(node.address, trusting(&first, &["h2"])).await.unwrap()).await;
    fs::write(files.paths().key, "broken").unwrap();
    pass(Duration::from_secs(6)).await;
    connect(node.address, trusting(&first, &[])).await.unwrap();
    let second = files.renew();
    // A look takes a thread some time, in which no other passes.
    let mut looks = 0;
    while connect(node.address, trusting(&second, &[])).await.is_err() {
        looks += 1;
        assert!(looks < 100, "the new certificate is not shown");
        pass(Duration::from_secs(6)).await;
    }
    assert!(connect(node.address, trusting(&first, &[])).await.is_err());
    assert_eq!(client.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_stop_ends_a_connection_whose_client_has_said_nothing() {
    let (files, _) = Files::new();
    let node = Node::start_with(files.config(Timeouts::default()).await, []).await;
    let mut silent = TcpStream::connect(node.address).await.unwrap();
    node.stop();
    let _ = soon("the connection to be closed", silent.read(&mut [0; 1])).await;
    node.stopped().await;
}
