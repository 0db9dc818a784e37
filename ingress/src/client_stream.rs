//! A client's connection that gives up on a client which takes nothing, and that is waited for where it is used.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::workers;

/// What a [`ClientStream`] is made of.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Sized {
    /// The same, waited for by the runtime of this thread.
    fn moved_here(self) -> io::Result<Self>;
}

impl Socket for TcpStream {
    fn moved_here(self) -> io::Result<Self> {
        Self::from_std(self.into_std()?)
    }
}

/// A stream whose writes fail once the other end has taken nothing for a while. Without it, a client that stops reading
/// would hold its connection and an engine's sequence for as long as the endpoint's timeout.
///
/// It may be used on another worker's thread than before.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    /// `None` if it has been lost on its way to another thread.
    stream: Option<S>,
    /// That of the thread whose runtime waits for it.
    worker: usize,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: Socket> ClientStream<S> {
    /// One that this thread's runtime waits for.
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream: Some(stream), worker: workers::current(), patience, stalled: None }
    }

    fn here(&mut self) -> io::Result<Pin<&mut S>> {
        let worker = workers::current();
        if worker != self.worker {
            self.stream = self.stream.take().map(S::moved_here).transpose()?;
            self.worker = worker;
        }
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn bound<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl<S: Socket> AsyncRead for ClientStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().here()?.poll_read(cx, buf)
    }
}

impl<S: Socket> AsyncWrite for ClientStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.here()?.poll_write(cx, buf);
        this.bound(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.here()?.poll_write_vectored(cx, bufs);
        this.bound(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().here()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().here()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;

    impl Socket for DuplexStream {
        fn moved_here(self) -> io::Result<Self> {
            Ok(self)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (near, mut far) = duplex(4);
        let mut stream = ClientStream::new(near, Duration::from_secs(30));
        stream.write_all(b"abcd").await.unwrap();
        let start = Instant::now();
        let error = stream.write_all(b"efgh").await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 30));
        far.read_exact(&mut [0; 4]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_waited_for() {
        let (near, mut far) = duplex(1);
        let mut stream = ClientStream::new(near, Duration::from_secs(30));
        let write = stream.write_all(b"abcdef");
        let read = async {
            for _ in 0..6 {
                sleep(Duration::from_secs(20)).await;
                far.read_u8().await.unwrap();
            }
        };
        tokio::join!(write, read).0.unwrap();
    }
}
