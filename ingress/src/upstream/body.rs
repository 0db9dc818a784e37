//! The body of a request on its way out, in pieces that are never joined: to change a name copies nothing else.

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Pieces that are sent one after the other: what is left of `first`, then what follows. Small, as requests are copied about,
/// and nearly all are of one piece.
#[derive(Debug, Default)]
pub(crate) struct RequestBody {
    first: Bytes,
    rest: Option<Box<[Bytes; 2]>>,
}

impl RequestBody {
    /// `body` as it is.
    pub(crate) const fn whole(body: Bytes) -> Self {
        Self { first: body, rest: None }
    }

    /// `before`, `between` and `after`.
    pub(crate) fn spliced(before: Bytes, between: Bytes, after: Bytes) -> Self {
        Self { first: before, rest: Some(Box::new([between, after])) }
    }

    fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { first, rest } = &mut *self;
        let mut pieces = std::iter::once(first).chain(rest.iter_mut().flat_map(|rest| rest.iter_mut()));
        let piece = pieces.find(|piece| !piece.is_empty());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(mem::take(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces().map(|piece| piece.len() as u64).sum())
    }
}
