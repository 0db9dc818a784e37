//! A client that sees what it gets, piece by piece.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{
        http1::{self, SendRequest},
        http2,
    },
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{CHAT, REQUEST, soon};

/// One connection. Dropped, it is closed.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    /// On a connection that is there, HTTP/1.1.
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Self { sender, _connection: tasks }
    }

    /// Asks `llama`.
    pub(crate) async fn chat(&mut self) -> Answer {
        self.post(CHAT, REQUEST).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Request::post(path).body(Full::new(body.into())).unwrap()).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn try_send(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        request.headers_mut().insert("host", "shoal".parse().unwrap());
        soon("the connection to be ready", self.sender.ready()).await?;
        let (parts, body) = soon("the head of an answer", self.sender.send_request(request)).await?.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// One HTTP/2 connection. Dropped, it is closed.
pub(crate) struct Http2Client {
    sender: http2::SendRequest<Full<Bytes>>,
    connection: JoinSet<()>,
}

impl Http2Client {
    /// Without TLS, and without asking before.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    /// On a connection that is there. An answer that is not read stops after 64 KiB, and keeps no other from coming.
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.initial_stream_window_size(64 << 10).initial_connection_window_size(1 << 20);
        let (sender, connection) = http.handshake(TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Self { sender, connection: tasks }
    }

    /// Asks `llama`.
    pub(crate) async fn chat(&self) -> Answer {
        self.send(Request::post(CHAT).body(Full::new(REQUEST.into())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn try_send(&self, mut request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        *request.uri_mut() = format!("http://shoal{}", request.uri()).parse().unwrap();
        let answer = self.sender.clone().send_request(request);
        let (parts, body) = soon("the head of an answer", answer).await?.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Until the other end has closed it.
    pub(crate) async fn closed(mut self) {
        soon("the connection to be closed", self.connection.join_next()).await;
    }
}

impl Answer {
    /// The next piece, `None` at the proper end.
    pub(crate) async fn chunk(&mut self) -> Option<hyper::Result<Bytes>> {
        let frame = soon("the next piece", self.body.frame()).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    /// All that is left, and what follows it.
    pub(crate) async fn rest_and_trailers(&mut self) -> (String, Option<HeaderMap>) {
        let (mut rest, mut trailers) = (Vec::new(), None);
        while let Some(frame) = soon("the next piece", self.body.frame()).await {
            match frame.unwrap().into_data() {
                Ok(data) => rest.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (String::from_utf8(rest).unwrap(), trailers)
    }

    /// The next piece as text.
    pub(crate) async fn text(&mut self) -> String {
        String::from_utf8(self.chunk().await.unwrap().unwrap().to_vec()).unwrap()
    }

    /// All that is left, and whether it ended properly.
    pub(crate) async fn rest(&mut self) -> (String, bool) {
        let mut rest = Vec::new();
        loop {
            match self.chunk().await {
                Some(Ok(chunk)) => rest.extend_from_slice(&chunk),
                Some(Err(_)) => return (String::from_utf8(rest).unwrap(), false),
                None => return (String::from_utf8(rest).unwrap(), true),
            }
        }
    }

    /// The error of an answer made by the ingress, which says whose it is: code and message.
    pub(crate) async fn error(&mut self) -> (String, String) {
        let (text, whole) = self.rest().await;
        assert!(whole, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"]["request_id"], self.header("x-request-id"), "{text}");
        let word = |name: &str| value["error"][name].as_str().unwrap().to_owned();
        (word("code"), word("message"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends `request` as it is and returns all that comes back.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the connection to end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
