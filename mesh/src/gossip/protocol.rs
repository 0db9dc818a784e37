//! One incarnation of chitchat.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use futures_util::future::BoxFuture;
use shoal_types::{MeshId, NodeId, UnixMillis};
use tokio::time::Instant;
use tracing::debug;

use super::{
    Key,
    address::stand_in,
    fold::{Heard, Read, fold},
    wire::{Wire, WireTransport},
};

/// Phi above which a node is dead to the detector: mean heartbeat intervals of silence.
const PHI: f64 = 8.0;
/// Heartbeats that the mean is taken over.
const SAMPLES: usize = 1_000;
/// How long the state of a dead node is kept, and half as long passed on. Each restart leaves one such twin in every
/// digest, which is why this is not the library's day.
const DEAD_KEPT: Duration = Duration::from_secs(10 * 60);
/// How long a deleted key is kept; a peer that was away longer fetches the node's state anew.
const DELETED_KEPT: Duration = Duration::from_secs(15 * 60);
/// Longest wait for chitchat's task to end.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Who gossips, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    pub(super) me: NodeId,
    pub(super) mesh: MeshId,
    pub(super) interval: Duration,
}

/// A running chitchat under one generation.
pub(super) struct Protocol {
    handle: ChitchatHandle,
    pub(super) started: Instant,
}

impl Protocol {
    /// Starts one that says `own` from its first message on.
    pub(super) async fn start(
        voice: Voice,
        generation: UnixMillis,
        own: &BTreeMap<Key, String>,
        wire: Arc<Wire>,
    ) -> anyhow::Result<Self> {
        let config = config(voice, generation, &wire);
        let values = own.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        let handle = spawn_chitchat(config, values, &WireTransport(wire)).await?;
        Ok(Self { handle, started: Instant::now() })
    }

    /// Resolves when chitchat's task has ended, which it does of itself only by a panic.
    pub(super) fn ended(&self) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(self.handle.termination_watcher())
    }

    /// Says `value` under `key` from now on, or nothing.
    pub(super) async fn set(&self, key: Key, value: Option<&str>) {
        let key = key.to_string();
        self.handle
            .with_chitchat(|chitchat| match value {
                Some(value) => chitchat.self_node_state().set(&key, value),
                None if chitchat.self_node_state().contains_key(&key) => chitchat.self_node_state().delete(&key),
                None => {}
            })
            .await;
    }

    /// What is known of the others; values only where `read` is out of date.
    pub(super) async fn heard(&self, read: &BTreeMap<NodeId, Read>) -> Vec<Heard> {
        self.handle.with_chitchat(|chitchat| fold(chitchat, read)).await
    }

    /// Exchanges news with `nodes`, outside the rounds that chitchat makes by itself.
    pub(super) fn gossip_with(&self, nodes: &BTreeSet<NodeId>) {
        for node in nodes {
            if let Err(error) = self.handle.gossip(stand_in(*node)) {
                debug!(%error, "chitchat has just ended");
            }
        }
    }

    /// Stops it.
    pub(super) async fn stop(self) {
        match tokio::time::timeout(STOP_WITHIN, self.handle.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "chitchat's task did not end cleanly"),
            Err(_) => debug!("chitchat's task did not end in time"),
        }
    }
}

fn config(voice: Voice, generation: UnixMillis, wire: &Wire) -> ChitchatConfig {
    let address = wire.book.note(voice.me);
    ChitchatConfig {
        chitchat_id: ChitchatId::new(voice.me.to_string(), generation.as_millis(), address),
        cluster_id: voice.mesh.to_string(),
        gossip_interval: voice.interval,
        listen_addr: address,
        // The actor knocks at known peers itself: the list changes while chitchat runs.
        seed_nodes: Vec::new(),
        // The bound on the mean interval is what bounds detection: 8 x 4 intervals in the worst case.
        failure_detector_config: FailureDetectorConfig::new(
            PHI,
            SAMPLES,
            voice.interval * 4,
            voice.interval * 2,
            DEAD_KEPT,
        ),
        marked_for_deletion_grace_period: DELETED_KEPT,
        catchup_callback: None,
        extra_liveness_predicate: None,
    }
}
