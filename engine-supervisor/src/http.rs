//! Short questions to an engine over its Unix socket or loopback port: one connection each, a deadline, a bounded answer.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use shoal_types::EngineAddress;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Largest answer that is read, in bytes. vLLM's metrics are about 100 KiB.
const ANSWER_MAX: usize = 2 << 20;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: EngineAddress, source: std::io::Error },
    #[error("{path} does not answer within {deadline:?}")]
    Deadline { path: String, deadline: Duration },
    #[error("{path}: {source}")]
    Exchange { path: String, source: hyper::Error },
    #[error("the answer of {path} cannot be read: {reason}")]
    Answer { path: String, reason: String },
    #[error("{path} is not a request target: {source}")]
    Request { path: String, source: http::Error },
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// `GET path`.
pub(crate) async fn get(address: &EngineAddress, path: &str, deadline: Duration) -> Result<Answer, HttpError> {
    ask(address, Method::GET, path, Bytes::new(), deadline).await
}

/// `POST path` with a JSON body.
pub(crate) async fn post(
    address: &EngineAddress,
    path: &str,
    json: &serde_json::Value,
    deadline: Duration,
) -> Result<Answer, HttpError> {
    ask(address, Method::POST, path, json.to_string().into(), deadline).await
}

async fn ask(
    address: &EngineAddress,
    method: Method,
    path: &str,
    body: Bytes,
    deadline: Duration,
) -> Result<Answer, HttpError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|source| HttpError::Request { path: path.to_owned(), source })?;
    let connect = |source| HttpError::Connect { address: address.clone(), source };
    let exchange = async {
        match address {
            EngineAddress::Unix(socket) => {
                exchange(UnixStream::connect(socket).await.map_err(connect)?, path, request).await
            }
            EngineAddress::Loopback(port) => {
                exchange(TcpStream::connect(port).await.map_err(connect)?, path, request).await
            }
        }
    };
    timeout(deadline, exchange).await.unwrap_or_else(|_| Err(HttpError::Deadline { path: path.to_owned(), deadline }))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    request: Request<Full<Bytes>>,
) -> Result<Answer, HttpError> {
    let broken = |source| HttpError::Exchange { path: path.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async move {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| HttpError::Answer { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Answer { status: head.status, body: body.to_bytes() })
    };
    // The connection ends once `answer` has dropped its sender; what broke it is in the answer already.
    let (answer, _) = futures_util::future::join(answer, connection).await;
    answer
}
