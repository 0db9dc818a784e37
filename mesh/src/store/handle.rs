//! The door of the store: async, never blocking a runtime thread.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use shoal_types::{Endpoint, EndpointName, EndpointRecord, Hlc, NodeId, UnixMillis};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::task::TaskTracker;
use tracing::error;

use super::{Keys, Snapshot, StoreError, clocks::Clocks, core::Core, entry::Entry};
use crate::{clock::Skew, identity::Identity};

/// Own writes that wait to be pushed. What finds no room is fetched by peers when they see the digest.
const FRESH_MAX: usize = 64;

/// Endpoint specs, join tokens, keys of clients and revocations, replicated on every node. Clones share one store.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Held while the disk is written, so only ever on blocking threads. Readers use the snapshot.
    core: Mutex<Core>,
    clocks: Mutex<Clocks>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// Those of the snapshot; changes only if they do.
    keys: watch::Sender<Arc<Keys>>,
    fresh: mpsc::Sender<Arc<Entry>>,
    tasks: TaskTracker,
    /// Nobody takes over any more what is written here.
    closed: AtomicBool,
}

/// What `apply` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The endpoint as it stands now.
    pub record: EndpointRecord,
    /// `false` if it was like that already: no new version was made.
    pub changed: bool,
}

impl Store {
    /// Opens the store at `path`, or makes it. The receiver gets every own write, to be pushed to the peers.
    pub(crate) async fn open(
        path: PathBuf,
        identity: Arc<Identity>,
        now: UnixMillis,
        tasks: TaskTracker,
    ) -> Result<(Self, mpsc::Receiver<Arc<Entry>>), StoreError> {
        let opening = tasks.spawn_blocking(move || Core::open(&path, identity, now));
        let core = opening.await.map_err(|_| StoreError::Interrupted)??;
        let (fresh, to_push) = mpsc::channel(FRESH_MAX);
        let snapshot = core.snapshot();
        let keys = watch::Sender::new(Arc::clone(&snapshot.keys));
        let snapshot = watch::Sender::new(Arc::new(snapshot));
        let (core, clocks) = (Mutex::new(core), Mutex::default());
        Ok((
            Self {
                shared: Arc::new(Shared { core, clocks, snapshot, keys, fresh, tasks, closed: AtomicBool::new(false) }),
            },
            to_push,
        ))
    }

    /// Makes `endpoint` stand. The write is on disk when this returns, and is then pushed to the live peers. With
    /// `expected`, only if that version stands. Dropping the future does not undo the write.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another version stands than `expected`, [`StoreError::ClockSkew`] if the peers' clocks
    /// say that `now` is wrong; else why it could not be written.
    pub async fn apply(
        &self,
        endpoint: Endpoint,
        expected: Option<Hlc>,
        now: UnixMillis,
    ) -> Result<Applied, StoreError> {
        self.check_writable(now)?;
        let (record, entry) = self.blocking(move |core| core.apply(endpoint, expected, now)).await?;
        let changed = entry.is_some();
        entry.into_iter().for_each(|entry| self.push(entry));
        Ok(Applied { record: Arc::unwrap_or_clone(record), changed })
    }

    /// Writes the endpoint `name` again as it is, so that what was decided by its version is decided anew; otherwise as
    /// [`Self::apply`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, and those of [`Self::apply`].
    pub async fn touch(
        &self,
        name: &EndpointName,
        expected: Option<Hlc>,
        now: UnixMillis,
    ) -> Result<Applied, StoreError> {
        self.check_writable(now)?;
        let name = name.clone();
        let (record, entry) = self.blocking(move |core| core.touch(&name, expected, now)).await?;
        self.push(entry);
        Ok(Applied { record: Arc::unwrap_or_clone(record), changed: true })
    }

    /// Deletes the endpoint `name`; otherwise as [`Self::apply`]. Returns what was deleted.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, and those of [`Self::apply`].
    pub async fn delete(
        &self,
        name: &EndpointName,
        expected: Option<Hlc>,
        now: UnixMillis,
    ) -> Result<EndpointRecord, StoreError> {
        self.check_writable(now)?;
        let name = name.clone();
        let (record, entry) = self.blocking(move |core| core.delete(&name, expected, now)).await?;
        self.push(entry);
        Ok(Arc::unwrap_or_clone(record))
    }

    /// All endpoints.
    pub fn endpoints(&self) -> BTreeMap<EndpointName, Arc<EndpointRecord>> {
        self.snapshot().endpoints.clone()
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshot.subscribe()
    }

    pub(super) fn watch_keys(&self) -> watch::Receiver<Arc<Keys>> {
        self.shared.keys.subscribe()
    }

    /// Forgets what all nodes have heard of; see [`Core::sweep`].
    pub(super) async fn sweep(&self, now: UnixMillis) -> Result<bool, StoreError> {
        self.blocking(move |core| core.sweep(now)).await
    }

    /// Another node has exactly what this one has; see [`Core::settle`].
    pub(super) async fn settle(&self, now: UnixMillis) -> Result<(), StoreError> {
        self.blocking(move |core| core.settle(now)).await
    }

    /// What peers say the time is.
    pub(super) fn clocks(&self) -> MutexGuard<'_, Clocks> {
        self.shared.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far this host's clock is from that of each peer that was asked within two minutes; in a large mesh that is a
    /// sample.
    pub fn clock_offsets(&self, now: UnixMillis) -> BTreeMap<NodeId, Skew> {
        self.clocks().offsets(now, Instant::now())
    }

    /// How far `now` is off by what peers say, if that is too far.
    pub(super) fn skew(&self, now: UnixMillis) -> Option<Skew> {
        self.clocks().skew(now, Instant::now())
    }

    /// To be asked before every write: a write must not be acknowledged that others will not take over.
    pub(super) fn check_writable(&self, now: UnixMillis) -> Result<(), StoreError> {
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Revoked);
        }
        self.skew(now).map_or(Ok(()), |skew| Err(StoreError::ClockSkew { skew }))
    }

    /// This node is revoked: it takes no more writes.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }

    /// Hands an own write to whoever pushes it.
    pub(super) fn push(&self, entry: Arc<Entry>) {
        let _fetched_later = self.shared.fresh.try_send(entry);
    }

    /// Runs `work` on the store where blocking is allowed, and shows what it changed.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let running = self.shared.tasks.spawn_blocking(move || store.with_core(work));
        running.await.unwrap_or_else(|panic| {
            error!(%panic, "a write to the store was cut short");
            Err(StoreError::Interrupted)
        })
    }

    /// Runs `work` on the store, on this thread, and shows what it changed. Blocks.
    pub(super) fn with_core<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.shared.core.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut core);
        let shown = self.shared.snapshot.borrow().digest;
        if shown != core.digest() {
            let snapshot = core.snapshot();
            let keys = Arc::clone(&snapshot.keys);
            self.shared.snapshot.send_replace(Arc::new(snapshot));
            self.shared.keys.send_if_modified(|shown| {
                let changed = !Arc::ptr_eq(shown, &keys);
                *shown = keys;
                changed
            });
        }
        result
    }
}
