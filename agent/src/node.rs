//! The handle on this node's own replicas, for those who do not run them.

use std::{io, sync::Arc};

use http::HeaderMap;
use shoal_engine_supervisor::{Launch, LogReader, Supervisor};
use shoal_ingress::{Ingress, RequestRecord};
use shoal_mesh::{Mesh, identity::IssuingError};
use shoal_types::{ClaimId, Departure, GpuId, KeyId, UnixMillis};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    detail::{GpuDetail, Link, NodeDetail},
    events::{EVENTS_MAX, Event, Events},
    history::{History, Point},
    inventory::{ClearError, GpuFaults, GpuReading},
    keys::{UsageBook, UsageRow},
    replicas::Command,
    requests::RequestSummary,
};

/// What it is made of.
#[derive(Debug)]
pub(crate) struct NodeParts {
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) readings: watch::Receiver<Vec<GpuReading>>,
    pub(crate) faults: GpuFaults,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) usage: UsageBook,
    pub(crate) history: History,
    pub(crate) events: Events,
    pub(crate) mesh: Arc<Mesh>,
}

/// Asks the replica loop; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct NodeControl {
    inbox: mpsc::Sender<Command>,
    supervisor: Arc<Supervisor>,
    readings: watch::Receiver<Vec<GpuReading>>,
    faults: GpuFaults,
    ingress: Arc<Ingress>,
    usage: UsageBook,
    history: History,
    events: Events,
    mesh: Arc<Mesh>,
}

impl NodeControl {
    /// Of the parts of this node, whose replica loop has its commands from `inbox`.
    pub(crate) fn new(inbox: mpsc::Sender<Command>, parts: NodeParts) -> Self {
        let NodeParts { supervisor, readings, faults, ingress, usage, history, events, mesh } = parts;
        Self { inbox, supervisor, readings, faults, ingress, usage, history, events, mesh }
    }

    /// The steps of this node's ingress that ended after `after`, the newest last.
    pub(crate) fn history(&self, after: UnixMillis) -> Vec<Arc<Point>> {
        self.history.since(after)
    }

    /// What happened at this node `since` then, the newest last.
    pub(crate) fn events(&self, since: UnixMillis) -> Vec<Arc<Event>> {
        self.events.since(since, EVENTS_MAX, |_| true)
    }

    /// The latest requests that this node's ingress took, the newest first, at most `limit`.
    pub(crate) fn latest_requests(&self, limit: usize) -> Vec<RequestSummary> {
        self.ingress.latest_requests(limit).iter().map(|record| RequestSummary::from(record.as_ref())).collect()
    }

    /// The key that a request with `headers` shows, if it is good.
    pub(crate) fn shown_key(&self, headers: &HeaderMap) -> Option<KeyId> {
        self.ingress.shown_key(headers)
    }

    /// Requests with this id that this node's ingress took lately, the newest first.
    pub(crate) fn requests(&self, id: &str) -> Vec<Arc<RequestRecord>> {
        self.ingress.requests(id)
    }

    /// What clients of this node's ingress used on day `since` and later, but for the last second or so.
    pub(crate) fn key_usage(&self, since: u32) -> Vec<UsageRow> {
        self.usage.rows(since)
    }

    /// This node, closely.
    pub(crate) fn detail(&self) -> NodeDetail {
        NodeDetail {
            gpus: self.readings.borrow().iter().map(GpuDetail::from).collect(),
            models: self.supervisor.models(),
            links: self.mesh.peers().iter().filter_map(Link::of).collect(),
        }
    }

    /// An operator says that `gpu` of this node is well again.
    ///
    /// # Errors
    /// If there is nothing to forget, or the GPU still shows what is wrong.
    pub(crate) async fn clear_fault(&self, gpu: GpuId) -> Result<(), ClearError> {
        self.faults.clear(gpu).await
    }

    /// Asks that this node become an issuer, or one with a new key; the request as text, or why there is none.
    pub(crate) async fn request_issuer(&self) -> Result<String, String> {
        self.mesh.request_issuer().await.map(|request| request.to_string()).map_err(|error| error.to_string())
    }

    /// Takes up what was signed for the latest request, or says why not.
    pub(crate) async fn install_issuer(&self, grant: &str) -> Result<(), String> {
        let grant = grant.parse().map_err(|error: IssuingError| error.to_string())?;
        self.mesh.install_issuer(grant).await.map_err(|error| error.to_string())
    }

    /// Starts or ends the drain of this node, and remembers it over restarts.
    ///
    /// # Errors
    /// If it cannot be remembered, or the daemon is stopping; then nothing has changed.
    pub(crate) async fn set_draining(&self, draining: bool) -> io::Result<()> {
        let stopping = || io::Error::other("the daemon is stopping");
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Command::SetDraining(draining, reply)).await.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Whether this node serves `claim`, and means to go on.
    pub(crate) async fn serves(&self, claim: ClaimId) -> bool {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Command::Serves(claim, reply)).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Returns, once the replica loop gets to it, whether that loop still runs.
    pub(crate) async fn is_live(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Command::Answer(reply)).await.is_ok() && answer.await.is_ok()
    }

    /// Gives up all replicas by the deadline of `departure`; returns when the last one is gone.
    pub(crate) async fn leave(&self, departure: Departure) {
        let (reply, gone) = oneshot::channel();
        if self.inbox.send(Command::Leave(departure, reply)).await.is_ok() {
            let _ = gone.await;
        }
    }

    /// The log of a replica of this node.
    pub(crate) fn logs(&self, claim: ClaimId, launch: Launch) -> Option<LogReader> {
        self.supervisor.logs(claim, launch)
    }
}
