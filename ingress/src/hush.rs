//! One wake-up that hyper gives for nothing.
//!
//! Whenever a piece of a request's body is taken, hyper (1.12, `body::chan::Receiver::poll_next`) wakes the task of its connection, to
//! read the next one: after the last piece, too. Nearly all bodies are one piece, so that of three times that a request's task is
//! run, one would be for that.

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

/// What became of wake-ups of this thread's connections while the last piece may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hush {
    Off,
    On,
    /// There was one.
    Woken,
}

thread_local! {
    static HUSH: Cell<Hush> = const { Cell::new(Hush::Off) };
}

struct Hushed(Waker);

impl Wake for Hushed {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match HUSH.get() {
            Hush::Off => self.0.wake_by_ref(),
            Hush::On | Hush::Woken => HUSH.set(Hush::Woken),
        }
    }
}

/// As `waker`, for a connection whose bodies are read by [`poll_body`] and by the same task.
pub(crate) fn hushed(waker: &Waker) -> Waker {
    Waker::from(Arc::new(Hushed(waker.clone())))
}

/// The next piece of `body`; its connection is not woken after the last one.
pub(crate) fn poll_body(body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let hush = On::new();
    let polled = Pin::new(&mut *body).poll_frame(cx);
    if hush.is_woken() && !(matches!(polled, Poll::Ready(Some(Ok(_)))) && body.is_end_stream()) {
        drop(hush);
        cx.waker().wake_by_ref();
    }
    polled
}

/// Ends it, also by a panic.
struct On;

impl On {
    fn new() -> Self {
        HUSH.set(Hush::On);
        Self
    }

    fn is_woken(&self) -> bool {
        HUSH.get() == Hush::Woken
    }
}

impl Drop for On {
    fn drop(&mut self) {
        HUSH.set(Hush::Off);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use shoal_types::NodeId;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::{Ingress, IngressConfig, tunnel::Nobody};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends a request in these `pieces`, and returns its answer, and how often its connection was run; it is so only if it has been
    /// woken up.
    async fn served(pieces: &[&str]) -> (String, usize) {
        let ingress = Ingress::new(IngressConfig::default(), NodeId::from_bytes([1; 16]), Arc::new(Nobody));
        let (near, mut far) = duplex(1 << 16);
        let mut serving = pin!(ingress.serve_within(near, IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let woken = Arc::new(Woken(1.into()));
        let (waker, mut runs) = (Waker::from(Arc::clone(&woken)), 0);
        for piece in pieces {
            far.write_all(piece.as_bytes()).await.unwrap();
            while woken.0.swap(0, Ordering::Relaxed) > 0 {
                runs += 1;
                assert!(serving.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
        }
        let mut answer = [0; 1 << 10];
        let length = far.read(&mut answer).await.unwrap();
        (String::from_utf8_lossy(&answer[..length]).into_owned(), runs)
    }

    #[tokio::test]
    async fn a_request_that_has_come_whole_is_served_at_once() {
        let request = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 13\r\n\r\n{\"model\":\"m\"}";
        let (answer, runs) = served(&[request]).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(runs, 1);
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_read_to_its_end() {
        let head = "POST /v1/completions HTTP/1.1\r\nhost: a\r\n";
        let chunked =
            ["transfer-encoding: chunked\r\n\r\n", "3\r\n{\"m", "\r\n", "a\r\nodel\":\"m\"}\r\n", "0\r\n\r\n"];
        let sized = ["content-length: 13\r\n\r\n", "{\"m", "odel\"", ":\"m\"}"];
        for rest in [chunked.as_slice(), &sized] {
            let (answer, _) = served(&[&[head], rest].concat()).await;
            assert!(answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
    }
}
