//! Questions to an engine at the address that its status names, as the ingress asks them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use shoal_engine_supervisor::EngineStatus;
use shoal_types::{Backend, EngineAddress};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};

use super::node::NAME;

/// For a whole short answer, or the next piece of a long one.
const DEADLINE: Duration = Duration::from_secs(30);

/// An answer that is read while it comes.
pub(crate) struct Stream {
    pub(crate) status: u16,
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Stream {
    /// Asks for a stream of `tokens` and returns when the first event has come.
    pub(crate) async fn open(status: &EngineStatus, tokens: u32) -> Self {
        let messages = [json!({"role": "user", "content": "hello"})];
        let body =
            json!({"model": NAME, "messages": messages, "max_tokens": tokens, "ignore_eos": true, "stream": true});
        let mut stream = request(status, "POST", "/v1/chat/completions", &body).await;
        let first = stream.next().await.expect("an event");
        assert!(first.contains("data:"), "{first}");
        stream
    }

    async fn next(&mut self) -> Option<String> {
        let frame = timeout(DEADLINE, self.body.frame()).await.expect("more of the answer in time")?;
        Some(String::from_utf8_lossy(&frame.ok()?.into_data().unwrap_or_default()).into_owned())
    }

    /// All that comes until the end, clean or not.
    pub(crate) async fn rest(&mut self) -> String {
        let mut text = String::new();
        while let Some(piece) = self.next().await {
            text.push_str(&piece);
        }
        text
    }
}

/// Status and body of an answer to JSON.
pub(crate) async fn post(status: &EngineStatus, path: &str, body: &Value) -> (u16, String) {
    let mut answer = request(status, "POST", path, body).await;
    (answer.status, answer.rest().await)
}

/// Where the engine of that status listens.
pub(crate) fn address(status: &EngineStatus) -> &EngineAddress {
    match &status.backend {
        Backend::Engine(address) => address,
        Backend::Gateway(target) => panic!("{target} is no engine"),
    }
}

async fn request(status: &EngineStatus, method: &str, path: &str, body: &Value) -> Stream {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    match address(status) {
        EngineAddress::Unix(path) => send(UnixStream::connect(path).await.unwrap(), request).await,
        EngineAddress::Loopback(port) => send(TcpStream::connect(port).await.unwrap(), request).await,
    }
}

async fn send(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: Request<Full<Bytes>>) -> Stream {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut connections = JoinSet::new();
    connections.spawn(async move {
        // Its end is the answer's.
        let _ = connection.await;
    });
    let response = timeout(DEADLINE, sender.send_request(request)).await.expect("an answer in time").unwrap();
    Stream { status: response.status().as_u16(), body: response.into_body(), _connection: connections }
}
