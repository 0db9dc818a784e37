//! Requests to engines on this node and to the services of its gateways, over HTTP/1.1.

use std::{
    fmt,
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use shoal_types::Backend;

use super::{
    Head, Outgoing,
    http1::{Answer, Connection, Framing, Http1Error},
    pool::EnginePool,
    request::{BackendRequest, RewriteError, request_for},
};
use crate::headers::strip_service;

/// Why a backend gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("connecting to {}: {source}", Named(.backend))]
    Connect { backend: Backend, source: io::Error },
    #[error("{} took no connection within {within:?}", Named(.backend))]
    ConnectTimeout { backend: Backend, within: Duration },
    #[error("{} gave no answer: {source}", Named(.backend))]
    Http { backend: Backend, source: Http1Error },
    #[error("the request cannot be sent to {}: {source}", Named(.backend))]
    Rewrite { backend: Backend, source: RewriteError },
    #[error("{} does not accept this node's key and answers {status}", Named(.backend))]
    KeyRefused { backend: Backend, status: StatusCode },
    #[error("{} answers {status} and leads elsewhere: its URL in the spec is not the right one", Named(.backend))]
    Redirects { backend: Backend, status: StatusCode },
}

/// A backend in an error.
struct Named<'a>(&'a Backend);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Backend::Engine(address) => write!(f, "its engine at {address}"),
            Backend::Gateway(target) => write!(f, "its service at {target}"),
        }
    }
}

/// Sends `request` to `backend` and returns the head of its answer as soon as that is there.
///
/// A kept connection may have been closed at the other end a moment ago: if it breaks before the first byte of an answer,
/// the request is sent once more, on a new connection. Dropping the future, or the body, cancels the request.
pub(crate) async fn send(
    pool: &Arc<EnginePool>,
    backend: &Arc<Backend>,
    request: &Outgoing,
) -> Result<(Head, EngineBody), EngineError> {
    let request = request_for(backend, request)
        .map_err(|source| EngineError::Rewrite { backend: Backend::clone(backend), source })?;
    if let Some(kept) = pool.take(backend) {
        match exchange(pool, backend, kept, &request).await {
            Err(EngineError::Http { source: Http1Error::NothingCame(_), .. }) => {}
            outcome => return outcome,
        }
    }
    // In a box, as all that is seldom done on the way of a request: its future is copied about, and whole.
    let connection = Box::pin(pool.connect(backend)).await?;
    exchange(pool, backend, connection, &request).await
}

async fn exchange(
    pool: &Arc<EnginePool>,
    backend: &Arc<Backend>,
    mut connection: Box<Connection>,
    request: &BackendRequest<'_>,
) -> Result<(Head, EngineBody), EngineError> {
    connection.send(request);
    let Answer { head, framing, persists } = poll_fn(|cx| connection.poll_answer(cx))
        .await
        .map_err(|source| EngineError::Http { backend: Backend::clone(backend), source })?;
    let head = answer_of(backend, head)?;
    let lease = Lease { connection, pool: Arc::clone(pool), backend: Arc::clone(backend), persists };
    Ok((head, EngineBody { framing, lease: Some(lease) }))
}

/// `head` if it answers the client. What a service says of this node's key, or of where it has moved, does not: the
/// client would look for the fault in its own key, or follow.
fn answer_of(backend: &Backend, mut head: Head) -> Result<Head, EngineError> {
    let Backend::Gateway(_) = backend else { return Ok(head) };
    strip_service(&mut head.headers);
    let (backend, status) = (backend.clone(), head.status);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err(EngineError::KeyRefused { backend, status })
        }
        status if status.is_redirection() => Err(EngineError::Redirects { backend, status }),
        _ => Ok(head),
    }
}

/// The body of a backend's answer. At its end the connection goes back to the pool; dropped before, it is closed.
#[derive(Debug)]
pub(crate) struct EngineBody {
    framing: Framing,
    /// `None` once it has come to an end, or broken off.
    lease: Option<Lease>,
}

#[derive(Debug)]
struct Lease {
    connection: Box<Connection>,
    pool: Arc<EnginePool>,
    backend: Arc<Backend>,
    /// The backend takes another request on it.
    persists: bool,
}

impl EngineBody {
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Http1Error>>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(None) };
        let chunk = ready!(lease.connection.poll_chunk(&mut self.framing, cx)).transpose();
        if !matches!(chunk, Some(Ok(_)))
            && let Some(Lease { connection, pool, backend, persists }) = self.lease.take()
            && chunk.is_none()
            && persists
        {
            pool.put(&backend, connection);
        }
        Poll::Ready(chunk)
    }
}
