//! Short questions to a service: one connection each, a deadline, a bounded answer.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_util::either::Either;

use super::GatewayUrl;

/// Largest answer that is read, in bytes. The longest list of models, of a provider that resells all others, and the
/// metrics of a large pool have some hundred KiB.
const ANSWER_MAX: usize = 4 << 20;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot connect to {url}: {source}")]
    Connect { url: GatewayUrl, source: io::Error },
    #[error("{url} does not answer within {deadline:?}")]
    Deadline { url: GatewayUrl, deadline: Duration },
    #[error("{url}: {source}")]
    Exchange { url: GatewayUrl, source: hyper::Error },
    #[error("the answer of {url} cannot be read: {reason}")]
    Answer { url: GatewayUrl, reason: String },
    #[error("{url} cannot be asked: {source}")]
    Request { url: GatewayUrl, source: http::Error },
}

/// How services are asked.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) tls: Arc<ClientConfig>,
    pub(super) deadline: Duration,
}

impl Client {
    /// The status that `GET url` with `key` is answered with; the rest is not read.
    pub(super) async fn status(&self, url: &GatewayUrl, key: Option<&str>) -> Result<StatusCode, AskError> {
        self.within_deadline(url, self.ask(url, key, 0)).await.map(|(status, _)| status)
    }

    /// The status and all of the answer.
    pub(super) async fn get(&self, url: &GatewayUrl, key: Option<&str>) -> Result<(StatusCode, Bytes), AskError> {
        self.within_deadline(url, self.ask(url, key, ANSWER_MAX)).await
    }

    async fn within_deadline<T>(
        &self,
        url: &GatewayUrl,
        answer: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, AskError> {
        let late = || Err(AskError::Deadline { url: url.clone(), deadline: self.deadline });
        timeout(self.deadline, Box::pin(answer)).await.unwrap_or_else(|_| late())
    }

    async fn ask(&self, url: &GatewayUrl, key: Option<&str>, most: usize) -> Result<(StatusCode, Bytes), AskError> {
        let broken = |source| AskError::Exchange { url: url.clone(), source };
        let request = request(url, key).map_err(|source| AskError::Request { url: url.clone(), source })?;
        let stream = self.connect(url).await.map_err(|source| AskError::Connect { url: url.clone(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answer = async move {
            let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            if most == 0 {
                return Ok((head.status, Bytes::new()));
            }
            let body = Limited::new(body, most).collect().await;
            let body = body.map_err(|error| AskError::Answer { url: url.clone(), reason: error.to_string() })?;
            Ok((head.status, body.to_bytes()))
        };
        let driven = async {
            // What breaks the connection is in the answer.
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = answer => answer,
            never = driven => never,
        }
    }

    async fn connect(&self, url: &GatewayUrl) -> io::Result<Either<TcpStream, TlsStream<TcpStream>>> {
        let host = url.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, url.port())).await?;
        if !url.tls() {
            return Ok(Either::Left(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map(Either::Right)
    }
}

fn request(url: &GatewayUrl, key: Option<&str>) -> http::Result<Request<Empty<Bytes>>> {
    let path = if url.path().is_empty() { "/" } else { url.path() };
    let shown = url.to_string();
    let authority = shown.split('/').nth(2).unwrap_or_default();
    let mut request = Request::get(path).header(header::HOST, authority).body(Empty::new())?;
    if let Some(key) = key {
        let mut bearer = HeaderValue::try_from(format!("Bearer {key}"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    Ok(request)
}
