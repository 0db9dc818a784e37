//! What happens on one connection, request after request.

use std::{io, sync::Arc};

use super::*;
use crate::upstream::http1::connection::ROOM_MIN;

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
async fn what_is_behind_an_answer_is_not_the_next_one() {
    let (mut connection, mut there) = connection();
    connection.send(&hello());
    there.write_all(format!("{OK}content-length: 1\r\n\r\nab").as_bytes()).await.unwrap();
    let got = whole(&mut connection).await.unwrap();
    assert!(got.persists && got.body == b"a");
    assert!(!connection.is_free());
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
        assert!(connection.allocated() <= ROOM_MIN);
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
        let kept = connection.allocated();
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

#[tokio::test]
async fn rule_9_what_nobody_takes_is_held_no_longer() {
    let (mut connection, mut there) = connection();
    let held = Arc::new(());
    let body = Bytes::from_owner(Counted(vec![b'x'; 4 << 20], Arc::clone(&held)));
    // It refuses, and closes.
    there.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    drop(there);
    connection.send(&request(RequestBody::whole(body)));
    let answer = soon(poll_fn(|cx| connection.poll_answer(cx))).await.unwrap();
    assert_eq!((answer.framing, Arc::strong_count(&held)), (Framing::Length(9), 1));
}
