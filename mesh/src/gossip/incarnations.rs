//! The chitchat that runs now, and the one that follows it when a message has made it panic.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use shoal_types::UnixMillis;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::{
    Key,
    backoff::Backoff,
    next_generation,
    protocol::{Protocol, Voice},
    wire::Wire,
};
use crate::clock;

/// One after another, each under a higher generation.
pub(super) struct Incarnations {
    voice: Voice,
    generation: UnixMillis,
    state_dir: PathBuf,
    wire: Arc<Wire>,
    tasks: TaskTracker,
    current: Option<Protocol>,
    end: BoxFuture<'static, anyhow::Result<()>>,
    restart: Backoff,
}

impl Incarnations {
    /// Starts the first one, which says `own`.
    pub(super) async fn start(
        voice: Voice,
        generation: UnixMillis,
        state_dir: PathBuf,
        own: &BTreeMap<Key, String>,
        wire: Arc<Wire>,
        tasks: TaskTracker,
    ) -> anyhow::Result<Self> {
        let first = Protocol::start(voice, generation, own, wire.clone()).await?;
        let (end, restart) = (first.ended(), Backoff::new(Instant::now()));
        Ok(Self { voice, generation, state_dir, wire, tasks, current: Some(first), end, restart })
    }

    /// The one that runs, if any.
    pub(super) const fn current(&self) -> Option<&Protocol> {
        self.current.as_ref()
    }

    /// Resolves when the current one has ended; then [`Self::bury`] it. Cancel safe.
    pub(super) async fn ended(&mut self) {
        let _panicked = (&mut self.end).await;
    }

    /// chitchat's task has ended: a message made it panic.
    pub(super) fn bury(&mut self) {
        self.end = Box::pin(std::future::pending());
        let ran = self.current.take().map_or(Duration::ZERO, |protocol| protocol.started.elapsed());
        let sender = self.wire.mute_last_sender().map(|node| node.to_string()).unwrap_or_default();
        let restart_in = self.restart.failed(ran, Instant::now());
        error!(last_sender = %sender, ?restart_in, "gossip ended unexpectedly and is restarted");
    }

    /// Starts the next one, which says `own`, if none runs and it is time. Returns whether it did.
    pub(super) async fn restart_if_due(&mut self, own: &BTreeMap<Key, String>, now: Instant) -> bool {
        if self.current.is_some() || !self.restart.is_due(now) {
            return false;
        }
        self.generation = self.next_generation().await;
        match Protocol::start(self.voice, self.generation, own, self.wire.clone()).await {
            Ok(protocol) => {
                info!(generation = self.generation.as_millis(), "gossip is running again");
                self.end = protocol.ended();
                self.current = Some(protocol);
                true
            }
            Err(error) => {
                error!(%error, "gossip cannot be restarted yet");
                self.restart.failed(Duration::ZERO, Instant::now());
                false
            }
        }
    }

    /// A new chitchat needs a new generation: peers hold higher versions of the old one than it would begin with.
    async fn next_generation(&mut self) -> UnixMillis {
        let (directory, now) = (self.state_dir.clone(), clock::now());
        let next = self.tasks.spawn_blocking(move || next_generation(&directory, now)).await;
        next.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).unwrap_or_else(|error| {
            warn!(%error, "the generation of a restarted gossip could not be written");
            now.max(self.generation.plus(Duration::from_millis(1)))
        })
    }

    /// Stops the one that runs.
    pub(super) async fn stop(self) {
        if let Some(protocol) = self.current {
            protocol.stop().await;
        }
    }
}
