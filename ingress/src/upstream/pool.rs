//! Connections to local engines and to the services of gateways: kept while they are idle, closed the moment their request is given up.

use std::{
    collections::HashSet,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use shoal_types::{Backend, EngineAddress};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::rustls::ClientConfig;
use tokio_util::task::TaskTracker;

use super::{body::RequestBody, local::EngineError, service};
use crate::{map::Map, within::within, workers::PerWorker};

/// How long an idle connection may take to get ready. It is ready once the end of the last answer has been seen, so this
/// is for those whose engine answered before it had read the request.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// One HTTP/1.1 connection to a backend. Dropped together with what is under way on it, hyper closes the socket, by
/// which the backend knows that it can stop.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<RequestBody>,
}

impl Connection {
    /// Sends `request` and waits for the head of its answer.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.sender.send_request(request)
    }

    async fn is_usable(&mut self) -> bool {
        !self.sender.is_closed()
            && within(READY_WITHIN, pin!(self.sender.ready())).await.is_ok_and(|ready| ready.is_ok())
    }
}

type Idle = Mutex<Map<Arc<Backend>, Vec<Connection>>>;

/// Idle connections by backend, and the tasks that drive all connections.
#[derive(Debug)]
pub(crate) struct EnginePool {
    /// By worker: a connection is used by the one that drives it. The first are of whoever is no worker.
    idle: PerWorker<Idle>,
    idle_max: usize,
    connect_timeout: Duration,
    tls: Option<Arc<ClientConfig>>,
    tasks: TaskTracker,
}

impl EnginePool {
    /// A pool that keeps at most `idle_max` connections per backend for each of `workers`, and for whoever is none.
    pub(crate) fn new(
        workers: usize,
        idle_max: usize,
        connect_timeout: Duration,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        Self { idle: PerWorker::new(workers, Idle::default), idle_max, connect_timeout, tls, tasks: TaskTracker::new() }
    }

    /// A kept connection to `backend` that is still open; the one used last, as it is the least likely to be stale.
    pub(crate) async fn take(&self, backend: &Backend) -> Option<Connection> {
        while let Some(mut connection) = self.pop(backend) {
            if connection.is_usable().await {
                return Some(connection);
            }
        }
        None
    }

    fn pop(&self, backend: &Backend) -> Option<Connection> {
        self.mine().get_mut(backend)?.pop()
    }

    /// Keeps `connection`, on which an answer has just come to its end, for the next request to `backend`.
    pub(crate) fn put(&self, backend: &Arc<Backend>, connection: Connection) {
        if connection.sender.is_closed() || self.tasks.is_closed() {
            return;
        }
        let mut idle = self.mine();
        match idle.get_mut(backend) {
            Some(kept) if kept.len() >= self.idle_max => {}
            Some(kept) => kept.push(connection),
            None => {
                idle.insert(Arc::clone(backend), vec![connection]);
            }
        }
    }

    /// A new connection to `backend`.
    pub(crate) async fn connect(&self, backend: &Backend) -> Result<Connection, EngineError> {
        match timeout(self.connect_timeout, self.open(backend)).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::ConnectTimeout { backend: backend.clone(), within: self.connect_timeout }),
        }
    }

    async fn open(&self, backend: &Backend) -> Result<Connection, EngineError> {
        let refused = |source| EngineError::Connect { backend: backend.clone(), source };
        match backend {
            Backend::Engine(EngineAddress::Unix(path)) => {
                self.drive(UnixStream::connect(path).await.map_err(refused)?).await
            }
            Backend::Engine(EngineAddress::Loopback(address)) => {
                let stream = TcpStream::connect(address).await.map_err(refused)?;
                stream.set_nodelay(true).map_err(refused)?;
                self.drive(stream).await
            }
            Backend::Gateway(target) => {
                self.drive(service::connect(target, self.tls.as_ref()).await.map_err(refused)?).await
            }
        }
        .map_err(|source| EngineError::Http { backend: backend.clone(), source })
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

    /// Forgets backends that are not in `in_use`.
    pub(crate) fn retain(&self, in_use: &HashSet<&Backend>) {
        self.idle.all().for_each(|idle| lock(idle).retain(|backend, _| in_use.contains(&**backend)));
    }

    /// Closes what is idle and waits until no connection is left.
    pub(crate) async fn close(&self) {
        self.tasks.close();
        self.idle.all().for_each(|idle| lock(idle).clear());
        self.tasks.wait().await;
    }

    /// Those of the worker whose thread this is.
    fn mine(&self) -> MutexGuard<'_, Map<Arc<Backend>, Vec<Connection>>> {
        lock(self.idle.mine())
    }
}

fn lock(idle: &Idle) -> MutexGuard<'_, Map<Arc<Backend>, Vec<Connection>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
