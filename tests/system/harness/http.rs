//! A plain HTTP/1.1 client that shows each piece of an answer as it arrives.

use bytes::Bytes;
use http::request::Builder;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};

/// The head of an answer, and its body to be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Answer {
    /// The next piece; `Err` if the answer broke off.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = self.body.frame().await?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// All that is left, and whether it ended cleanly.
    pub(crate) async fn rest(&mut self) -> (String, bool) {
        let mut text = Vec::new();
        while let Some(piece) = self.next().await {
            match piece {
                Ok(piece) => text.extend_from_slice(&piece),
                Err(_) => return (String::from_utf8_lossy(&text).into_owned(), false),
            }
        }
        (String::from_utf8_lossy(&text).into_owned(), true)
    }

    pub(crate) async fn json(&mut self) -> Value {
        let (text, clean) = self.rest().await;
        assert!(clean, "the answer broke off: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(http: &str, method: &str, path: &str, body: String) -> Result<Answer, String> {
    send(http, Request::builder().method(method).uri(path), body).await
}

async fn send(http: &str, request: Builder, body: String) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(http).await.map_err(|error| text(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    #[allow(clippy::disallowed_methods)] // owned by the answer
    let connection = tokio::spawn(async move {
        let _ = connection.await;
    });
    let request = request
        .header("host", http)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| text(&error))?;
    let response = sender.send_request(request).await.map_err(|error| text(&error))?;
    Ok(Answer { status: response.status().as_u16(), body: response.into_body(), connection })
}

/// A chat completion, whole.
pub(crate) async fn chat(http: &str, model: &str, prompt: &str, tokens: u32) -> Result<Answer, String> {
    request(http, "POST", "/v1/chat/completions", chat_body(model, prompt, tokens, false)).await
}

/// A chat completion, whole, asked for with a key.
pub(crate) async fn chat_with_key(
    http: &str,
    key: &str,
    model: &str,
    prompt: &str,
    tokens: u32,
) -> Result<Answer, String> {
    let request = Request::post("/v1/chat/completions").header("authorization", format!("Bearer {key}"));
    send(http, request, chat_body(model, prompt, tokens, false)).await
}

/// A chat completion as a stream of server-sent events.
pub(crate) async fn stream_chat(http: &str, model: &str, prompt: &str, tokens: u32) -> Result<Answer, String> {
    request(http, "POST", "/v1/chat/completions", chat_body(model, prompt, tokens, true)).await
}

fn chat_body(model: &str, prompt: &str, tokens: u32, stream: bool) -> String {
    let messages = [json!({"role": "user", "content": prompt})];
    json!({"model": model, "messages": messages, "max_tokens": tokens, "stream": stream}).to_string()
}
