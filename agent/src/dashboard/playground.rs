//! The way from the dashboard to the ingress of the same node: a browser may only ask where it got the page from.

use std::{net::Ipv4Addr, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Uri, header, uri::PathAndQuery},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{io::duplex, task::JoinSet};

use crate::admin::{Admin, Code, Problem};

/// Bytes that wait between both sides.
const BUFFER: usize = 64 << 10;
/// Where the path of the ingress begins.
const PREFIX: &str = "/ui";

/// Asks the ingress over a connection that never leaves this program, and passes its answer on.
pub(super) async fn pass_on(State(admin): State<Arc<Admin>>, mut request: Request) -> Result<Response, Problem> {
    let failed = |error: hyper::Error| Problem::new(Code::Failed, format!("the ingress did not answer: {error}"));
    *request.uri_mut() = within(request.uri());
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    let (near, far) = duplex(BUFFER);
    // With the answer's body they end, whichever way it does.
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&admin.ingress).serve_within(far, Ipv4Addr::LOCALHOST.into()));
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.map_err(failed)?;
    tasks.spawn(async move {
        let _ = connection.await; // what went wrong is told by the answer
    });
    let answer = sender.send_request(request).await.map_err(failed)?;
    let (head, body) = answer.into_parts();
    let body = Body::new(body).into_data_stream().map(move |piece| {
        let _ = &tasks;
        piece
    });
    Ok(Response::from_parts(head, Body::from_stream(body)).into_response())
}

/// The URI that the ingress knows.
fn within(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    path.strip_prefix(PREFIX).unwrap_or(path).parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ingress_is_asked_for_its_own_path() {
        assert_eq!(within(&Uri::from_static("/ui/v1/models?x=1")), "/v1/models?x=1");
    }
}
