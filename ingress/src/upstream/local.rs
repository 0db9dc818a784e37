//! Requests to engines on this node, over HTTP/1.1.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use shoal_types::EngineAddress;

use super::{
    Head, Outgoing,
    pool::{Connection, EnginePool},
};
use crate::headers::strip_hop_by_hop;

/// Why an engine gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("connecting to its engine at {address}: {source}")]
    Connect { address: EngineAddress, source: io::Error },
    #[error("its engine at {address} took no connection within {within:?}")]
    ConnectTimeout { address: EngineAddress, within: Duration },
    #[error("its engine at {address} broke off before it answered: {source}")]
    Http { address: EngineAddress, source: hyper::Error },
}

/// Sends `request` to the engine at `address` and returns the head of its answer as soon as that is there.
///
/// A kept connection may have been closed by the engine a moment ago: if it breaks before the first byte of an answer,
/// the request is sent once more, on a new connection. Dropping the future, or the body, cancels the request.
pub(crate) async fn send(
    pool: &Arc<EnginePool>,
    address: &EngineAddress,
    request: &Outgoing,
) -> Result<(Head, EngineBody), EngineError> {
    if let Some(kept) = pool.take(address).await
        && let Ok(answer) = exchange(pool, address, kept, request).await
    {
        return Ok(answer);
    }
    let connection = pool.connect(address).await?;
    exchange(pool, address, connection, request)
        .await
        .map_err(|source| EngineError::Http { address: address.clone(), source })
}

async fn exchange(
    pool: &Arc<EnginePool>,
    address: &EngineAddress,
    mut connection: Connection,
    request: &Outgoing,
) -> hyper::Result<(Head, EngineBody)> {
    let (parts, incoming) = connection.send(engine_request(request)).await?.into_parts();
    let lease = Lease { connection, pool: Arc::clone(pool), address: address.clone() };
    Ok((head(parts), EngineBody { incoming, lease: Some(lease) }))
}

fn engine_request(request: &Outgoing) -> Request<Full<Bytes>> {
    let mut outgoing = Request::new(Full::new(request.body.clone()));
    *outgoing.method_mut() = Method::POST;
    *outgoing.uri_mut() = request.target.clone().into();
    *outgoing.headers_mut() = request.headers.clone();
    outgoing.headers_mut().insert(header::HOST, HeaderValue::from_static("engine"));
    outgoing
}

fn head(parts: http::response::Parts) -> Head {
    let mut headers = parts.headers;
    strip_hop_by_hop(&mut headers);
    Head { status: parts.status, headers }
}

/// The body of an engine's answer. At its end the connection goes back to the pool; dropped before, it is closed.
#[derive(Debug)]
pub(crate) struct EngineBody {
    incoming: Incoming,
    lease: Option<Lease>,
}

#[derive(Debug)]
struct Lease {
    connection: Connection,
    pool: Arc<EnginePool>,
    address: EngineAddress,
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
                    if let Some(Lease { connection, pool, address }) = self.lease.take() {
                        pool.put(&address, connection);
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}
