//! Client connections: accepted within a bound, and ended in order.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Ingress, client_stream::ClientStream, config::Limits};

/// Pause after a failed accept: the process is out of descriptors, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Ingress {
    /// Serves the clients of `listener` until `stop`, then lets running requests finish within `timeouts.stop`, those of
    /// other nodes included, cuts off the rest and closes all connections to engines. When it returns, nothing of this
    /// ingress runs any more but what [`Ingress::serve_tunnel`] has not yet returned from. Serves once.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        // Its own future, so that clients are called whatever the one that accepts them waits for.
        tokio::select! {
            () = Arc::clone(&self).serve_clients(listener, stop) => {}
            never = self.usher() => match never {},
        }
    }

    async fn serve_clients(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let connections = TaskTracker::new();
        self.listening.store(true, Ordering::Relaxed);
        stop.run_until_cancelled(self.accept_clients(&listener, &connections)).await;
        drop(listener);
        self.stopping.cancel();
        connections.close();
        let finished = async {
            connections.wait().await;
            self.inflight.all_drained().await;
        };
        if timeout(self.config.timeouts.stop, finished).await.is_err() {
            tracing::warn!("requests are cut off, as they did not finish in time");
        }
        self.cut_off.cancel();
        connections.wait().await;
        self.engines.close().await;
    }

    async fn accept_clients(self: &Arc<Self>, listener: &TcpListener, connections: &TaskTracker) {
        let http = http(&self.config.limits, self.config.timeouts.head);
        let room = Arc::new(Semaphore::new(self.config.limits.connections));
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            match accept(listener).await {
                Ok((stream, client)) => {
                    connections.spawn(Arc::clone(self).serve_client(http.clone(), stream, client, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve_client(
        self: Arc<Self>,
        http: http1::Builder,
        stream: TcpStream,
        client: IpAddr,
        _permit: OwnedSemaphorePermit,
    ) {
        let stream = TokioIo::new(ClientStream::new(stream, self.config.timeouts.stall));
        let service = service_fn(|request| {
            let ingress = Arc::clone(&self);
            async move { Ok::<_, Infallible>(ingress.respond(request, client).await) }
        });
        let mut connection = std::pin::pin!(http.serve_connection(stream, service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let Some(served) = self.cut_off.run_until_cancelled(connection.as_mut()).await else { return };
                served
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a client's connection ended");
        }
    }
}

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, IpAddr)> {
    let (stream, client) = listener.accept().await?;
    // A token must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    // An IPv4 client of a listener on all addresses is still one.
    Ok((stream, client.ip().to_canonical()))
}

fn http(limits: &Limits, head_timeout: Duration) -> http1::Builder {
    /// Enough to take a body in large pieces, and to hold a head.
    const BUFFER: usize = 128 << 10;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_header_size(limits.head)
        .max_buf_size(limits.head.max(BUFFER));
    http
}
