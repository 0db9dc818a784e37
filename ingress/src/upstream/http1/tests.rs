//! A backend says what these tests write, in pieces of any size; hyper says what it means.

use std::{borrow::Cow, future::poll_fn, io, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::{connection::ROOM_MIN, head::Seen, *};
use crate::{
    headers::is_hop_by_hop,
    upstream::{body::RequestBody, request::BackendRequest},
};

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

#[tokio::test]
async fn a_request_is_written_as_it_is() {
    let (mut connection, mut there) = connection();
    for body in [
        RequestBody::whole(Bytes::from_static(b"{}")),
        RequestBody::default(),
        RequestBody::spliced(Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"bc")),
        RequestBody::whole(vec![b'x'; 100 << 10].into()),
        RequestBody::spliced(vec![b'x'; 300 << 10].into(), Bytes::from_static(b"model"), vec![b'y'; 300 << 10].into()),
    ] {
        let mut sent = body.clone();
        let sent = sent.copy_to_bytes(body.remaining());
        let mut expected = b"POST /v1/completions?a=b HTTP/1.1\r\nhost: engine\r\nx-two: 1\r\nx-two: \xe9\r\n".to_vec();
        expected.extend_from_slice(format!("content-length: {}\r\n\r\n", sent.len()).as_bytes());
        expected.extend_from_slice(&sent);
        connection.send(&request(body));
        let serve = async {
            let mut read = vec![0; expected.len()];
            there.read_exact(&mut read).await.unwrap();
            there.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            read
        };
        let (got, read) = tokio::join!(whole(&mut connection), serve);
        assert!(read == expected);
        assert!(got.unwrap().persists && connection.is_free() && connection.is_open());
    }
}

#[tokio::test]
async fn where_an_answer_ends() {
    let got = of(format!("{OK}content-length: 3\r\n\r\nabc")).await.unwrap();
    assert_eq!((got.body.as_slice(), got.persists, got.headers.len()), (&b"abc"[..], true, 1));
    let chunks =
        format!("{OK}Transfer-Encoding: Chunked\r\nx: y\r\n\r\n1;a=b\r\nx\r\n00A\r\n0123456789\r\n0\r\nt: r\r\n\r\n");
    let got = of(chunks).await.unwrap();
    assert_eq!((got.body.as_slice(), got.persists, got.headers.len()), (&b"x0123456789"[..], true, 1));
    let got = of(format!("{OK}\r\nabc")).await.unwrap();
    assert_eq!((got.body.as_slice(), got.persists), (&b"abc"[..], false));
    for (head, persists) in [
        ("HTTP/1.1 204 None\r\n\r\n", true),
        ("HTTP/1.1 304\r\ncontent-length: 5\r\n\r\n", true),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n", false),
        ("HTTP/1.1 304\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\nconnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: Keep-Alive\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.1 200 OK\ncontent-length: 0\n\n", true),
    ] {
        let got = of(head).await.unwrap();
        assert_eq!((got.body.len(), got.persists, got.broken.is_none()), (0, persists, true), "{head}");
        assert!(!got.headers.contains_key("link"));
    }
}

#[tokio::test]
async fn what_concerns_the_connection_only_stays_here() {
    let said = "connection: x-own, keep-alive\r\nx-own: 1\r\nkeep-alive: 5\r\nte: x\r\nupgrade: h2c\r\nx-theirs: 2\r\nX-Theirs: 3\r\n";
    let got = of(format!("{OK}{said}content-length: 0\r\n\r\n")).await.unwrap();
    assert_eq!(got.headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-theirs", "content-length"]);
    assert_eq!(got.headers.get_all("x-theirs").iter().collect::<Vec<_>>(), ["2", "3"]);
}

/// Rule 10: nothing is taken for an answer that may be another one.
#[tokio::test]
async fn what_is_no_answer_is_none() {
    let chunked = format!("{OK}transfer-encoding: chunked\r\n\r\n");
    for (answer, part) in [
        ("SSH-2.0-x\r\n\r\n".to_owned(), "HTTP"),
        ("HTTP/1.1 101 Over\r\nupgrade: x\r\n\r\n".to_owned(), "another protocol"),
        ("HTTP/1.1 000 OK\r\n\r\n".to_owned(), "status"),
        (format!("{OK}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"), "differ"),
        (format!("{OK}content-length: +3\r\n\r\nabc"), "not a number"),
        (format!("{OK}content-length: \r\n\r\n"), "not a number"),
        (format!("{OK}content-length: 99999999999999999999\r\n\r\n"), "not a number"),
        (format!("{OK}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), "and a Transfer-Encoding"),
        (format!("{OK}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "something else"),
        (format!("{OK}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), "something else"),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), "something else"),
        (format!("{OK}a: {}\r\n\r\n", "x".repeat(70 << 10)), "a head of over 65536"),
        (format!("{OK}a: {}", "x".repeat(70 << 10)), "a head of over 65536"),
        (format!("{OK}{}\r\n", "a: b\r\n".repeat(101)), "headers"),
    ] {
        let error = of(&answer).await.map(|got| got.status).expect_err(&answer).to_string();
        assert!(error.contains(part), "{answer:.60}: {error}");
    }
    for (rest, part) in [
        ("x\r\n".to_owned(), "no size"),
        ("\r\n\r\n".to_owned(), "no size"),
        (" \r\n\r\n".to_owned(), "no size"),
        (";x\r\n\r\n".to_owned(), "no size"),
        ("+1\r\na\r\n0\r\n\r\n".to_owned(), "no size"),
        ("1\na\r\n0\r\n\r\n".to_owned(), "no size"),
        ("1;a\nb\r\na\r\n0\r\n\r\n".to_owned(), "no size"),
        ("1;a\rb\r\na\r\n0\r\n\r\n".to_owned(), "no size"),
        ("1 x\r\na\r\n0\r\n\r\n".to_owned(), "no size"),
        ("1ffffffffffffffff\r\n".to_owned(), "no size"),
        ("1\r\nab\r\n0\r\n\r\n".to_owned(), "longer than it says"),
        (format!("1;{}", "x".repeat(2 << 10)), "over 1024"),
        (format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(2 << 10)), "over 1024"),
        (format!("0\r\na: {}", "x".repeat(20 << 10)), "over 16384"),
        (format!("0\r\na: {}\r\n\r\n", "x".repeat(20 << 10)), "over 16384"),
        ("0\r\n\u{1}: b\r\n\r\n".to_owned(), "header name"),
    ] {
        let broken = of(format!("{chunked}{rest}")).await.unwrap().broken.map(|broken| broken.to_string());
        assert!(broken.as_ref().is_some_and(|broken| broken.contains(part)), "{rest:.60}: {broken:?}");
    }
}

#[tokio::test]
async fn what_is_behind_an_answer_is_not_the_next_one() {
    let (mut connection, mut there) = connection();
    connection.send(&hello());
    there.write_all(format!("{OK}content-length: 1\r\n\r\nab").as_bytes()).await.unwrap();
    let got = whole(&mut connection).await.unwrap();
    assert!(got.persists && got.body == b"a");
    assert!(!connection.is_free());
}

async fn closed(connection: &mut Connection) {
    while connection.is_open() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_kept_connection_is_seen_to_be_closed_or_spoken_on() {
    for unasked in ["", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let (mut connection, mut there) = connection();
        connection.send(&hello());
        there.write_all(format!("{OK}content-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        whole(&mut connection).await.unwrap();
        assert!(connection.is_free() && connection.is_open());
        there.write_all(unasked.as_bytes()).await.unwrap();
        drop(there);
        soon(closed(&mut connection)).await;
    }
}

#[tokio::test]
async fn what_was_lost_before_an_answer_can_be_sent_again() {
    let nothing = of("").await.unwrap_err();
    assert!(matches!(nothing, Http1Error::NothingCame(_)), "{nothing:?}");
    assert_eq!(nothing.to_string(), "it closed the connection");
    let (mut connection, there) = connection();
    drop(there);
    connection.send(&request(RequestBody::whole(vec![0; 1 << 20].into())));
    let broken_pipe = whole(&mut connection).await.unwrap_err();
    assert!(
        matches!(&broken_pipe, Http1Error::NothingCame(error) if error.kind() == io::ErrorKind::BrokenPipe),
        "{broken_pipe:?}"
    );
    // Who has said something has begun with it.
    for begun in ["H", "HTTP/1.1 103 Hints\r\n\r\n"] {
        assert!(matches!(of(begun).await.unwrap_err(), Http1Error::BrokeOff(_)), "{begun}");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_all_of_the_request_has_gone() {
    let body = || request(RequestBody::whole(vec![b'x'; 4 << 20].into()));
    // It refuses, and reads no more.
    let (mut connection, mut there) = connection();
    connection.send(&body());
    let refuse = async {
        there.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    };
    let (got, ()) = tokio::join!(whole(&mut connection), refuse);
    let got = got.unwrap();
    assert_eq!((got.status, got.body.as_slice()), (StatusCode::PAYLOAD_TOO_LARGE, &b"no"[..]));
    assert!(!connection.is_free(), "the rest of the request is not there");
    // And closes, by which the request fails.
    let (mut connection, mut there) = self::connection();
    there.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    drop(there);
    connection.send(&body());
    assert_eq!(whole(&mut connection).await.unwrap().body, b"no");
    assert!(!connection.is_free());
    // It answers with what it reads.
    let (mut connection, there) = self::connection();
    connection.send(&body());
    let (mut read, mut write) = there.into_split();
    let echo = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(read.read_u8().await.unwrap());
        }
        write.write_all(format!("{OK}content-length: {}\r\n\r\n", 4 << 20).as_bytes()).await.unwrap();
        tokio::io::copy(&mut (&mut read).take(4 << 20), &mut write).await.unwrap();
    };
    let (got, ()) = tokio::join!(whole(&mut connection), echo);
    let got = got.unwrap();
    assert!(got.body == vec![b'x'; 4 << 20] && connection.is_free());
}

#[tokio::test]
async fn a_large_answer_is_read_in_large_pieces_and_what_follows_in_small_ones() {
    let (mut connection, mut there) = connection();
    let body = vec![b'x'; 8 << 20];
    for _ in 0..2 {
        connection.send(&hello());
        let say = async {
            there.write_all(format!("{OK}content-length: {}\r\n\r\n", body.len()).as_bytes()).await.unwrap();
            there.write_all(&body).await.unwrap();
        };
        let (got, ()) = tokio::join!(whole(&mut connection), say);
        let got = got.unwrap();
        assert!(got.body == body && got.largest > 10 * ROOM_MIN, "{}", got.largest);
        connection.rest();
        assert!(connection.room() <= ROOM_MIN);
    }
    // A stream that had much at once goes on in small ones.
    connection.send(&hello());
    there.write_all(format!("{OK}\r\n").as_bytes()).await.unwrap();
    let Answer { mut framing, .. } = poll_fn(|cx| connection.poll_answer(cx)).await.unwrap();
    let mut read = 0;
    for (size, most) in [(vec![1 << 20; 1], usize::MAX), (vec![100; 20_000], 2 * ROOM_MIN)] {
        for piece in size {
            let say = there.write_all(&body[..piece]);
            let hear = async {
                let mut left = piece;
                while left > 0 {
                    let piece = soon(poll_fn(|cx| connection.poll_chunk(&mut framing, cx))).await.unwrap().unwrap();
                    left -= piece.len();
                }
            };
            tokio::join!(say, hear).0.unwrap();
            read += piece;
        }
        let kept = connection.room();
        assert!(kept <= most, "{kept} after {read}");
    }
}

/// A part of a request, of which somebody else has the count.
struct Counted(Vec<u8>, #[expect(dead_code, reason = "it is counted")] Arc<()>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn length(request: &BackendRequest<'_>) -> usize {
    let mut head = Vec::new();
    head::write(request, &mut head);
    head.len() + request.body.remaining()
}

/// Rule 9: the room for bodies is a request's, which may end before its answer.
#[tokio::test]
async fn rule_9_what_has_been_sent_is_held_no_longer() {
    for size in [100, 1 << 20] {
        let (mut connection, mut there) = connection();
        let held = Arc::new(());
        let body = Bytes::from_owner(Counted(vec![b'x'; size], Arc::clone(&held)));
        let request = request(RequestBody::spliced(body.clone(), Bytes::from_static(b"model"), body));
        let length = length(&request);
        connection.send(&request);
        drop(request);
        let serve = async {
            there.read_exact(&mut vec![0; length]).await.unwrap();
            there.write_all(format!("{OK}content-length: 9\r\n\r\n").as_bytes()).await.unwrap();
        };
        let answer = async { soon(poll_fn(|cx| connection.poll_answer(cx))).await.unwrap() };
        let ((), answer) = tokio::join!(serve, answer);
        assert_eq!((answer.framing, Arc::strong_count(&held)), (Framing::Length(9), 1), "{size}");
        assert!(!format!("{connection:?}").contains("120, 120"), "nor told to a log");
    }
}

async fn tls() -> (Connection, tokio_rustls::server::TlsStream<TcpStream>) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let cert = certified.cert.der().clone();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (here, there) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), here.unwrap()),
        TlsAcceptor::from(Arc::new(server)).accept(there.unwrap().0),
    );
    (Connection::new(over_tls(here.unwrap())), there.unwrap())
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let (mut connection, mut there) = tls().await;
    for size in [5, 4 << 20, 6] {
        let body = vec![b'x'; size];
        let request = request(RequestBody::whole(body.clone().into()));
        connection.send(&request);
        let serve = async {
            there.read_exact(&mut vec![0; length(&request)]).await.unwrap();
            there.write_all(format!("{OK}content-length: {size}\r\n\r\n").as_bytes()).await.unwrap();
            there.write_all(&body).await.unwrap();
            there.flush().await.unwrap();
        };
        let (got, ()) = tokio::join!(whole(&mut connection), serve);
        assert!(got.unwrap().body == body && connection.is_free() && connection.is_open());
    }
    there.shutdown().await.unwrap();
    soon(closed(&mut connection)).await;
}

#[tokio::test]
async fn over_tls_an_answer_ends_where_its_sender_says_so() {
    for is_said in [true, false] {
        let (mut connection, mut there) = tls().await;
        connection.send(&hello());
        let serve = async move {
            there.write_all(format!("{OK}\r\nabc").as_bytes()).await.unwrap();
            there.flush().await.unwrap();
            if is_said {
                there.shutdown().await.unwrap();
            }
            // Read first: to close with something unread is to break off.
            there.read_exact(&mut vec![0; length(&hello())]).await.unwrap();
        };
        let (got, ()) = tokio::join!(whole(&mut connection), serve);
        let got = got.unwrap();
        assert_eq!((got.body.as_slice(), got.broken.is_none()), (&b"abc"[..], is_said));
    }
}

/// A head of which a byte comes at a time is not parsed anew for each: that would be a way to keep a node busy.
#[test]
fn a_head_that_trickles_in_is_parsed_when_it_may_be_whole() {
    let head = format!("{OK}{}\r\n", "name: value\r\n".repeat(90));
    let (mut input, mut seen, mut parsed) = (BytesMut::new(), Seen::default(), 0);
    for byte in head.bytes() {
        input.extend_from_slice(&[byte]);
        parsed += u32::from(head::may_be_whole(&input, seen.partial));
        if head::read(&mut input, &mut seen).unwrap().is_some() {
            assert!(input.is_empty() && parsed == 2, "{parsed}");
            return;
        }
    }
    panic!("it was whole");
}

/// What hyper makes of `answer`: status, headers, and the body unless that is broken off.
async fn by_hyper(answer: &[u8]) -> Option<(StatusCode, HeaderMap, Option<Vec<u8>>)> {
    let (here, mut there) = UnixStream::pair().unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(here)).await.unwrap();
    let exchange = async move {
        let request = http::Request::post("/").body(Full::new(Bytes::from_static(b"hello"))).unwrap();
        let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
        Some((parts.status, parts.headers, body))
    };
    let say = async move {
        read_hello(&mut there).await;
        there.write_all(answer).await.unwrap();
    };
    let (got, (), _) = tokio::join!(exchange, say, connection);
    got
}

#[derive(Debug, Clone)]
enum Body {
    Length(Vec<u8>),
    /// Each with whether its size is said; and trailers.
    Chunks(Vec<(bool, Vec<u8>)>, &'static str),
    UntilClose(Vec<u8>),
}

fn body() -> impl Strategy<Value = Body> {
    let bytes = || vec(any::<u8>(), 0..200);
    prop_oneof![
        bytes().prop_map(Body::Length),
        (
            vec((prop::bool::weighted(0.95), vec(any::<u8>(), 1..50)), 0..6),
            select(vec!["", "t: r\r\n", "a: b\r\nc:\r\n"])
        )
            .prop_map(|(chunks, trailers)| Body::Chunks(chunks, trailers)),
        bytes().prop_map(Body::UntilClose),
    ]
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    let interim = select(vec!["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n"]);
    let line = select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 429 Too Many",
        "HTTP/1.1 500 \u{e9}",
        "HTTP/1.0 200 OK",
    ]);
    let headers = vec(
        select(vec![
            "Content-Type: application/json",
            "x: 1",
            "X:   2\t",
            "date: \u{e9}",
            "Keep-Alive: 1",
            "empty:",
            "a : b",
            "=: b",
        ]),
        0..5,
    );
    (
        interim,
        line,
        headers,
        body(),
        select(vec!["", "", "", ";x=y", ";", "\t; a", " ", " x", ";a\rb", ";a\nb", "\n", "g"]),
    )
        .prop_map(|(interim, line, headers, body, extension)| {
            let mut said = format!("{interim}{line}\r\n").into_bytes();
            for header in headers {
                said.extend_from_slice(format!("{header}\r\n").as_bytes());
            }
            match body {
                Body::Length(bytes) => {
                    said.extend_from_slice(format!("Content-Length: {}\r\n\r\n", bytes.len()).as_bytes());
                    said.extend_from_slice(&bytes);
                }
                Body::Chunks(chunks, trailers) => {
                    said.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for (has_size, chunk) in chunks {
                        let size = if has_size { format!("{:x}", chunk.len()) } else { String::new() };
                        said.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
                        said.extend_from_slice(&chunk);
                        said.extend_from_slice(b"\r\n");
                    }
                    said.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
                }
                Body::UntilClose(bytes) => {
                    said.extend_from_slice(b"\r\n");
                    said.extend_from_slice(&bytes);
                }
            }
            said
        })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs") })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However an answer is cut into pieces, and wherever it breaks off, it is what hyper takes it for.
    #[test]
    fn answers_are_what_hyper_takes_them_for(
        answer in answer(), cut in prop_oneof![Just(usize::MAX), 0..400_usize], size in prop_oneof![1..20_usize, Just(4096)],
    ) {
        let answer = &answer[..cut.min(answer.len())];
        let (ours, theirs) = run(async { (in_pieces(answer, size).await.ok(), by_hyper(answer).await) });
        let ours = ours.map(|got| (got.status, got.headers, got.broken.is_none().then_some(got.body)));
        let theirs = theirs.map(|(status, headers, body)| {
            let passed = headers.iter().filter(|(name, _)| !is_hop_by_hop(name.as_str()));
            (status, passed.map(|(name, value)| (name.clone(), value.clone())).collect(), body)
        });
        prop_assert_eq!(ours, theirs, "{}", answer.escape_ascii());
    }

    /// Whatever a backend says, it is an answer or an error.
    #[test]
    fn any_bytes_are_read_without_panic(
        head in select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]),
        bytes: Vec<u8>, size in 1..20_usize,
    ) {
        let _ = run(in_pieces(&[head.as_bytes(), &bytes].concat(), size));
    }
}
