//! All nodes of a view together, with gossip that takes no time: what one does, the next one sees.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shoal_types::{NodeId, ReplicaState, UnixMillis};

use super::fleet::{Fleet, at};
use crate::{Action, Elector, Memory, Timing};

/// Time between two steps of a node.
const TICK: Duration = Duration::from_millis(500);
/// Time from the start of an engine until it serves.
const LOAD: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Lockstep {
    pub(crate) fleet: Fleet,
    electors: BTreeMap<NodeId, Elector>,
    now: UnixMillis,
}

impl Lockstep {
    /// Every node has an elector; all have stepped often enough to have left their first settle time behind.
    pub(crate) fn new(fleet: Fleet) -> Self {
        let electors =
            fleet.view.nodes.keys().map(|&id| (id, Elector::new(id, Timing::default(), Memory::default()))).collect();
        let mut lockstep = Self { fleet, electors, now: at(0) };
        let endpoints = std::mem::take(&mut lockstep.fleet.view.endpoints);
        let claims: Vec<_> = lockstep
            .fleet
            .view
            .nodes
            .values_mut()
            .map(|node| std::mem::take(&mut Arc::make_mut(node).claims))
            .collect();
        lockstep.run_until(90);
        lockstep.fleet.view.endpoints = endpoints;
        for (node, claims) in lockstep.fleet.view.nodes.values_mut().zip(claims) {
            Arc::make_mut(node).claims = claims;
        }
        lockstep
    }

    /// Runs to `seconds` after the start, and returns what was done, by whom and when. Dead nodes do nothing.
    pub(crate) fn run_until(&mut self, seconds: u64) -> Vec<(UnixMillis, NodeId, Action)> {
        let mut log = Vec::new();
        while self.now < at(seconds) {
            for (&me, elector) in &mut self.electors {
                if !self.fleet.view.nodes[&me].is_alive() {
                    continue;
                }
                for action in elector.step(&self.fleet.view, self.now).actions {
                    self.fleet.apply(me, &action, self.now);
                    log.push((self.now, me, action));
                }
            }
            self.fleet.load(self.now);
            self.now = self.now.plus(TICK);
        }
        log
    }
}

impl Fleet {
    fn apply(&mut self, me: NodeId, action: &Action, now: UnixMillis) {
        let me = me.as_bytes()[0];
        match action {
            Action::Claim { endpoint, .. } => {
                let claim = self.claim(me, endpoint.as_str(), ReplicaState::Claimed, 0);
                self.node_mut(me).claims.entry(claim).and_modify(|claim| claim.claimed = now);
            }
            Action::Wake(claim) => {
                self.node_mut(me).claims.entry(*claim).and_modify(|claim| claim.state = ReplicaState::Warming);
            }
            Action::Start(claim) => {
                let claim = self.node_mut(me).claims.get_mut(claim).unwrap();
                (claim.state, claim.since) = (ReplicaState::Starting, now);
            }
            Action::Withdraw { claim, .. } => drop(self.node_mut(me).claims.remove(claim).unwrap()),
            Action::Move { claim, reason } => {
                let claim = self.node_mut(me).claims.get_mut(claim).unwrap();
                claim.leaving = Some(reason.to_string());
            }
            Action::Drain { claim, confirm, .. } => {
                let serves = |id| self.view.claims().any(|(_, claim)| claim.id == id && claim.state.serves());
                if confirm.iter().all(|&(_, id)| serves(id)) {
                    self.node_mut(me).claims.remove(claim).unwrap();
                }
            }
        }
    }

    fn load(&mut self, now: UnixMillis) {
        for claim in self.view.nodes.values_mut().flat_map(|node| Arc::make_mut(node).claims.values_mut()) {
            if claim.state == ReplicaState::Starting && now.since(claim.since) >= LOAD {
                (claim.state, claim.since) = (ReplicaState::Ready, now);
            }
        }
    }
}
