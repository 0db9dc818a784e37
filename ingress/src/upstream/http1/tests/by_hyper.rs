//! What answers mean, hyper says.

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::headers::is_hop_by_hop;

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
        select(vec!["", "", "", ";x=y", ";", "\t; a", " ", " x", ";a\rb", ";a\nb", "\n", "\u{c}", "g"]),
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
