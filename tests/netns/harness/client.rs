//! A plain HTTP/1.1 client that is never without a deadline.

use std::{net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};

/// For a connection: a host that has died refuses none.
const CONNECT: Duration = Duration::from_secs(1);
/// For the next piece of an answer. Longer than a node needs to notice that a connection to another one is dead.
const SILENCE: Duration = Duration::from_secs(12);

/// An answer that is read while it comes.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    /// The id of the node whose replica answers.
    pub(crate) node: String,
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Answer {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        let frame = timeout(SILENCE, self.body.frame()).await.map_err(|_| format!("nothing for {SILENCE:?}"))?;
        let frame = frame.transpose().map_err(|error| format!("broke off: {error}"))?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// All that is left.
    pub(crate) async fn rest(&mut self) -> Result<String, String> {
        let mut text = Vec::new();
        while let Some(piece) = self.next().await? {
            text.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Asks once for `tokens` tokens, and for the whole answer; an error says how far that came.
pub(crate) async fn complete(http: SocketAddr, model: &str, tokens: u32, stream: bool) -> Result<(), String> {
    let mut answer = ask(http, model, tokens, stream).await?;
    let text = answer.rest().await?;
    match stream {
        true if !text.trim_end().ends_with("data: [DONE]") || text.contains("\"error\"") => {
            Err(format!("cut: …{}", &text[text.floor_char_boundary(text.len().saturating_sub(300))..]))
        }
        false if !text.contains("\"choices\"") => Err(format!("no completion: {text}")),
        true | false => Ok(()),
    }
}

/// Asks for `tokens` tokens; returns when an answer has begun.
pub(crate) async fn ask(http: SocketAddr, model: &str, tokens: u32, stream: bool) -> Result<Answer, String> {
    let messages = [json!({"role": "user", "content": "hello"})];
    let body =
        json!({"model": model, "messages": messages, "max_tokens": tokens, "ignore_eos": true, "stream": stream});
    let connected =
        timeout(CONNECT, TcpStream::connect(http)).await.map_err(|_| format!("no connection in {CONNECT:?}"));
    let connection = connected?.map_err(|error| format!("connecting: {error}"))?;
    let mut answer = send(connection, "POST", "/v1/chat/completions", body.to_string()).await?;
    match answer.status {
        200 => Ok(answer),
        status => Err(format!("{status}: {}", answer.rest().await?)),
    }
}

/// Asks an admin socket.
pub(crate) async fn get(socket: &Path, path: &str) -> Result<Value, String> {
    let connection = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let text = send(connection, "GET", path, String::new()).await?.rest().await?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    path: &str,
    body: String,
) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let mut connections = JoinSet::new();
    connections.spawn(async move {
        // Its end is the answer's.
        let _ = connection.await;
    });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let response =
        timeout(SILENCE, sender.send_request(request)).await.map_err(|_| format!("no answer in {SILENCE:?}"))?;
    let response = response.map_err(|error| format!("no answer: {error}"))?;
    let node =
        response.headers().get("x-shoal-node").and_then(|node| node.to_str().ok()).unwrap_or_default().to_owned();
    Ok(Answer { status: response.status().as_u16(), node, body: response.into_body(), _connection: connections })
}
