//! One immutable snapshot of everything that a node knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    Claim, ClaimId, Demand, Departure, Endpoint, EndpointName, EndpointSpec, Gpu, Hlc, KeyId, KeyUse, Load, Mandate,
    MeshId, NodeFacts, NodeId, PastDeparture, Refusal, Revision, UnixMillis,
};

/// Everything that node [`View::me`] knows at one moment: rebuilt on change, then never changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Whose view it is.
    pub me: NodeId,
    /// Of which mesh.
    pub mesh: MeshId,
    /// All nodes heard of and not yet forgotten, the own one included.
    pub nodes: BTreeMap<NodeId, Arc<NodeView>>,
    /// All endpoints in the store.
    pub endpoints: BTreeMap<EndpointName, Arc<EndpointRecord>>,
}

impl View {
    /// All claims of all nodes, in the order of their ids.
    pub fn claims(&self) -> impl Iterator<Item = (&NodeView, &Claim)> {
        self.nodes.values().map(Arc::as_ref).flat_map(|node| node.claims.values().map(move |claim| (node, claim)))
    }

    /// All claims on `endpoint`.
    pub fn claims_of<'a>(&'a self, endpoint: &'a EndpointName) -> impl Iterator<Item = (&'a NodeView, &'a Claim)> {
        self.claims().filter(move |(_, claim)| claim.endpoint == *endpoint)
    }
}

/// An endpoint as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRecord {
    /// What was applied.
    pub endpoint: Endpoint,
    /// Which processes it needs.
    pub revision: Revision,
    /// The write that made it what it is.
    pub version: Hlc,
    /// Revisions before this one, the newest first: to go on with while this one is rolled out, and to go back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<PastRevision>,
}

impl EndpointRecord {
    /// What a replica of `revision` runs, as far as that is still known.
    pub fn spec_of(&self, revision: Revision) -> Option<&EndpointSpec> {
        if revision == self.revision {
            return Some(&self.endpoint.spec);
        }
        self.previous.iter().find(|past| past.revision == revision).map(|past| &past.spec)
    }
}

/// A revision that was replaced by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastRevision {
    /// Which processes.
    pub revision: Revision,
    /// What was wanted then.
    pub spec: EndpointSpec,
}

/// One node as it is known here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Who.
    pub id: NodeId,
    /// What it says of itself.
    pub facts: NodeFacts,
    /// Its GPUs, in NVML's order.
    pub gpus: Vec<Gpu>,
    /// Its claims.
    pub claims: BTreeMap<ClaimId, Claim>,
    /// Load of its replicas, as far as heard.
    pub loads: BTreeMap<ClaimId, Load>,
    /// What it will not run for now.
    pub refusals: Vec<Refusal>,
    /// Set when it is leaving.
    pub departure: Option<Departure>,
    /// Whether it is there.
    pub liveness: Liveness,
    /// What the clients of its ingress ask for.
    pub demands: BTreeMap<EndpointName, Demand>,
    /// What its ingress has let through by keys with limits.
    #[serde(default)]
    pub key_uses: BTreeMap<KeyId, KeyUse>,
    /// What it says as the steward of endpoints.
    pub mandates: BTreeMap<EndpointName, Mandate>,
    /// Its own departures of the last days, the oldest first.
    pub departures: Vec<PastDeparture>,
    /// Round trips to other clusters in milliseconds, rounded, as far as it has measured them.
    pub distances: BTreeMap<String, u32>,
    /// Models whose weights it has.
    pub models: BTreeSet<String>,
    /// Digest of the specs that it has, to compare stores by.
    pub specs: String,
    /// When it last said something new, by this node's clock.
    pub heard: UnixMillis,
}

impl NodeView {
    /// Whether it can be given new replicas, as far as it goes itself.
    pub const fn is_alive(&self) -> bool {
        matches!(self.liveness, Liveness::Alive)
    }
}

/// Whether a node is there, as this node sees it. Others may see it otherwise for some seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// Heard of within the failure detector's time.
    Alive,
    /// Not heard of since; requests go elsewhere at once, replacement waits for `replaceAfter`.
    Suspect {
        /// Since when.
        since: UnixMillis,
    },
    /// It said goodbye.
    Left,
}
