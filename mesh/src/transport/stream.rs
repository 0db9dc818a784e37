//! Streams between nodes: quinn's, with an end that cannot be mistaken.
//!
//! quinn finishes a stream that is dropped, so that a writer that fails half way looks as if it were done. Here only
//! `shutdown` finishes; dropping resets.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use quinn::VarInt;
use serde::{Serialize, de::DeserializeOwned};
use shoal_types::wire;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::{FrameError, link::LinkUse};

/// The code of RESET_STREAM and STOP_SENDING frames: whoever sent it has lost interest.
const ABANDONED: VarInt = VarInt::from_u32(1);

/// Most bytes that are copied to be written along with the one before them.
const FIRST_MAX: usize = 4 << 10;

/// What a bidirectional stream is for; its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Reconciling the replicated store.
    StoreSync,
    /// One forwarded request.
    Forward,
    /// A forwarded admin call, such as logs.
    Admin,
    /// A question whether something is served.
    Probe,
}

/// The first byte of a stream: for others, or for the transport itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Stream(StreamKind),
    /// See [`super::renewal`].
    Renewal,
    /// See [`super::link::Link::close_when_unused`].
    Retirement,
}

impl Opening {
    const ALL: [Self; 6] = [
        Self::Stream(StreamKind::StoreSync),
        Self::Stream(StreamKind::Forward),
        Self::Stream(StreamKind::Admin),
        Self::Stream(StreamKind::Probe),
        Self::Renewal,
        Self::Retirement,
    ];

    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Stream(StreamKind::StoreSync) => 1,
            Self::Stream(StreamKind::Forward) => 2,
            Self::Stream(StreamKind::Admin) => 3,
            Self::Stream(StreamKind::Probe) => 4,
            Self::Renewal => 5,
            Self::Retirement => 6,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|opening| opening.byte() == byte)
    }
}

/// Both halves of a bidirectional stream.
#[derive(Debug)]
pub struct Stream {
    /// To the peer.
    pub send: SendStream,
    /// From the peer.
    pub recv: RecvStream,
}

impl Stream {
    pub(super) fn new(send: quinn::SendStream, recv: quinn::RecvStream, link: Option<LinkUse>) -> Self {
        let link = link.map(Arc::new);
        Self { send: SendStream::new(send, link.clone()), recv: RecvStream { inner: recv, link } }
    }

    /// The same stream, which no longer keeps its link in use.
    pub(super) fn uncounted(mut self) -> Self {
        (self.send.link, self.recv.link) = (None, None);
        self
    }
}

/// The writing half. `shutdown` ends it cleanly; dropped before that, it is reset, and the reader gets an error.
#[derive(Debug)]
pub struct SendStream {
    inner: quinn::SendStream,
    /// What the stream begins with, until it has been written along with what follows: each write takes the connection's lock, and
    /// wakes whoever drives it.
    opening: Option<Opening>,
    finished: bool,
    link: Option<Arc<LinkUse>>,
}

impl SendStream {
    pub(super) const fn new(inner: quinn::SendStream, link: Option<Arc<LinkUse>>) -> Self {
        Self { inner, opening: None, finished: false, link }
    }

    /// Says what the stream is for once something is written to it.
    pub(super) const fn open_with_first_write(&mut self, opening: Opening) {
        self.opening = Some(opening);
    }

    /// Resolves when the peer no longer reads (it dropped its [`RecvStream`]) or the connection has died; never once
    /// everything up to `shutdown` has arrived. Independent of the stream's borrow; can be dropped at any time.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let stopped = self.inner.stopped();
        async move {
            match stopped.await {
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => std::future::pending().await,
            }
        }
    }

    /// Writes one frame behind its length. Waits as long as the peer's flow control makes it; not cancel-safe.
    ///
    /// # Errors
    /// If the frame is too large or the stream broke.
    pub async fn write_frame<T: Serialize + Sync>(&mut self, frame: &T) -> Result<(), FrameError> {
        let bytes = wire::encode_prefixed(frame)?;
        Ok(self.write_all(&bytes).await?)
    }

    /// Lets small urgent streams pass large ones; 0 is usual.
    pub(super) fn set_priority(&self, priority: i32) {
        let _ = self.inner.set_priority(priority); // only a closed stream has none
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.inner.reset(ABANDONED); // only a stream that has ended cannot be reset
        }
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(opening) = self.opening {
            let first = [&[opening.byte()], &bytes[..bytes.len().min(FIRST_MAX)]].concat();
            let written = AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, &first);
            let written = ready!(written.map_err(|error| explained(self.link.as_deref(), error)))?;
            self.opening = None;
            if written > 1 {
                return Poll::Ready(Ok(written - 1));
            }
        }
        let written = AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, bytes);
        written.map_err(|error| explained(self.link.as_deref(), error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.inner), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.opening.is_some() {
            ready!(self.as_mut().poll_write(cx, &[]))?;
        }
        let done = AsyncWrite::poll_shutdown(Pin::new(&mut self.inner), cx);
        self.finished |= matches!(done, Poll::Ready(Ok(())));
        done
    }
}

/// Why a stream over `link` broke with `error`.
fn explained(link: Option<&LinkUse>, error: io::Error) -> io::Error {
    match link {
        Some(link) => link.explained(error),
        None => error,
    }
}

/// The reading half. Its end is the peer's `shutdown`; anything else is an error. Dropped, it tells the peer to stop.
#[derive(Debug)]
pub struct RecvStream {
    inner: quinn::RecvStream,
    link: Option<Arc<LinkUse>>,
}

impl RecvStream {
    /// Reads one frame. Waits as long as the peer takes: give it a deadline. Not cancel-safe.
    ///
    /// # Errors
    /// [`FrameError::Ended`] if the peer has finished before the frame began.
    pub async fn read_frame<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        self.read_frame_within(wire::FRAME_MAX).await
    }

    /// As [`Self::read_frame`], for at most `limit` bytes.
    pub(super) async fn read_frame_within<T: DeserializeOwned>(&mut self, limit: usize) -> Result<T, FrameError> {
        let mut prefix = [0; 4];
        if self.read(&mut prefix[..1]).await? == 0 {
            return Err(FrameError::Ended);
        }
        self.read_exact(&mut prefix[1..]).await?;
        let length = wire::frame_len(prefix)?;
        if length > limit {
            return Err(wire::WireError::TooLarge(length).into());
        }
        let mut frame = vec![0; length];
        self.read_exact(&mut frame).await?;
        Ok(wire::decode(&frame)?)
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = AsyncRead::poll_read(Pin::new(&mut self.inner), cx, buffer);
        read.map_err(|error| explained(self.link.as_deref(), error))
    }
}
