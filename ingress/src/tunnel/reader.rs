//! Reading frames from a stream.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use shoal_types::wire::WireError;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use super::{ChunkDecoder, Piece, decode::take_frame};

/// Bytes read at first. Most requests and most answers are smaller; and the allocator makes eight of them at once, where it makes each of
/// 4 or 8 KiB for itself, and one thread frees what another one took.
const FIRST_READ: usize = 7 << 9;
/// Bytes read at once from then on: tokens are small and come singly; embeddings and prompts are larger.
const READ_SIZE: usize = 8 << 10;
/// Below so much free space a new buffer is taken.
const READ_MIN: usize = 1 << 10;

/// Why a stream between two nodes cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("it ended in the middle")]
    Ended,
}

impl FrameError {
    /// Whether the other end has broken the stream off, and so is there.
    pub(crate) fn is_by_the_other_end(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::ConnectionReset)
    }
}

/// The reading half of a tunnel.
pub(crate) struct FrameReader {
    recv: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    has_read: bool,
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl FrameReader {
    pub(crate) fn new(recv: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self { recv, buffer: BytesMut::new(), has_read: false }
    }

    /// The next frame. Cancel safe: what was read stays in the buffer.
    pub(crate) async fn frame<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer)? {
                return Ok(frame);
            }
            if std::future::poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return Err(FrameError::Ended);
            }
        }
    }

    /// The next raw bytes, or `None` at FIN. Cancel safe.
    pub(crate) async fn raw(&mut self) -> io::Result<Option<Bytes>> {
        if self.buffer.is_empty() && std::future::poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
            return Ok(None);
        }
        Ok(Some(self.buffer.split().freeze()))
    }

    /// The next piece of an answer's body.
    pub(crate) fn poll_piece(
        &mut self,
        decoder: &mut ChunkDecoder,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Piece, FrameError>> {
        loop {
            if let Some(piece) = decoder.decode(&mut self.buffer)? {
                return Poll::Ready(Ok(piece));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(FrameError::Ended));
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < READ_MIN {
            let size = if std::mem::replace(&mut self.has_read, true) { READ_SIZE } else { FIRST_READ };
            self.buffer.reserve(size);
        }
        poll_read_buf(Pin::new(&mut self.recv), cx, &mut self.buffer)
    }
}
