//! Metadata services on loopback, for tests.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinSet,
};

use super::url::MetadataUrl;

/// A request, without its body.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Status, headers and body.
pub(super) type Reply = (u16, Vec<(&'static str, String)>, String);

/// A reply without headers.
pub(super) fn reply(status: u16, body: impl Into<String>) -> Reply {
    (status, Vec::new(), body.into())
}

type Answer = Arc<dyn Fn(Asked) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A server on loopback; ends when dropped.
#[derive(Debug)]
pub(super) struct Loopback {
    pub(super) url: MetadataUrl,
    /// Everything that it was asked.
    pub(super) asked: watch::Receiver<Vec<Asked>>,
    _tasks: JoinSet<()>,
}

/// A port of which nobody listens yet.
pub(super) fn closed_port() -> (TcpSocket, MetadataUrl) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap()).parse().unwrap();
    (socket, url)
}

impl Loopback {
    /// Answers every request with `answer`.
    pub(super) fn serve<R>(answer: impl Fn(Asked) -> R + Send + Sync + 'static) -> Self
    where
        R: Future<Output = Reply> + Send + 'static,
    {
        Self::serve_on(closed_port().0, answer)
    }

    /// The same, on a port that was closed.
    pub(super) fn serve_on<R>(socket: TcpSocket, answer: impl Fn(Asked) -> R + Send + Sync + 'static) -> Self
    where
        R: Future<Output = Reply> + Send + 'static,
    {
        let listener = socket.listen(64).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (record, asked) = watch::channel(Vec::new());
        let answer: Answer = Arc::new(move |asked: Asked| {
            record.send_modify(|all| all.push(asked.clone()));
            Box::pin(answer(asked))
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, answer));
        Self { url, asked, _tasks: tasks }
    }
}

async fn accept(listener: TcpListener, answer: Answer) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = Arc::clone(&answer);
        let service = service_fn(move |request| respond(Arc::clone(&answer), request));
        connections.spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(answer: Answer, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, _) = request.into_parts();
    let asked = Asked { method: head.method, target: head.uri.to_string(), headers: head.headers };
    let (status, headers, body) = answer(asked).await;
    let response = Response::builder().status(status);
    let response = headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
    Ok(response.body(Full::new(body.into())).unwrap())
}
