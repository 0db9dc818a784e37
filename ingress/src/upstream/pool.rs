//! Connections to local engines and to the services of gateways: kept while they are idle, closed the moment their request is given up.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use shoal_types::{Backend, EngineAddress};
use tokio::{
    net::{TcpStream, UnixStream},
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_rustls::rustls::ClientConfig;

use super::{
    http1::{Connection, Stream, over_tcp, over_unix},
    local::EngineError,
    service,
};
use crate::{map::Map, workers::PerWorker};

/// How often those that their backend has closed are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// In boxes, as each is moved about with its answer, and is large.
type Kept = Vec<Box<Connection>>;
type Idle = Map<Arc<Backend>, Kept>;

/// Idle connections by backend.
#[derive(Debug)]
pub(crate) struct EnginePool {
    /// By worker: what comes on a connection wakes up the thread that has opened it. The first are of whoever is no worker.
    idle: PerWorker<Mutex<Idle>>,
    idle_max: usize,
    connect_timeout: Duration,
    tls: Option<Arc<ClientConfig>>,
    is_closed: AtomicBool,
}

impl EnginePool {
    /// A pool that keeps at most `idle_max` connections per backend for each of `workers`, and for whoever is none.
    pub(crate) fn new(
        workers: usize,
        idle_max: usize,
        connect_timeout: Duration,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        Self {
            idle: PerWorker::new(workers, Mutex::default),
            idle_max,
            connect_timeout,
            tls,
            is_closed: AtomicBool::default(),
        }
    }

    /// A kept connection to `backend` that is still open; the one used last, as it is the least likely to be stale.
    pub(super) fn take(&self, backend: &Backend) -> Option<Box<Connection>> {
        let mut idle = self.mine();
        let kept = idle.get_mut(backend)?;
        while let Some(mut connection) = kept.pop() {
            if connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps `connection`, on which an answer has just come to its end, for the next request to `backend`.
    pub(super) fn put(&self, backend: &Arc<Backend>, mut connection: Box<Connection>) {
        if !connection.is_free() {
            return;
        }
        connection.rest();
        let mut idle = self.mine();
        // Behind the lock, under which `close` clears.
        if self.is_closed.load(Relaxed) {
            return;
        }
        match idle.get_mut(backend) {
            Some(kept) if kept.len() >= self.idle_max => {}
            Some(kept) => kept.push(connection),
            None => {
                idle.insert(Arc::clone(backend), vec![connection]);
            }
        }
    }

    /// A new connection to `backend`.
    pub(super) async fn connect(&self, backend: &Backend) -> Result<Box<Connection>, EngineError> {
        match timeout(self.connect_timeout, self.open(backend)).await {
            Ok(Ok(stream)) => Ok(Box::new(Connection::new(stream))),
            Ok(Err(source)) => Err(EngineError::Connect { backend: backend.clone(), source }),
            Err(_) => Err(EngineError::ConnectTimeout { backend: backend.clone(), within: self.connect_timeout }),
        }
    }

    async fn open(&self, backend: &Backend) -> io::Result<Stream> {
        match backend {
            Backend::Engine(EngineAddress::Unix(path)) => Ok(over_unix(UnixStream::connect(path).await?)),
            Backend::Engine(EngineAddress::Loopback(address)) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(over_tcp(stream))
            }
            Backend::Gateway(target) => service::connect(target, self.tls.as_ref()).await,
        }
    }

    /// Forgets backends that are not in `in_use`.
    pub(crate) fn retain(&self, in_use: &HashSet<&Backend>) {
        self.idle.all().for_each(|idle| lock(idle).retain(|backend, _| in_use.contains(&**backend)));
    }

    /// Lets go of connections that backends close while they are idle. Never ends.
    pub(crate) async fn sweep(&self) {
        loop {
            sleep(SWEEP_EVERY).await;
            for idle in self.idle.all() {
                // To close one takes longer than its worker should wait for the lock.
                drop(take_closed(idle));
                yield_now().await;
            }
        }
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Relaxed);
        self.idle.all().for_each(|idle| lock(idle).clear());
    }

    /// Those of the worker whose thread this is.
    fn mine(&self) -> MutexGuard<'_, Idle> {
        lock(self.idle.mine())
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that their backend has closed.
fn take_closed(idle: &Mutex<Idle>) -> Kept {
    lock(idle).values_mut().flat_map(|kept| kept.extract_if(.., |connection| !connection.is_open())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::net::TcpListener;

    use super::*;

    struct Engine {
        listener: TcpListener,
        backend: Arc<Backend>,
    }

    impl Engine {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = EngineAddress::Loopback(listener.local_addr().unwrap());
            Self { listener, backend: Arc::new(Backend::Engine(address)) }
        }

        async fn connection(&self, pool: &EnginePool) -> (Box<Connection>, TcpStream) {
            let (connection, accepted) = tokio::join!(pool.connect(&self.backend), self.listener.accept());
            (connection.unwrap(), accepted.unwrap().0)
        }
    }

    fn pool(idle_max: usize) -> EnginePool {
        EnginePool::new(0, idle_max, Duration::from_secs(10), None)
    }

    fn kept(pool: &EnginePool) -> usize {
        pool.mine().values().map(Vec::len).sum()
    }

    /// Rule 9: everything is bounded.
    #[tokio::test]
    async fn rule_9_so_many_are_kept_and_no_more() {
        let (pool, engine) = (pool(2), Engine::start().await);
        let mut open = Vec::new();
        for _ in 0..3 {
            let (connection, there) = engine.connection(&pool).await;
            open.push(there);
            pool.put(&engine.backend, connection);
        }
        assert_eq!(kept(&pool), 2);
        assert!(pool.take(&engine.backend).is_some() && pool.take(&engine.backend).is_some());
        assert!(pool.take(&engine.backend).is_none());
    }

    #[tokio::test]
    async fn what_a_backend_closes_is_let_go_of_and_not_used() {
        let (pool, engine) = (pool(8), Engine::start().await);
        let (first, there) = engine.connection(&pool).await;
        let (second, still_there) = engine.connection(&pool).await;
        pool.put(&engine.backend, second);
        pool.put(&engine.backend, first);
        drop(there);
        let let_go = async {
            while kept(&pool) > 1 {
                tokio::time::pause();
                tokio::time::advance(SWEEP_EVERY).await;
                tokio::time::resume();
                yield_now().await;
            }
        };
        tokio::select! {
            () = let_go => {}
            () = pool.sweep() => {}
        }
        assert!(pool.take(&engine.backend).is_some_and(|mut left| left.is_open()));
        drop(still_there);
    }

    #[tokio::test]
    async fn many_that_were_closed_are_all_let_go_of_at_once() {
        let (pool, engine) = (pool(500), Engine::start().await);
        for _ in 0..300 {
            let (connection, there) = engine.connection(&pool).await;
            pool.put(&engine.backend, connection);
            drop(there);
        }
        let mut gone = 0;
        while gone < 300 {
            let now = take_closed(pool.idle.mine()).len();
            // All of which it is known: more than tokio lets one task do before it is another one's turn.
            assert!(now == 0 || now > 200 || gone > 0, "{now}");
            gone += now;
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_backend_that_is_gone_is_forgotten_and_a_closed_pool_keeps_nothing() {
        let (pool, engine) = (pool(8), Engine::start().await);
        let (connection, _there) = engine.connection(&pool).await;
        pool.put(&engine.backend, connection);
        pool.retain(&HashSet::from([&*engine.backend]));
        assert_eq!(kept(&pool), 1);
        pool.retain(&HashSet::new());
        assert_eq!(kept(&pool), 0);
        let (connection, _there) = engine.connection(&pool).await;
        pool.close();
        pool.put(&engine.backend, connection);
        assert_eq!(kept(&pool), 0);
    }
}
