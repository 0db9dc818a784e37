//! A service that is no engine: on a TCP port, over TLS if the test wants that, and it does what the test says.

use std::{net::SocketAddr, sync::Arc};

use shoal_types::GatewayTarget;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::{Call, engine::serve, soon};

pub(crate) struct Provider {
    address: SocketAddr,
    host: &'static str,
    tls: bool,
    calls: mpsc::Receiver<Call>,
    _tasks: JoinSet<()>,
}

impl Provider {
    /// Without TLS.
    pub(crate) async fn start() -> Self {
        Self::listen("127.0.0.1", None).await
    }

    /// With a certificate for `localhost`, and how clients that trust it are configured.
    pub(crate) async fn start_tls() -> (Self, Arc<ClientConfig>) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        (Self::listen("localhost", Some(TlsAcceptor::from(Arc::new(server)))).await, Arc::new(client))
    }

    async fn listen(host: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        let is_tls = tls.is_some();
        tasks.spawn(async move {
            let mut tasks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(serve_maybe_tls(stream, tls.clone(), sender.clone()));
            }
        });
        Self { address, host, tls: is_tls, calls, _tasks: tasks }
    }

    /// How it is asked: as `big`, with a key.
    pub(crate) fn target(&self) -> GatewayTarget {
        GatewayTarget {
            tls: self.tls,
            host: self.host.to_owned(),
            port: self.address.port(),
            base: "/openai".to_owned(),
            key: Some("sk-ours".to_owned()),
            model: "big".to_owned(),
        }
    }

    /// The next request.
    pub(crate) async fn call(&mut self) -> Call {
        soon("a request at the provider", self.calls.recv()).await.unwrap()
    }

    /// Whether a request has arrived that the test has not seen.
    pub(crate) fn has_call(&self) -> bool {
        !self.calls.is_empty()
    }
}

async fn serve_maybe_tls(stream: TcpStream, tls: Option<TlsAcceptor>, calls: mpsc::Sender<Call>) {
    match tls {
        None => serve(stream, calls).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, calls).await;
            }
        }
    }
}
