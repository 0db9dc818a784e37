//! What would happen if endpoints were applied.

mod placing;
mod proposal;
mod text;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use shoal_types::{Endpoint, EndpointName, NodeId};

use self::{
    placing::{Bid, Placing},
    proposal::Proposal,
};
use crate::{
    explain::{ReplicaStanding, WantExplanation},
    scene::Scene,
};

/// What would happen if endpoints were applied. Its [`Display`](std::fmt::Display) is the text for people.
///
/// It is a forecast: nodes claim what is missing when it is their turn, and what happens meanwhile counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Each of them, in the order of their names.
    pub endpoints: Vec<EndpointPlan>,
}

/// What would become of one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPlan {
    /// Which.
    pub endpoint: EndpointName,
    /// What is new about it.
    pub change: Change,
    /// Replicas that it would have if there is room.
    pub replicas: usize,
    /// Where replicas would be started.
    pub starts: Vec<Start>,
    /// Replicas that would end, once what takes their place serves.
    pub ends: Vec<ReplicaStanding>,
    /// Replicas of endpoints of lower priority that would give way.
    pub evicts: Vec<Evicted>,
    /// Replicas for which there is no room.
    pub unplaced: usize,
    /// Why there is none, for each kind of replica. Told of the first endpoints only, where there are many.
    pub why: Vec<WantExplanation>,
}

/// What is new about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// All of it.
    Created,
    /// It needs new processes.
    Revised,
    /// Only what needs no new processes.
    Adjusted,
    /// Nothing.
    Unchanged,
}

/// Replicas that would be started on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// Which node.
    pub id: NodeId,
    /// What people call it.
    pub node: String,
    /// How many.
    pub replicas: usize,
}

/// A replica that would give way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evicted {
    /// What people call it.
    pub name: String,
    /// Of which endpoint.
    pub endpoint: EndpointName,
    /// On which node.
    pub node: String,
}

/// What applying would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanOutcome {
    /// Everything is as it should be.
    Nothing,
    /// Something changes.
    Changes,
    /// Something changes or not, but for some replicas there is no room.
    CannotBePlaced,
}

impl Plan {
    /// What it comes to.
    pub fn outcome(&self) -> PlanOutcome {
        if self.endpoints.iter().any(|endpoint| endpoint.unplaced > 0) {
            PlanOutcome::CannotBePlaced
        } else if self.endpoints.iter().any(|endpoint| endpoint.change != Change::Unchanged) {
            PlanOutcome::Changes
        } else {
            PlanOutcome::Nothing
        }
    }
}

/// What would happen if the endpoints `proposed` were applied; of several with one name, the last. What is missing of
/// all other endpoints is placed too: by priority, then the larger replicas first.
pub fn plan(scene: &Scene<'_>, proposed: &[Endpoint]) -> Plan {
    let proposal = Proposal::new(scene, proposed);
    let future = Scene { view: &proposal.view, memory: &proposal.memory, now: scene.now };
    let mut bids = proposal.bids(&future);
    let mut placing = Placing::new(&future);
    bids.iter().for_each(|bid| placing.end_surplus(bid));
    bids.sort_by_key(|bid| {
        let spec = &bid.record.endpoint.spec;
        (Reverse(spec.placement.priority), Reverse(spec.resources.gpus), bid.name())
    });
    let mut endpoints: Vec<EndpointPlan> = bids.iter().filter_map(|bid: &Bid<'_>| placing.place(bid)).collect();
    endpoints.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
    Plan { endpoints }
}

#[cfg(test)]
mod tests;
