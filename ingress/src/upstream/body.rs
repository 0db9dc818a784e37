//! The body of a request on its way out, in pieces that are never joined: to change a name copies nothing else.

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Up to three pieces, sent one after the other. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestBody([Bytes; 3]);

impl RequestBody {
    /// `body` as it is.
    pub(crate) fn whole(body: Bytes) -> Self {
        Self([body, Bytes::new(), Bytes::new()])
    }

    /// `before`, `between` and `after`.
    pub(crate) const fn spliced(before: Bytes, between: Bytes, after: Bytes) -> Self {
        Self([before, between, after])
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.iter_mut().find(|piece| !piece.is_empty());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(mem::take(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}
