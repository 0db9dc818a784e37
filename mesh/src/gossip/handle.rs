//! The way to the gossip task.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use shoal_types::{MeshId, NodeFacts, NodeId, UnixMillis, View};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

use super::{Key, Link, actor::Actor};
use crate::store::Snapshot;

/// Publications that wait for the task; publishers wait for their own, so there are hardly ever two.
const COMMANDS_MAX: usize = 64;

/// Who gossips, how, and as which start of itself.
#[derive(Debug)]
pub(crate) struct GossipConfig {
    pub(crate) me: NodeId,
    pub(crate) mesh: MeshId,
    pub(crate) generation: UnixMillis,
    pub(crate) interval: Duration,
    pub(crate) state_dir: PathBuf,
}

/// What gossip stands on.
pub(crate) struct GossipParts {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) inbound: mpsc::Receiver<(NodeId, Bytes)>,
    pub(crate) connected: watch::Receiver<BTreeSet<NodeId>>,
    pub(crate) specs: watch::Receiver<Arc<Snapshot>>,
}

/// Why gossip cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// chitchat refused its configuration.
    #[error("starting gossip: {0:#}")]
    Start(anyhow::Error),
    /// A node without facts is invisible.
    #[error("starting gossip: this node's facts cannot be gossiped; shorten its labels and engine list")]
    Facts,
}

/// One change of the own keys.
pub(super) type Change = (Key, Option<String>);

pub(super) enum Command {
    /// Say this from now on; answered once the view shows it.
    Publish(Vec<Change>, oneshot::Sender<()>),
    /// Say goodbye; answered once the others can know.
    Leave(oneshot::Sender<()>),
}

/// The gossip of this node. Clones share it. It ends when the token that it was started with is cancelled.
#[derive(Debug, Clone)]
pub(crate) struct Gossip {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<View>>,
}

impl Gossip {
    /// Starts gossiping `facts`. Tasks run on `tasks` until `stop`.
    pub(crate) async fn start(
        config: GossipConfig,
        facts: &NodeFacts,
        parts: GossipParts,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, GossipError> {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let facts = encode(Key::Facts, facts).ok_or(GossipError::Facts)?;
        let (actor, view) = Actor::start(config, facts, parts, inbox, tasks.clone()).await?;
        tasks.spawn(actor.run(stop));
        Ok(Self { commands, view })
    }

    /// Everything known; changes with every new snapshot.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Says `value` under `key` from now on. When it returns, the own view shows it; others hear it within a few rounds.
    /// What is too large for gossip is logged and not said at all.
    pub(crate) async fn publish(&self, key: Key, value: &impl Serialize) {
        if let Some(text) = encode(key, value) {
            self.change(vec![(key, Some(text))]).await;
        }
    }

    /// Says nothing under `keys` from now on.
    pub(crate) async fn retract(&self, keys: impl IntoIterator<Item = Key>) {
        self.change(keys.into_iter().map(|key| (key, None)).collect()).await;
    }

    /// Says all `values` under their keys from now on, in one step.
    pub(crate) async fn publish_all<T: Serialize>(&self, values: impl IntoIterator<Item = (Key, Option<T>)>) {
        let change = |(key, value): (Key, Option<T>)| match value {
            Some(value) => encode(key, &value).map(|text| (key, Some(text))),
            None => Some((key, None)),
        };
        self.change(values.into_iter().filter_map(change).collect()).await;
    }

    /// Says goodbye, and returns once the live peers were told or had five rounds to hear it.
    pub(crate) async fn leave(&self) {
        let (done, told) = oneshot::channel();
        self.command(Command::Leave(done), told).await;
    }

    async fn change(&self, changes: Vec<Change>) {
        let (done, shown) = oneshot::channel();
        self.command(Command::Publish(changes, done), shown).await;
    }

    /// A task that has stopped says nothing any more, which is as it should be.
    async fn command(&self, command: Command, answer: oneshot::Receiver<()>) {
        if self.commands.send(command).await.is_ok() {
            let _stopped = answer.await;
        }
    }
}

/// The JSON text of `value`; `None`, logged, if it cannot be gossiped.
fn encode(key: Key, value: &impl Serialize) -> Option<String> {
    let text = match serde_json::to_string(value) {
        Ok(text) => text,
        Err(error) => {
            error!(%key, %error, "a value cannot be encoded and is not gossiped");
            return None;
        }
    };
    if text.len() > key.value_max() {
        error!(%key, bytes = text.len(), max = key.value_max(), "a value is too large and is not gossiped");
        return None;
    }
    Some(text)
}
