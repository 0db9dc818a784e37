//! Requests to engines on this node and to the services of its gateways, over HTTP/1.1.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryFutureExt as _;
use http::{Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use shoal_types::Backend;

use super::{
    Head, Outgoing,
    body::RequestBody,
    pool::{Connection, EnginePool},
    request::{RewriteError, request_for},
};
use crate::headers::{strip_hop_by_hop, strip_service};

/// Why a backend gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("connecting to {}: {source}", Named(.backend))]
    Connect { backend: Backend, source: io::Error },
    #[error("{} took no connection within {within:?}", Named(.backend))]
    ConnectTimeout { backend: Backend, within: Duration },
    #[error("{} broke off before it answered: {source}", Named(.backend))]
    Http { backend: Backend, source: hyper::Error },
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
    if let Some(kept) = pool.take(backend).await
        && let Ok((head, body)) = exchange(pool, backend, kept, prepared(backend, request)?).await
    {
        return answer_of(backend, head).map(|head| (head, body));
    }
    // In a box, as all that is seldom done on the way of a request: its future is copied about, and whole.
    let connection = Box::pin(pool.connect(backend)).await?;
    let (head, body) = exchange(pool, backend, connection, prepared(backend, request)?)
        .await
        .map_err(|source| EngineError::Http { backend: Backend::clone(backend), source })?;
    answer_of(backend, head).map(|head| (head, body))
}

fn prepared(backend: &Backend, request: &Outgoing) -> Result<Request<RequestBody>, EngineError> {
    request_for(backend, request).map_err(|source| EngineError::Rewrite { backend: backend.clone(), source })
}

/// Sends `request` at once; what is waited for is only the answer.
fn exchange(
    pool: &Arc<EnginePool>,
    backend: &Arc<Backend>,
    mut connection: Connection,
    request: Request<RequestBody>,
) -> impl Future<Output = hyper::Result<(Head, EngineBody)>> {
    connection.send(request).map_ok(|answer| {
        let (parts, incoming) = answer.into_parts();
        let lease = Lease { connection, pool: Arc::clone(pool), backend: Arc::clone(backend) };
        (head(parts), EngineBody { incoming, lease: Some(lease) })
    })
}

fn head(parts: http::response::Parts) -> Head {
    let mut headers = parts.headers;
    strip_hop_by_hop(&mut headers);
    Head::new(parts.status, headers)
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
    incoming: Incoming,
    lease: Option<Lease>,
}

#[derive(Debug)]
struct Lease {
    connection: Connection,
    pool: Arc<EnginePool>,
    backend: Arc<Backend>,
}

impl EngineBody {
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Bytes>>> {
        loop {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers of an engine are not part of OpenAI's API.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    self.lease = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    if let Some(Lease { connection, pool, backend }) = self.lease.take() {
                        pool.put(&backend, connection);
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}
