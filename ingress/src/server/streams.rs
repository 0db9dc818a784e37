//! The streams of one HTTP/2 connection: each is a task, and one whose client takes nothing is given up.
//!
//! [`ClientStream`](crate::client_stream::ClientStream) sees a client that takes nothing at all. Over HTTP/2 a client can
//! read on and still leave one answer where it is, by never opening that stream's window (RFC 9113, section 5.2): its
//! engine would wait as long as the endpoint's timeout. hyper asks the body of an answer for more only when what it was
//! given has room in the window; so an answer that has given a piece and is not asked for another is one that waits.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;

use super::activity::Activity;
use crate::reply::{Aborted, ReplyBody};

/// Most that is given to HTTP/2 at once: a client that takes less than this within the patience is given up.
const PIECE_MAX: usize = 16 << 10;

tokio::task_local! {
    /// Of the stream whose task this is.
    static WAITING: Waiting;
}

/// Number of the piece that the client has not taken; 0 where it has taken all.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<AtomicU32>);

/// Runs the streams of one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    tasks: TaskTracker,
    patience: Duration,
    activity: Activity,
}

impl Streams {
    /// Streams in `tasks`, which are `activity`, each given up if its client takes nothing for `patience`.
    pub(super) const fn new(tasks: TaskTracker, activity: Activity, patience: Duration) -> Self {
        Self { tasks, patience, activity }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let live = self.activity.begin();
        let patience = self.patience;
        self.tasks.spawn(async move {
            let _live = live;
            until_stalled(stream, patience).await;
        });
    }
}

/// Runs `stream` to its end, or until one piece of its answer has waited for `patience`. Dropped, hyper resets it.
async fn until_stalled(stream: impl Future<Output = ()>, patience: Duration) {
    let waiting = Waiting::default();
    let mut stream = pin!(WAITING.scope(waiting.clone(), stream));
    let mut stalled: Option<(u32, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let piece = waiting.0.load(Relaxed);
        if piece == 0 {
            stalled = None;
            return Poll::Pending;
        }
        let (_, sleep) = match stalled.take().filter(|(known, _)| *known == piece) {
            Some(same) => stalled.insert(same),
            None => stalled.insert((piece, Box::pin(sleep(patience)))),
        };
        sleep.as_mut().poll(cx)
    })
    .await;
}

/// An answer over HTTP/2, in pieces of bounded size.
pub(super) struct StreamBody {
    body: ReplyBody,
    /// What is left of the last piece.
    rest: Bytes,
    pieces: u32,
    waiting: Waiting,
}

impl StreamBody {
    /// `body`, watched by the task of the stream that this is called in.
    pub(super) fn new(body: ReplyBody) -> Self {
        // There is one wherever `Streams` runs.
        let waiting = WAITING.try_with(Clone::clone).unwrap_or_default();
        Self { body, rest: Bytes::new(), pieces: 0, waiting }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.waiting.0.store(0, Relaxed);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(aborted)) => return Poll::Ready(Some(Err(aborted))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE_MAX);
        let piece = self.rest.split_to(length);
        self.pieces = self.pieces.wrapping_add(1).max(1);
        self.waiting.0.store(self.pieces, Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked before the first piece, when there is no rest.
        self.body.size_hint()
    }
}
