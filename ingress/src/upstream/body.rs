//! The body of a request on its way out, in pieces that are never joined: to change a name copies nothing else.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces that are sent one after the other: `first`, then `rest`. Small, as requests are copied about, and nearly all are of one
/// piece.
#[derive(Debug, Default, Clone)]
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

impl Buf for RequestBody {
    fn remaining(&self) -> usize {
        self.pieces().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = self.pieces().filter(|piece| !piece.is_empty()).zip(slices);
        filled.map(|(piece, slice)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        let Self { first, rest } = self;
        for piece in std::iter::once(first).chain(rest.iter_mut().flat_map(|rest| rest.iter_mut())) {
            let here = count.min(piece.len());
            count -= here;
            // An empty end of what is written would still hold all of its memory.
            if here == piece.len() { *piece = Bytes::new() } else { piece.advance(here) }
        }
        assert_eq!(count, 0, "more than there is");
    }
}
