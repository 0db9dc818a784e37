//! What the admin API answers. Tables and JSON of the command line both come from these.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use shoal_types::{
    ClaimId, Departure, Endpoint, EndpointName, Gpu, GpuSource, Hlc, Labels, Liveness, Load, NodeFacts, NodeId,
    Progress, ReplicaState, Revision, UnixMillis,
};

/// The whole mesh in one screen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MeshStatus {
    /// Of which mesh.
    pub(crate) mesh: String,
    /// The node that answers.
    pub(crate) node: String,
    /// Its version.
    pub(crate) version: String,
    /// Until when its certificate is good.
    pub(crate) certificate_expires: UnixMillis,
    /// Below which clients find its API, such as `http://127.0.0.1:8080`.
    #[serde(default)]
    pub(crate) ingress: String,
    /// Whether they must show a key there.
    #[serde(default)]
    pub(crate) key_needed: bool,
    /// Where its dashboard is, if it listens for browsers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dashboard: Option<String>,
    /// All nodes known.
    pub(crate) nodes: Vec<NodeStatus>,
    /// All endpoints.
    pub(crate) endpoints: Vec<EndpointStatus>,
    /// What needs somebody's attention, a sentence each; empty when healthy.
    pub(crate) problems: Vec<String>,
}

/// One node as the answering node knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeStatus {
    /// Who.
    pub(crate) id: NodeId,
    /// What people call it.
    pub(crate) name: String,
    /// Whether it is there.
    pub(crate) liveness: Liveness,
    /// Set when it is leaving.
    pub(crate) departure: Option<Departure>,
    /// What it says of itself.
    pub(crate) facts: NodeFacts,
    /// Its GPUs.
    pub(crate) gpus: Vec<Gpu>,
    /// How many of them nobody holds.
    pub(crate) gpus_free: usize,
    /// Its replicas.
    pub(crate) replicas: Vec<ReplicaStatus>,
    /// Milliseconds since it last said something new (a node that has nothing to say is silent, and none the less
    /// alive); 0 for the answering node.
    pub(crate) age_ms: u64,
    /// Round trip to it in milliseconds, where there is a connection.
    pub(crate) rtt_ms: Option<f64>,
}

impl NodeStatus {
    /// Where it stands and what it costs.
    pub(crate) const fn labels(&self) -> &Labels {
        &self.facts.labels
    }

    /// `8 x NVIDIA H100 80GB HBM3`, or `-`; marked where the GPUs do not exist.
    pub(crate) fn gpu_summary(&self) -> String {
        let whole = || self.gpus.iter().filter(|gpu| gpu.mig.is_none());
        let Some(first) = whole().next() else { return "-".to_owned() };
        let mark = if self.facts.gpu_source == GpuSource::Simulated { " (simulated)" } else { "" };
        format!("{} x {}{mark}", whole().count(), first.name)
    }
}

/// One endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointStatus {
    /// What was applied.
    #[serde(flatten)]
    pub(crate) endpoint: Endpoint,
    /// How it is.
    pub(crate) status: EndpointCondition,
}

/// How an endpoint is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointCondition {
    /// In a word.
    pub(crate) health: EndpointHealth,
    /// Replicas wanted, of all revisions that are.
    pub(crate) desired: u32,
    /// Replicas of those revisions that serve.
    pub(crate) ready: u32,
    /// Which processes it needs.
    pub(crate) revision: Revision,
    /// The write that made it what it is.
    pub(crate) version: Hlc,
    /// Milliseconds since the quietest of the nodes that hold its replicas last said something new.
    #[serde(default)]
    pub(crate) age_ms: u64,
    /// Why so many are wanted, in its steward's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// All its replicas.
    pub(crate) replicas: Vec<ReplicaStatus>,
    /// Nodes that may not run a replica, and why; by name.
    pub(crate) excluded: BTreeMap<String, String>,
}

/// How an endpoint is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EndpointHealth {
    /// All wanted replicas serve.
    Ready,
    /// Some are on their way.
    Progressing,
    /// Replicas are missing and no node may run one.
    Unplaceable,
    /// None is wanted now: the next request starts one, or the spec allows none.
    Idle,
    /// Its rollout stands still.
    Paused,
    /// Its new revision went badly; the old one serves.
    RolledBack,
}

impl EndpointHealth {
    /// The word.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Progressing => "progressing",
            Self::Unplaceable => "unplaceable",
            Self::Idle => "idle",
            Self::Paused => "paused",
            Self::RolledBack => "rolled back",
        }
    }
}

/// One replica.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplicaStatus {
    /// The name people see and type.
    pub(crate) name: String,
    /// The claim behind it.
    pub(crate) claim: ClaimId,
    /// Which endpoint.
    pub(crate) endpoint: EndpointName,
    /// Which processes.
    pub(crate) revision: Revision,
    /// Its node's name.
    pub(crate) node: String,
    /// Whether its node is there.
    pub(crate) liveness: Liveness,
    /// Milliseconds since its node last said something new; 0 on the answering node.
    #[serde(default)]
    pub(crate) age_ms: u64,
    /// Its node's zone.
    pub(crate) zone: Option<String>,
    /// How far it has come.
    pub(crate) state: ReplicaState,
    /// When it entered that state.
    pub(crate) since: UnixMillis,
    /// Milliseconds since then.
    pub(crate) since_ms: u64,
    /// GPUs that it holds.
    pub(crate) gpus: u32,
    /// Why it is in that state.
    pub(crate) reason: Option<String>,
    /// How far the state has come, where it takes long.
    pub(crate) progress: Option<Progress>,
    /// Why it is to go although its node stays.
    pub(crate) leaving: Option<String>,
    /// What it has to do, as far as heard.
    pub(crate) load: Option<Load>,
}

impl ReplicaStatus {
    /// Whether it is only shown: it failed, and holds nothing.
    pub(crate) fn is_over(&self) -> bool {
        self.state == ReplicaState::Failed
    }
}

/// What one document of an apply did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppliedStatus {
    /// Which endpoint.
    pub(crate) name: EndpointName,
    /// What that did.
    pub(crate) outcome: ApplyOutcome,
    /// The write that made it what it is.
    pub(crate) version: Hlc,
}

/// What an apply did to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApplyOutcome {
    /// It is new.
    Created,
    /// It was another.
    Configured,
    /// It was like that before.
    Unchanged,
}

impl fmt::Display for ApplyOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        })
    }
}

/// Body of a drain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DrainRequest {
    /// `false` takes the node back into use.
    pub(crate) drain: bool,
}

/// Limits of a token to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRequest {
    /// How long it can be used, in milliseconds.
    pub(crate) ttl_ms: u64,
    /// By how many nodes.
    pub(crate) uses: u32,
    /// Whether those nodes may write specs.
    pub(crate) write: bool,
    /// Whether those nodes become issuers.
    pub(crate) issuer: bool,
    /// Labels that those nodes get.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A new token. The only time that it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TokenCreated {
    /// For `shoal token revoke`.
    pub(crate) id: String,
    /// The secret.
    pub(crate) token: String,
    /// Until when.
    pub(crate) expires: UnixMillis,
}
