//! Serving HTTP with bounds: so many connections, so long for a request's head.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use tracing::{debug, warn};

use super::access::Caller;

/// Connections of one listener at once; a follower of a log keeps one. Further ones wait.
const CONNECTIONS: usize = 128;
/// For the head of a request, hence also the longest that a connection may be idle.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// For what runs when the daemon stops; logs that are followed never end by themselves.
const STOP_DEADLINE: Duration = Duration::from_secs(2);
/// After an error of the listener itself, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) trait Accept {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and who is at its other end. Cancel safe.
    fn next(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Caller)>> + Send;
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn next(&mut self) -> io::Result<(Self::Stream, Caller)> {
        let (stream, _) = self.accept().await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, Caller::Local { uid }))
    }
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn next(&mut self) -> io::Result<(Self::Stream, Caller)> {
        self.accept().await.map(|(stream, address)| (stream, Caller::Remote(address)))
    }
}

/// Serves `router` on what `listener` accepts, until `stop`; then what runs has a moment to end.
pub(super) async fn serve(mut listener: impl Accept, router: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some(Ok(place)) = stop.run_until_cancelled(Arc::clone(&room).acquire_owned()).await {
        while connections.try_join_next().is_some() {}
        match stop.run_until_cancelled(listener.next()).await {
            None => break,
            Some(Err(error)) => {
                warn!(%error, "the admin API cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
            Some(Ok((stream, caller))) => {
                let router = router.clone();
                let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                    request.extensions_mut().insert(caller);
                    answer(router.clone(), request)
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_DEADLINE)
                    .serve_connection(TokioIo::new(stream), service);
                let connection = graceful.watch(connection);
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        debug!(%error, "An admin connection broke off");
                    }
                    drop(place);
                });
            }
        }
    }
    if timeout(STOP_DEADLINE, graceful.shutdown()).await.is_err() {
        debug!(connections = connections.len(), "Admin connections are cut off");
    }
    connections.shutdown().await;
}

async fn answer(mut router: Router, request: hyper::Request<Incoming>) -> Result<axum::response::Response, Infallible> {
    let request: Request = request.map(Body::new);
    router.call(request).await
}
