//! Client connections: accepted within a bound, and ended in order.

mod activity;
mod connection;
mod protocol;
mod streams;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::Door;
use crate::{Ingress, workers::Workers};

/// Pause after a failed accept: the process is out of descriptors, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Ingress {
    /// Serves the clients of `listener` until `stop`, then lets running requests finish within `timeouts.stop`, those of
    /// other nodes included, cuts off the rest and closes idle connections to engines. When it returns, nothing of this
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
        let workers = self.workers();
        let door = Arc::new(Door::new(&self.config, connections.clone()));
        self.listening.store(true, Ordering::Relaxed);
        let clients = async {
            tokio::join!(self.accept_clients(&listener, &door, &workers), self.keep_certificate(), self.engines.sweep())
        };
        stop.run_until_cancelled(clients).await;
        drop(listener);
        self.stop();
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
        self.engines.close();
        workers.end().await;
    }

    fn workers(&self) -> Workers {
        let count = self.config.workers;
        Workers::start(count).unwrap_or_else(|error| {
            tracing::warn!(%error, count, "The threads for clients do not start; they are served by all others");
            Workers::default()
        })
    }

    async fn accept_clients(self: &Arc<Self>, listener: &TcpListener, door: &Arc<Door>, workers: &Workers) {
        let room = Arc::new(Semaphore::new(self.config.limits.connections));
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            match accept(listener).await {
                Ok((stream, client)) => {
                    let serving = Arc::clone(self).serve_client(Arc::clone(door), stream, client, permit);
                    workers.spawn(&door.connections, serving);
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn keep_certificate(&self) {
        if let Some(tls) = &self.config.tls {
            tls.keep().await;
        }
    }
}

/// The next client. Its connection is not yet bound to a runtime: the one that serves it is another one.
async fn accept(listener: &TcpListener) -> io::Result<(std::net::TcpStream, IpAddr)> {
    let (stream, client) = listener.accept().await?;
    // A token must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    // An IPv4 client of a listener on all addresses is still one.
    Ok((stream.into_std()?, client.ip().to_canonical()))
}
