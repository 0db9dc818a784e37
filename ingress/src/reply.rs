//! What is passed back to a client, and what it is told when an answer cannot be finished.

use std::{
    collections::VecDeque,
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame};
use http_body_util::Full;
use shoal_types::NodeId;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::{
    account::Account,
    attempt::Opened,
    error::ErrorShape,
    headers::is_event_stream,
    holding::HeldStream,
    inflight::Serving,
    routes::Place,
    sse::Boundary,
    suspicion::{Suspect, Suspicions},
    tokens::TokenCounter,
    upstream::{BrokenBody, UpstreamBody},
};

/// Between the last event of a broken stream and the end of its connection: the event must have left hyper's buffer,
/// and nobody is told when it has. The client has read it by then and raised.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(250);

/// The body of an answer to a client.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// One that the ingress made.
    Full(Full<Bytes>),
    /// One that a replica makes.
    Stream(Box<Reply>),
    /// A stream that a replica is to make, once there is one.
    Held(Box<HeldStream>),
}

impl ReplyBody {
    pub(crate) fn full(body: impl Into<Bytes>) -> Self {
        Self::Full(Full::new(body.into()))
    }
}

/// Makes hyper close the connection without the end of the body, so that no client takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be finished")]
pub(crate) struct Aborted;

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(reply) => reply.poll_bytes(cx).map_ok(Frame::data),
            Self::Held(stream) => stream.poll_bytes(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Stream(_) | Self::Held(_) => false,
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            // Where the engine gave a length, the header says so.
            Self::Stream(_) | Self::Held(_) => http_body::SizeHint::default(),
        }
    }
}

/// A replica's answer on its way to the client. Dropped before its end, it cancels the request at the engine.
#[derive(Debug)]
pub(crate) struct Reply {
    phase: Phase,
    account: Account,
    node: NodeId,
    suspect: Suspect,
    suspicions: Arc<Suspicions>,
    /// How its client is told that it is broken off.
    shape: ErrorShape,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // a reply is behind a box already
enum Phase {
    Passing(Passing),
    /// The last event has been given out; the connection ends when this does.
    LastWords(Pin<Box<Sleep>>),
    Ended,
}

#[derive(Debug)]
struct Passing {
    held: VecDeque<Bytes>,
    body: UpstreamBody,
    /// Bytes to come, if the engine gave a length.
    left: Option<u64>,
    /// The last bytes of an answer with a length. hyper drops the body as soon as it has them, so they wait for the end
    /// of the answer: only then can the engine's connection be used again, and has the trailer been read.
    last: Option<Bytes>,
    /// Where the client stands, if it is reading events.
    events: Option<Boundary>,
    counter: TokenCounter,
    /// Tokens that are on their way to the client and in no account yet.
    tokens: u32,
    deadline: Pin<Box<Sleep>>,
    _serving: Serving,
}

/// Why an answer cannot be finished.
enum Loss {
    Replica(String),
    Deadline,
}

impl Reply {
    /// Passes `opened` on until `deadline`.
    pub(crate) fn new(
        opened: Opened,
        deadline: Instant,
        mut account: Account,
        suspicions: Arc<Suspicions>,
        shape: ErrorShape,
    ) -> Self {
        let Opened { replica, head, held, body, serving } = opened;
        let passing = Passing {
            held: held.into(),
            body,
            left: content_length(&head.headers),
            last: None,
            events: is_event_stream(&head.headers).then(Boundary::default),
            counter: TokenCounter::default(),
            tokens: 0,
            deadline: Box::pin(sleep_until(deadline)),
            _serving: serving,
        };
        let suspect = match replica.place {
            Place::Local(_) => Suspect::Replica(replica.claim),
            Place::Remote => Suspect::Node(replica.node),
        };
        if passing.left == Some(0) {
            account.finished(); // hyper will not ask for it
        }
        Self { phase: Phase::Passing(passing), account, node: replica.node, suspect, suspicions, shape }
    }

    /// The next bytes for the client.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        match &mut self.phase {
            Phase::Passing(passing) => match ready!(passing.poll(cx)) {
                Ok(Next::Some(bytes)) => {
                    self.account.streamed(std::mem::take(&mut passing.tokens));
                    Poll::Ready(Some(Ok(bytes)))
                }
                Ok(Next::Last(last)) => {
                    self.account.streamed(passing.tokens);
                    self.phase = Phase::Ended;
                    self.account.finished();
                    Poll::Ready(last.map(Ok))
                }
                Err(loss) => Poll::Ready(Some(self.lose(&loss))),
            },
            Phase::LastWords(sleep) => {
                ready!(sleep.as_mut().poll(cx));
                self.phase = Phase::Ended;
                Poll::Ready(Some(Err(Aborted)))
            }
            Phase::Ended => Poll::Ready(None),
        }
    }

    /// Gives up the answer: a stream of events ends with one that says why, anything else is cut.
    fn lose(&mut self, loss: &Loss) -> Result<Bytes, Aborted> {
        let message = match loss {
            Loss::Replica(why) => {
                self.account.lost();
                self.suspicions.note(self.suspect, Instant::now());
                format!("the replica on node {} was lost in the middle of its answer: {why}", self.node.short())
            }
            Loss::Deadline => {
                self.account.broke();
                "the endpoint's timeout has passed in the middle of the answer".to_owned()
            }
        };
        tracing::info!(node = %self.node, error = %message, "an answer was broken off");
        let Phase::Passing(passing) = std::mem::replace(&mut self.phase, Phase::Ended) else { return Err(Aborted) };
        let boundary = passing.events.ok_or(Aborted)?;
        self.phase = Phase::LastWords(Box::pin(sleep(LAST_WORDS)));
        Ok([boundary.gap(), &self.shape.event(loss.code(), &message)].concat().into())
    }
}

impl Loss {
    const fn code(&self) -> &'static str {
        match self {
            Self::Replica(_) => "replica_lost",
            Self::Deadline => "timeout",
        }
    }
}

/// The next step of an answer.
enum Next {
    Some(Bytes),
    /// The end, and what there still is to pass on.
    Last(Option<Bytes>),
}

impl Passing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Loss>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            let last = self.last.take().ok_or(Loss::Deadline);
            return Poll::Ready(last.map(|last| Next::Last(Some(last))));
        }
        loop {
            let bytes = match ready!(self.poll_chunk(cx)) {
                Some(Ok(bytes)) => bytes,
                None => return Poll::Ready(Ok(Next::Last(self.last.take()))),
                // All there was to say has been said.
                Some(Err(_)) if self.last.is_some() => return Poll::Ready(Ok(Next::Last(self.last.take()))),
                Some(Err(broken)) => return Poll::Ready(Err(Loss::Replica(broken.to_string()))),
            };
            if self.last.is_some() {
                continue;
            }
            if !self.is_last(&bytes) {
                return Poll::Ready(Ok(Next::Some(bytes)));
            }
            self.last = Some(bytes);
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenBody>>> {
        match self.held.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(bytes))),
            None => self.body.poll_chunk(cx),
        }
    }

    /// Notes that `bytes` go to the client. Returns whether the engine has promised no more.
    fn is_last(&mut self, bytes: &Bytes) -> bool {
        if let Some(events) = &mut self.events {
            events.push(bytes);
            self.tokens = self.tokens.saturating_add(self.counter.push(bytes));
        }
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        self.left == Some(0)
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
