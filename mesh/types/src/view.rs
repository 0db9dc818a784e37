//! One immutable snapshot of everything that a node knows.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    Claim, ClaimId, Departure, Endpoint, EndpointName, Gpu, Hlc, Load, MeshId, NodeFacts, NodeId, Refusal, Revision,
    UnixMillis,
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
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// All endpoints in the store.
    pub endpoints: BTreeMap<EndpointName, Arc<EndpointRecord>>,
}

impl View {
    /// All claims of all nodes, in the order of their ids.
    pub fn claims(&self) -> impl Iterator<Item = (&NodeView, &Claim)> {
        self.nodes.values().flat_map(|node| node.claims.values().map(move |claim| (node, claim)))
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
    /// Digest of the specs that it has, to compare stores by.
    pub specs: String,
    /// When something was last heard of it, by this node's clock.
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
