//! An engine that does what the test says: it hands each request over and waits to be told.

use std::{
    convert::Infallible,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use shoal_types::EngineAddress;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::soon;

type Body = BoxBody<Bytes, io::Error>;

/// An engine on a Unix socket.
pub(crate) struct Engine {
    socket: PathBuf,
    calls: mpsc::Receiver<Call>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
    _dir: TempDir,
}

/// A request that has arrived and waits for its answer. Dropped, the engine dies before it answers.
pub(crate) struct Call {
    pub(crate) request: Request<Bytes>,
    answer: oneshot::Sender<Response<Body>>,
}

/// An answer that has begun. Dropped, it ends properly.
pub(crate) struct Reply {
    body: mpsc::Sender<io::Result<Bytes>>,
}

impl Engine {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, calls) = mpsc::channel(64);
        let connections = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, sender, Arc::clone(&connections)));
        Self { socket, calls, connections, _tasks: tasks, _dir: dir }
    }

    pub(crate) fn address(&self) -> EngineAddress {
        EngineAddress::Unix(self.socket.clone())
    }

    /// The next request.
    pub(crate) async fn call(&mut self) -> Call {
        soon("a request at the engine", self.calls.recv()).await.unwrap()
    }

    /// Whether a request has arrived that the test has not seen.
    pub(crate) fn has_call(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Connections that were ever made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: UnixListener, calls: mpsc::Sender<Call>, connections: Arc<AtomicUsize>) {
    let mut tasks = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        tasks.spawn(serve(stream, calls.clone()));
    }
}

/// Hands over what comes on one connection.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, calls: mpsc::Sender<Call>) {
    let service = service_fn(move |request| hand_over(request, calls.clone()));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn hand_over(
    request: Request<hyper::body::Incoming>,
    calls: mpsc::Sender<Call>,
) -> Result<Response<Body>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let (answer, answered) = oneshot::channel();
    calls.send(Call { request: Request::from_parts(parts, body), answer }).await.map_err(io::Error::other)?;
    answered.await.map_err(io::Error::other)
}

impl Call {
    /// Begins an answer.
    pub(crate) fn begin(self, status: u16, content_type: &str) -> Reply {
        let (body, chunks) = mpsc::channel::<io::Result<Bytes>>(1);
        let chunks = stream::unfold(chunks, |mut chunks| async move {
            let chunk = chunks.recv().await?;
            Some((chunk.map(Frame::data), chunks))
        });
        let response = Response::builder()
            .status(status)
            .header("content-type", content_type)
            .header("keep-alive", "timeout=5")
            .body(BoxBody::new(StreamBody::new(chunks)))
            .unwrap();
        assert!(self.answer.send(response).is_ok(), "the request was given up");
        Reply { body }
    }

    /// Answers at once.
    pub(crate) fn answer(self, status: u16, content_type: &str, body: &'static str) {
        self.answer_with(status, &[("content-type", content_type)], body);
    }

    /// Answers at once, with these headers.
    pub(crate) fn answer_with(self, status: u16, headers: &[(&str, &str)], body: &'static str) {
        let body = http_body_util::Full::new(Bytes::from_static(body.as_bytes()));
        let response =
            headers.iter().fold(Response::builder(), |response, (name, value)| response.header(*name, *value));
        let response = response.status(status).body(body.map_err(|never: Infallible| match never {}).boxed()).unwrap();
        assert!(self.answer.send(response).is_ok(), "the request was given up");
    }

    /// Until its connection is closed.
    pub(crate) async fn gone(mut self) {
        soon("the request to be given up", self.answer.closed()).await;
    }
}

impl Reply {
    pub(crate) async fn send(&self, chunk: impl Into<Bytes>) {
        assert!(self.body.send(Ok(chunk.into())).await.is_ok(), "the answer was given up");
    }

    /// Whether the answer has not been given up.
    pub(crate) async fn try_send(&self, chunk: impl Into<Bytes>) -> bool {
        self.body.send(Ok(chunk.into())).await.is_ok()
    }

    /// The engine dies in the middle.
    pub(crate) async fn die(self) {
        let _ = self.body.send(Err(io::Error::other("killed"))).await;
    }

    /// Until its connection is closed.
    pub(crate) async fn gone(self) {
        soon("the answer to be given up", self.body.closed()).await;
    }
}
