//! Requests between nodes: one bidirectional stream each, and nothing but shoal's own frames on it.
//!
//! The near end writes a [`RequestHead`] frame and the raw body, then FIN. The far end answers with a [`Verdict`]: a refusal at once,
//! before it touches an engine, and otherwise within 20 ms; then an [`Outcome`]; then the body in chunks (u32 big endian and that
//! many bytes, each flushed as it arrives), a chunk of length 0, a [`Trailer`] frame, FIN. A stream that ends otherwise was
//! broken off. Either end gives up by dropping its halves.

mod decode;
mod frames;
#[cfg(test)]
mod golden;
mod headers;
mod load;
#[cfg(test)]
mod nobody;
mod reader;
mod serve;
mod writer;

use std::fmt;

use futures_util::future::BoxFuture;
use shoal_types::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use decode::{ChunkDecoder, Piece};
pub(crate) use frames::{HOPS, NotServing, Outcome, RequestHead, Trailer, Verdict, head};
pub(crate) use headers::AnswerHeaders;
#[cfg(test)]
pub(crate) use nobody::Nobody;
pub(crate) use reader::{FrameError, FrameReader};
pub(crate) use writer::FrameWriter;

/// Opens streams to other nodes.
pub trait Dial: Send + Sync + 'static {
    /// A new tunnel to `node`. The ingress adds its own deadline.
    fn open(&self, node: NodeId) -> BoxFuture<'static, Result<Tunnel, DialError>>;
}

/// Why a node cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DialError(String);

impl DialError {
    /// The node cannot be reached, for `reason`.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// A bidirectional stream to another node.
pub struct Tunnel {
    /// Bytes to the other end. Shutdown is FIN; dropped without it is RESET, which the other end reads as an error.
    pub send: Box<dyn TunnelSend>,
    /// Bytes from the other end. A RESET is an error, never a clean end; dropping it is STOP.
    pub recv: Box<dyn AsyncRead + Send + Unpin>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

/// The writing half of a [`Tunnel`].
pub trait TunnelSend: AsyncWrite + Send + Unpin {
    /// Resolves when the other end has dropped its reading half, or is gone.
    fn cancelled(&self) -> BoxFuture<'static, ()>;
}
