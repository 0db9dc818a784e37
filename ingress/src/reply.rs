//! What is passed back to a client.

mod answer;
mod passing;
mod resuming;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::Full;

pub(crate) use answer::Reply;

use crate::holding::HeldStream;

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
            Self::Stream(reply) => reply.poll_frame(cx),
            Self::Held(stream) => stream.poll_frame(cx),
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
