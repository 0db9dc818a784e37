//! A backend says what these tests write, in pieces of any size.

mod answers;
mod by_hyper;
mod exchanges;
mod tls;

use std::{borrow::Cow, future::poll_fn, time::Duration};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::PathAndQuery};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::*;
use crate::upstream::{body::RequestBody, request::BackendRequest};

const OK: &str = "HTTP/1.1 200 OK\r\n";

fn connection() -> (Connection, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    (Connection::new(over_unix(here)), there)
}

fn request(body: RequestBody) -> BackendRequest<'static> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("engine"));
    headers.append("x-two", HeaderValue::from_static("1"));
    headers.append("x-two", HeaderValue::from_bytes(b"\xe9").unwrap());
    let target = PathAndQuery::from_static("/v1/completions?a=b");
    BackendRequest { target: Cow::Owned(target), headers: Cow::Owned(headers), body }
}

fn hello() -> BackendRequest<'static> {
    request(RequestBody::whole(Bytes::from_static(b"hello")))
}

/// What hangs says where.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

/// What has come of an answer, and why no more of it has.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Most bytes that came at once.
    largest: usize,
    persists: bool,
    broken: Option<Http1Error>,
}

async fn whole(connection: &mut Connection) -> Result<Got, Http1Error> {
    let Answer { head, mut framing, persists } = soon(poll_fn(|cx| connection.poll_answer(cx))).await?;
    let mut got =
        Got { status: head.status, headers: head.headers, body: Vec::new(), largest: 0, persists, broken: None };
    loop {
        match soon(poll_fn(|cx| connection.poll_chunk(&mut framing, cx))).await {
            Ok(Some(piece)) => {
                assert!(!piece.is_empty(), "a piece is something");
                got.largest = got.largest.max(piece.len());
                got.body.extend_from_slice(&piece);
            }
            Ok(None) => return Ok(got),
            Err(broken) => return Ok(Got { broken: Some(broken), ..got }),
        }
    }
}

/// What is made of `answer`, behind which the backend closes.
async fn of(answer: impl AsRef<[u8]>) -> Result<Got, Http1Error> {
    in_pieces(answer.as_ref(), usize::MAX).await
}

async fn in_pieces(answer: &[u8], size: usize) -> Result<Got, Http1Error> {
    let (mut connection, mut there) = connection();
    connection.send(&hello());
    let say = async {
        read_hello(&mut there).await;
        for piece in answer.chunks(size) {
            // What is no answer is not read to its end.
            if there.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(there);
    };
    tokio::join!(whole(&mut connection), say).0
}

/// An end that closes before it has read all is one that breaks off.
async fn read_hello(there: &mut UnixStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"hello") {
        request.push(soon(there.read_u8()).await.unwrap());
    }
}

async fn closed(connection: &mut Connection) {
    while connection.is_open() {
        tokio::task::yield_now().await;
    }
}

fn length(request: &BackendRequest<'_>) -> usize {
    let mut head = Vec::new();
    head::write(request, &mut head);
    head.len() + request.body.remaining()
}
