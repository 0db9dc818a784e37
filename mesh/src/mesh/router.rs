//! Streams that peers open, handed to those who answer them.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::transport::{InboundStream, StreamKind};

/// Streams that wait for the store's task; each is a peer comparing or pushing.
const SYNC_MAX: usize = 64;
/// Streams that wait for the agent, which hands each to a task of its own at once.
const AGENT_MAX: usize = 256;

pub(super) struct Router {
    inbound: mpsc::Receiver<InboundStream>,
    sync: mpsc::Sender<InboundStream>,
    agent: mpsc::Sender<InboundStream>,
}

impl Router {
    /// The router, and where streams for the store and for the agent come out.
    pub(super) fn new(
        inbound: mpsc::Receiver<InboundStream>,
    ) -> (Self, mpsc::Receiver<InboundStream>, mpsc::Receiver<InboundStream>) {
        let (sync, sync_streams) = mpsc::channel(SYNC_MAX);
        let (agent, agent_streams) = mpsc::channel(AGENT_MAX);
        (Self { inbound, sync, agent }, sync_streams, agent_streams)
    }

    /// Runs until `stop`, or until the transport has ended. A stream whose taker is behind is dropped, which resets
    /// it: the peer then asks elsewhere, instead of waiting for nothing.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(stream)) = stop.run_until_cancelled(self.inbound.recv()).await {
            let (from, kind) = (stream.from, stream.kind);
            let taker = match kind {
                StreamKind::StoreSync => &self.sync,
                StreamKind::Forward | StreamKind::Admin | StreamKind::Probe => &self.agent,
            };
            if taker.try_send(stream).is_err() {
                warn!(%from, ?kind, "too many streams wait to be taken; one was reset");
            }
        }
    }
}
