//! Heads, and where bodies end.

use bytes::BytesMut;

use super::*;
use crate::upstream::http1::head::Seen;

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
        ("1\u{c}\r\na\r\n0\r\n\r\n".to_owned(), "no size"),
        ("0\r\n\n".to_owned(), "does not end"),
        ("0\r\na: b\n\r\n".to_owned(), "does not end"),
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
