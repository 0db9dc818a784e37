//! Tunnels in memory that end as a QUIC stream does: FIN, RESET and STOP are three different things.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use shoal_ingress::{Tunnel, TunnelSend};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Small, so that whatever is larger arrives in parts and is held up by a reader that does not read.
const WINDOW: usize = 1000;

/// Both ends of a tunnel.
pub(crate) fn tunnel_pair() -> (Tunnel, Tunnel) {
    let ((near_send, far_recv), (far_send, near_recv)) = (pipe(), pipe());
    let tunnel = |send, recv| Tunnel { send: Box::new(send), recv: Box::new(recv) };
    (tunnel(near_send, near_recv), tunnel(far_send, far_recv))
}

fn pipe() -> (PipeSend, PipeRecv) {
    let (near, far) = duplex(WINDOW);
    let (finished, stopped) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
    (
        PipeSend { inner: near, finished: Arc::clone(&finished), stopped: stopped.clone() },
        PipeRecv { inner: far, finished, _stop: stopped.drop_guard() },
    )
}

struct PipeSend {
    inner: DuplexStream,
    finished: Arc<AtomicBool>,
    stopped: CancellationToken,
}

struct PipeRecv {
    inner: DuplexStream,
    finished: Arc<AtomicBool>,
    _stop: DropGuard,
}

impl TunnelSend for PipeSend {
    fn cancelled(&self) -> BoxFuture<'static, ()> {
        self.stopped.clone().cancelled_owned().boxed()
    }
}

impl AsyncWrite for PipeSend {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished.store(true, Ordering::SeqCst);
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl AsyncRead for PipeRecv {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let ended = buf.filled().len() == before;
        let reset = ended && !self.finished.load(Ordering::SeqCst);
        Poll::Ready(if reset { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) })
    }
}
