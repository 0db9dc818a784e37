//! Questions to a metadata service: plain HTTP/1.1, one connection each, no proxy, no redirect, a bounded answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{poll::AskError, url::MetadataUrl};

/// A metadata service is one hop away; where it is not there, connections mostly hang.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Largest head, and largest body, that is read, in bytes. Azure lists the events of a whole scale set.
const ANSWER_MAX: usize = 64 << 10;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// Asks one metadata service.
#[derive(Debug, Clone)]
pub(super) struct MetadataClient {
    url: MetadataUrl,
    deadline: Duration,
}

impl MetadataClient {
    /// `deadline` is for a whole exchange.
    pub(super) const fn new(url: MetadataUrl, deadline: Duration) -> Self {
        Self { url, deadline }
    }

    /// The same service, given `longer` to answer.
    pub(super) fn patient(&self, longer: Duration) -> Self {
        Self { url: self.url.clone(), deadline: self.deadline + longer }
    }

    /// Sends one request without a body.
    ///
    /// # Errors
    /// If nobody is there, or no whole answer within bounds comes in time. Any status is an answer.
    pub(super) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Answer, AskError> {
        let exchange = async { self.exchange(self.connect().await?, self.request(method, path, headers)?).await };
        let late = |_| AskError::Late { url: self.url.clone(), deadline: self.deadline };
        timeout(self.deadline, exchange).await.map_err(late)?
    }

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Request<Empty<Bytes>>, AskError> {
        let target = self.url.target(path);
        let request = Request::builder().method(method).uri(&target).header(header::HOST, self.url.authority());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Empty::new()).map_err(|source| AskError::Request { target, source })
    }

    async fn connect(&self) -> Result<TcpStream, AskError> {
        let late = |_| AskError::Late { url: self.url.clone(), deadline: CONNECT_DEADLINE };
        let connected = timeout(CONNECT_DEADLINE, TcpStream::connect(self.url.address())).await.map_err(late)?;
        connected.map_err(|source| AskError::Connect { url: self.url.clone(), source })
    }

    async fn exchange(&self, stream: TcpStream, request: Request<Empty<Bytes>>) -> Result<Answer, AskError> {
        let broken = |source| AskError::Exchange { url: self.url.clone(), source };
        let mut client = http1::Builder::new();
        client.max_buf_size(ANSWER_MAX);
        let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answer = async move {
            let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = body.map_err(|source| AskError::Body { url: self.url.clone(), source })?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        // The connection ends once `answer` has dropped its sender; what broke it is in the answer already.
        let (answer, _) = futures_util::future::join(answer, connection).await;
        answer
    }
}
