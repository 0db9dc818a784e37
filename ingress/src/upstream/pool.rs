//! Connections to local engines: kept while they are idle, closed the moment their request is given up.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use shoal_types::EngineAddress;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::local::EngineError;

/// How long an idle connection may take to get ready. It is ready once the end of the last answer has been seen, so this
/// is for those whose engine answered before it had read the request.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// One HTTP/1.1 connection to an engine. Dropped together with what is under way on it, hyper closes the socket, by
/// which the engine knows that it can stop.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Sends `request` and waits for the head of its answer.
    pub(crate) fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.sender.send_request(request)
    }

    async fn is_usable(&mut self) -> bool {
        !self.sender.is_closed() && timeout(READY_WITHIN, self.sender.ready()).await.is_ok_and(|ready| ready.is_ok())
    }
}

/// Idle connections by engine, and the tasks that drive all connections.
#[derive(Debug)]
pub(crate) struct EnginePool {
    idle: Mutex<HashMap<EngineAddress, Vec<Connection>>>,
    idle_max: usize,
    connect_timeout: Duration,
    tasks: TaskTracker,
}

impl EnginePool {
    /// A pool that keeps at most `idle_max` connections per engine.
    pub(crate) fn new(idle_max: usize, connect_timeout: Duration) -> Self {
        Self { idle: Mutex::default(), idle_max, connect_timeout, tasks: TaskTracker::new() }
    }

    /// A kept connection to `address` that is still open; the one used last, as it is the least likely to be stale.
    pub(crate) async fn take(&self, address: &EngineAddress) -> Option<Connection> {
        while let Some(mut connection) = self.pop(address) {
            if connection.is_usable().await {
                return Some(connection);
            }
        }
        None
    }

    fn pop(&self, address: &EngineAddress) -> Option<Connection> {
        self.lock().get_mut(address)?.pop()
    }

    /// Keeps `connection`, on which an answer has just come to its end, for the next request to `address`.
    pub(crate) fn put(&self, address: &EngineAddress, connection: Connection) {
        if connection.sender.is_closed() || self.tasks.is_closed() {
            return;
        }
        let mut idle = self.lock();
        let kept = idle.entry(address.clone()).or_default();
        if kept.len() < self.idle_max {
            kept.push(connection);
        }
    }

    /// A new connection to `address`.
    pub(crate) async fn connect(&self, address: &EngineAddress) -> Result<Connection, EngineError> {
        match timeout(self.connect_timeout, self.open(address)).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::ConnectTimeout { address: address.clone(), within: self.connect_timeout }),
        }
    }

    async fn open(&self, address: &EngineAddress) -> Result<Connection, EngineError> {
        let refused = |source| EngineError::Connect { address: address.clone(), source };
        match address {
            EngineAddress::Unix(path) => self.drive(UnixStream::connect(path).await.map_err(refused)?).await,
            EngineAddress::Loopback(address) => {
                let stream = TcpStream::connect(address).await.map_err(refused)?;
                stream.set_nodelay(true).map_err(refused)?;
                self.drive(stream).await
            }
        }
        .map_err(|source| EngineError::Http { address: address.clone(), source })
    }

    async fn drive<S>(&self, stream: S) -> hyper::Result<Connection>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
        TokioIo<S>: Read + Write,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn(async move {
            // What breaks the connection is told to whoever has a request on it.
            let _ = connection.await;
        });
        Ok(Connection { sender })
    }

    /// Forgets engines that are not in `in_use`.
    pub(crate) fn retain(&self, in_use: &HashSet<&EngineAddress>) {
        self.lock().retain(|address, _| in_use.contains(address));
    }

    /// Closes what is idle and waits until no connection is left.
    pub(crate) async fn close(&self) {
        self.tasks.close();
        self.lock().clear();
        self.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EngineAddress, Vec<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
