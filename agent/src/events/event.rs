//! What an event says.

use std::fmt;

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointName, ReplicaState, UnixMillis};

/// Most of a message, in bytes; what is longer is cut.
const MESSAGE_MAX: usize = 1024;

/// Something that happened, as one node tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    /// Its number at its node. Never used again there, and rising.
    pub(crate) number: u64,
    /// When, by the clock of its node.
    pub(crate) at: UnixMillis,
    /// Name of the node that tells it.
    pub(crate) node: String,
    /// Whether somebody should look.
    pub(crate) level: Level,
    /// Stable word for what happened, one of [`Reason`] or what a newer node has.
    pub(crate) reason: String,
    /// What it happened to.
    pub(crate) about: Subject,
    /// The endpoint that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<EndpointName>,
    /// Who did it.
    pub(crate) actor: String,
    /// What happened, for people.
    pub(crate) message: String,
    /// Other nodes that tell the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) also: Vec<String>,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Things went their way.
    Normal,
    /// Something went wrong, or may.
    Warning,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
        })
    }
}

/// What an event is about: `endpoint/llama`, `node/gpu-a`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Subject(String);

impl Subject {
    pub(crate) fn endpoint(name: &EndpointName) -> Self {
        Self(format!("endpoint/{name}"))
    }

    pub(crate) fn replica(name: &str) -> Self {
        Self(format!("replica/{name}"))
    }

    pub(crate) fn node(name: &str) -> Self {
        Self(format!("node/{name}"))
    }

    pub(crate) fn gpu(id: impl fmt::Display) -> Self {
        Self(format!("gpu/{id}"))
    }

    pub(crate) fn key(name: impl fmt::Display) -> Self {
        Self(format!("key/{name}"))
    }

    pub(crate) fn token(id: impl fmt::Display) -> Self {
        Self(format!("token/{id}"))
    }

    /// The mesh as a whole.
    pub(crate) fn mesh() -> Self {
        Self("mesh".to_owned())
    }

    /// Whether it is a part of the node that tells of it.
    fn is_of_a_node(&self) -> bool {
        self.0.starts_with("replica/") || self.0.starts_with("gpu/")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Event {
    /// Whether it concerns `subject`, such as `endpoint/llama` or `node/gpu-a`: an endpoint has its replicas, a node what
    /// is on it.
    pub(crate) fn concerns(&self, subject: &str) -> bool {
        let endpoint =
            || self.endpoint.as_ref().is_some_and(|name| subject.strip_prefix("endpoint/") == Some(name.as_str()));
        let node = || self.about.is_of_a_node() && subject.strip_prefix("node/") == Some(&self.node);
        self.about.0 == subject || endpoint() || node()
    }

    /// Whether `other` is the same observation, made elsewhere. What people did is never the same.
    pub(super) fn is_also(&self, other: &Self) -> bool {
        let by_itself = |event: &Self| event.actor.strip_prefix("node ") == Some(&event.node);
        by_itself(self)
            && by_itself(other)
            && self.reason == other.reason
            && self.about == other.about
            && self.node != other.node
            && !self.also.contains(&other.node)
    }
}

/// What happened, in a word that stays. `docs/events.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    // What people did.
    EndpointApplied,
    EndpointDeleted,
    RolloutSteered,
    DrainAsked,
    UndrainAsked,
    GpuCleared,
    NodeRevoked,
    TokenCreated,
    TokenRevoked,
    KeyCreated,
    KeyRevoked,
    IssuerInstalled,
    BackupRestored,
    RootReplaced,
    WriteRefused,
    // What became of nodes.
    DaemonStarted,
    DaemonStopping,
    NodeJoined,
    NodeSilent,
    NodeBack,
    NodeLeft,
    NodeLeaving,
    NodeStays,
    // What became of GPUs.
    GpuFault,
    GpuWell,
    // What became of replicas.
    ReplicaClaimed,
    ReplicaPreparing,
    ReplicaStarting,
    ReplicaLoading,
    ReplicaWarming,
    ReplicaBackoff,
    ReplicaReady,
    ReplicaDraining,
    ReplicaAsleep,
    ReplicaFailed,
    ReplicaGone,
    // What stewards decided, and what came of it.
    Scaled,
    RolloutBegun,
    RolloutStep,
    RolloutPaused,
    RolloutComplete,
    RolledBack,
    NoPlace,
    RoomIsMade,
    Placed,
}

impl Reason {
    /// That a replica came into `state`.
    pub(super) const fn of_state(state: ReplicaState) -> Self {
        match state {
            ReplicaState::Claimed => Self::ReplicaClaimed,
            ReplicaState::Preparing => Self::ReplicaPreparing,
            ReplicaState::Starting => Self::ReplicaStarting,
            ReplicaState::Loading => Self::ReplicaLoading,
            ReplicaState::Warming => Self::ReplicaWarming,
            ReplicaState::Backoff => Self::ReplicaBackoff,
            ReplicaState::Ready => Self::ReplicaReady,
            ReplicaState::Draining => Self::ReplicaDraining,
            ReplicaState::Asleep => Self::ReplicaAsleep,
            ReplicaState::Failed => Self::ReplicaFailed,
        }
    }

    const fn level(self) -> Level {
        match self {
            Self::WriteRefused
            | Self::NodeSilent
            | Self::GpuFault
            | Self::ReplicaBackoff
            | Self::ReplicaFailed
            | Self::RolloutPaused
            | Self::RolledBack
            | Self::NoPlace => Level::Warning,
            _ => Level::Normal,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An event before it has its place in the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    reason: Reason,
    about: Subject,
    endpoint: Option<EndpointName>,
    /// Who did it, if not the node by itself.
    actor: Option<String>,
    message: String,
}

impl Draft {
    pub(crate) fn new(reason: Reason, about: Subject, message: impl Into<String>) -> Self {
        Self { reason, about, endpoint: None, actor: None, message: cut(message.into()) }
    }

    /// Of something that happened to the endpoint `name` itself.
    pub(crate) fn of_endpoint(reason: Reason, name: &EndpointName, message: impl Into<String>) -> Self {
        Self::new(reason, Subject::endpoint(name), message).concerning(name)
    }

    pub(crate) fn concerning(self, endpoint: &EndpointName) -> Self {
        Self { endpoint: Some(endpoint.clone()), ..self }
    }

    pub(crate) fn by(self, actor: impl fmt::Display) -> Self {
        Self { actor: Some(actor.to_string()), ..self }
    }

    /// Whether `event` is of the same actor, for the same reason.
    pub(super) fn is_like(&self, event: &Event) -> bool {
        self.actor.as_ref() == Some(&event.actor) && event.reason == self.reason.to_string()
    }

    /// The event, as `node` tells it.
    pub(super) fn told(self, number: u64, at: UnixMillis, node: &str) -> Event {
        let Self { reason, about, endpoint, actor, message } = self;
        let actor = actor.unwrap_or_else(|| format!("node {node}"));
        let (node, level) = (node.to_owned(), reason.level());
        Event { number, at, node, level, reason: reason.to_string(), about, endpoint, actor, message, also: Vec::new() }
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX - "…".len()).rev().find(|&end| message.is_char_boundary(end)).unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(draft: Draft) -> Event {
        draft.told(1, UnixMillis::from_millis(5), "gpu-a")
    }

    #[test]
    fn an_endpoint_has_its_replicas_and_a_node_what_is_on_it() {
        let llama: EndpointName = "llama".parse().unwrap();
        let replica = told(Draft::new(Reason::ReplicaReady, Subject::replica("llama-x"), "").concerning(&llama));
        let seen = ["replica/llama-x", "endpoint/llama", "node/gpu-a"];
        assert!(seen.iter().all(|subject| replica.concerns(subject)));
        assert!(!replica.concerns("endpoint/lla") && !replica.concerns("node/gpu-b"));
        let applied = told(Draft::of_endpoint(Reason::EndpointApplied, &llama, "").by("uid 0"));
        assert!(applied.concerns("endpoint/llama") && !applied.concerns("node/gpu-a"), "it only took the write");
        assert_eq!((applied.actor.as_str(), replica.actor.as_str()), ("uid 0", "node gpu-a"));
    }

    /// Rule 9: everything is bounded.
    #[test]
    fn a_message_is_cut_between_two_characters() {
        let event = told(Draft::new(Reason::NoPlace, Subject::mesh(), "ü".repeat(2_000)));
        assert!(event.message.len() <= MESSAGE_MAX && event.message.ends_with("ü…"));
        assert_eq!((event.level, event.reason.as_str()), (Level::Warning, "NoPlace"));
    }
}
