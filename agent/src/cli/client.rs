//! HTTP to the admin API of one daemon, over its socket or TCP.

mod addresses;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};

use self::addresses::{Addresses, connect};
use crate::admin::{Code, Problem};

/// Longest wait for the head of an answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// The same where another node can be asked instead. Nodes wait up to 5 s for their own peers (`DEADLINE` of `crate::peer`).
const TRY_DEADLINE: Duration = Duration::from_secs(8);
/// Largest answer that is read whole: thousands of nodes fit.
const BODY_MAX: usize = 64 << 20;

/// Where the daemon is.
#[derive(Debug, Clone)]
enum Target {
    Unix(PathBuf),
    Tcp { addresses: Addresses, token: Option<String> },
}

/// A client of one daemon; each call is one connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    target: Target,
}

impl Client {
    pub(crate) const fn unix(socket: PathBuf) -> Self {
        Self { target: Target::Unix(socket) }
    }

    /// A client of whichever node at `addresses` answers first, with the token in `token_file`.
    pub(crate) fn tcp(addresses: Vec<String>, token_file: Option<&Path>) -> Result<Self, Problem> {
        let read = |path: &Path| {
            let unreadable = |error| Problem::new(Code::Invalid, format!("cannot read {}: {error}", path.display()));
            fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(unreadable)
        };
        Ok(Self {
            target: Target::Tcp { addresses: Addresses::new(addresses), token: token_file.map(read).transpose()? },
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Problem> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Problem> {
        let body = serde_json::to_vec(body).map_err(|error| Problem::new(Code::Failed, error))?;
        self.call(Method::POST, path, body.into()).await
    }

    /// Posts a document as it is.
    pub(crate) async fn post_text<T: DeserializeOwned>(&self, path: &str, text: String) -> Result<T, Problem> {
        self.call(Method::POST, path, text.into()).await
    }

    /// An answer that is text.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, Problem> {
        let (response, _connection) = self.send(Method::GET, path, Bytes::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(self.problem(response).await);
        }
        let body = self.read(response).await?;
        String::from_utf8(body.into())
            .map_err(|error| Problem::new(Code::Failed, format!("the answer of {} is no text: {error}", self.name())))
    }

    /// Opens an answer that is read piece by piece.
    pub(crate) async fn stream(&self, path: &str) -> Result<Streamed, Problem> {
        let (response, connection) = self.send(Method::GET, path, Bytes::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(self.problem(response).await);
        }
        Ok(Streamed { body: response.into_body(), connection })
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Problem> {
        let (response, _connection) = self.send(method, path, body).await?;
        if response.status() != StatusCode::OK {
            return Err(self.problem(response).await);
        }
        let body = self.read(response).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Problem::new(Code::Failed, format!("cannot read the answer of {}: {error}", self.name()))
                .hint("client and daemon may be of different versions: compare `shoal --version` with `shoal status`")
        })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<(Response<Incoming>, Connection), Problem> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "shoal");
        if let Target::Tcp { token: Some(token), .. } = &self.target {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.first() == Some(&b'{') {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| Problem::new(Code::Invalid, error))?;
        match &self.target {
            Target::Unix(path) => {
                let ask = async {
                    let stream =
                        UnixStream::connect(path).await.map_err(|error| self.unreachable(&[(self.name(), error)]))?;
                    self.exchange(stream, request).await
                };
                timeout(DEADLINE, ask).await.unwrap_or_else(|_| Err(self.late(DEADLINE)))
            }
            Target::Tcp { addresses, .. } => {
                let is_asked_elsewhere = request.method() == Method::GET && addresses.len() > 1;
                self.ask_in_turn(addresses, request, if is_asked_elsewhere { TRY_DEADLINE } else { DEADLINE }).await
            }
        }
    }

    /// Each address has one try, of `patience` from when it is connected. A node that breaks off, or does not answer, is asked no
    /// more. A question is then asked elsewhere; an order is not, as it may have been carried out.
    async fn ask_in_turn(
        &self,
        addresses: &Addresses,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<(Response<Incoming>, Connection), Problem> {
        let (mut unreached, mut failed) = (Vec::new(), None);
        for (index, address) in addresses.in_order() {
            let stream = match connect(address).await {
                Ok(stream) => stream,
                Err(error) => {
                    unreached.push((address.to_owned(), error));
                    continue;
                }
            };
            addresses.prefer(index);
            let answered = timeout(patience, self.exchange(stream, request.clone())).await;
            match answered.unwrap_or_else(|_| Err(self.late(patience))) {
                Ok(answer) => return Ok(answer),
                Err(problem) => failed = Some(problem),
            }
            addresses.prefer(index + 1);
            if request.method() != Method::GET {
                break;
            }
        }
        Err(failed.unwrap_or_else(|| self.unreachable(&unreached)))
    }

    fn late(&self, patience: Duration) -> Problem {
        Problem::new(Code::Timeout, format!("{} does not answer within {patience:?}", self.name()))
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), Problem>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let broke = |error: hyper::Error| {
            Problem::new(Code::Unreachable, format!("the connection to {} broke: {error}", self.name()))
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        let connection = Connection::drive(connection);
        let response = sender.send_request(request).await.map_err(broke)?;
        Ok((response, connection))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, Problem> {
        let body = timeout(DEADLINE, Limited::new(response.into_body(), BODY_MAX).collect()).await;
        let broke = |error| Problem::new(Code::Failed, format!("the answer of {} broke off: {error}", self.name()));
        match body {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(broke(error.to_string())),
            Err(_) => Err(broke("it took too long".to_owned())),
        }
    }

    async fn problem(&self, response: Response<Incoming>) -> Problem {
        let status = response.status();
        if status == StatusCode::NOT_FOUND && matches!(self.target, Target::Tcp { token: None, .. }) {
            return Problem::new(
                Code::Forbidden,
                format!("{} serves only metrics and health without a token", self.name()),
            )
            .hint("--admin-token-file, with the token of the node's admin.tokenFile");
        }
        match self.read(response).await {
            Ok(body) => serde_json::from_slice(&body).unwrap_or_else(|_| {
                let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                Problem::new(Code::Failed, format!("{} answered {status}: {text}", self.name()))
            }),
            Err(problem) => problem,
        }
    }

    fn unreachable(&self, errors: &[(String, io::Error)]) -> Problem {
        let tried: Vec<String> = errors.iter().map(|(address, error)| format!("at {address}: {error}")).collect();
        let message = format!("cannot reach a shoal agent {}", tried.join("; "));
        let problem = Problem::new(Code::Unreachable, message);
        let denied = errors.iter().any(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied);
        match &self.target {
            Target::Unix(_) if denied => problem.hint("the socket belongs to the user of the daemon: use sudo"),
            Target::Unix(_) | Target::Tcp { .. } => {
                problem.hint("is `shoal agent` running? Name another with --socket, --addr or --context")
            }
        }
    }

    fn name(&self) -> String {
        match &self.target {
            Target::Unix(path) => path.display().to_string(),
            Target::Tcp { addresses, .. } => addresses.current().to_owned(),
        }
    }
}

/// Drives one connection as long as it is wanted.
#[derive(Debug)]
pub(crate) struct Connection(JoinHandle<()>);

impl Connection {
    #[allow(clippy::disallowed_methods)] // owned by the value returned, which ends it when dropped
    fn drive<S>(connection: http1::Connection<TokioIo<S>, Full<Bytes>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(tokio::spawn(async move {
            // What breaks the connection also ends the answer, where it is reported.
            let _ = connection.await;
        }))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer that is read piece by piece.
#[derive(Debug)]
pub(crate) struct Streamed {
    body: Incoming,
    connection: Connection,
}

impl Streamed {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let _ = &self.connection;
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(Problem::new(Code::Failed, format!("the answer broke off: {error}"))),
            }
        }
    }
}
