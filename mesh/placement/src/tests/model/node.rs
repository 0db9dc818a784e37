//! One node of the model: what it knows, what it remembers, what is true of it.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use shoal_types::{Claim, ClaimId, Liveness, NodeId, NodeView, ReplicaState, View};

use super::digest::digest;
use crate::Elector;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) id: NodeId,
    elector: Elector,
    /// What the elector remembers, as it prints it, hashed: two that print the same decide the same.
    remembers: u64,
    /// What it knows; of itself, the truth.
    pub(super) view: View,
    pub(super) up: bool,
    /// Own replicas that have asked whether others serve in their place, and whom.
    pub(super) asking: BTreeMap<ClaimId, Vec<ClaimId>>,
    pub(super) counter: u32,
}

impl Node {
    pub(super) fn new(id: NodeId, elector: Elector, view: View) -> Self {
        let remembers = digest(&elector);
        Self { id, elector, remembers, view, up: true, asking: BTreeMap::new(), counter: 0 }
    }

    pub(super) fn decide(&mut self, now: shoal_types::UnixMillis) -> Vec<crate::Action> {
        let decision = self.elector.step(&self.view, now);
        self.remembers = digest(&self.elector);
        decision.actions
    }

    /// What is true of it, as it says it to others.
    pub(super) fn truth(&self) -> &Arc<NodeView> {
        &self.view.nodes[&self.id]
    }

    pub(super) fn truth_mut(&mut self) -> &mut NodeView {
        Arc::make_mut(self.view.nodes.get_mut(&self.id).unwrap())
    }

    pub(super) fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.truth().claims.values()
    }

    /// Own replicas that serve, whether or not they ask.
    pub(super) fn serving(&self) -> impl Iterator<Item = &Claim> {
        self.claims().filter(|claim| self.up && claim.state.serves())
    }

    /// Own replicas that have a process.
    pub(super) fn engines(&self) -> usize {
        self.claims().filter(|claim| self.up && claim.state != ReplicaState::Claimed).count()
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.remembers.hash(state);
        (self.up, &self.asking, self.counter, self.view.endpoints.len()).hash(state);
        for (id, node) in &self.view.nodes {
            id.as_bytes()[0].hash(state);
            match node.liveness {
                Liveness::Alive => 0.hash(state),
                Liveness::Suspect { since } => since.hash(state),
                Liveness::Left => 1.hash(state),
            }
            node.claims
                .values()
                .for_each(|claim| (claim.id.counter, claim.state, claim.claimed, claim.since).hash(state));
            node.claims.len().hash(state);
        }
    }
}
