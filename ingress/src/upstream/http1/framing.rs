//! Where the body of an answer ends.

use bytes::{Bytes, BytesMut};

use super::{Http1Error, chunked::Chunked};

/// How the end of a body is told, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked),
    /// It is all that comes.
    UntilClose,
}

impl Framing {
    pub(super) const fn is_at_end(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::End))
    }

    /// The next piece of the body in `input`, if one is there.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Http1Error> {
        match self {
            Self::Chunked(chunked) => chunked.next(input),
            _ if input.is_empty() => Ok(None),
            Self::UntilClose => Ok(Some(input.split().freeze())),
            Self::Length(left) => {
                let here = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= here as u64;
                Ok((here > 0).then(|| input.split_to(here).freeze()))
            }
        }
    }
}
