//! All nodes of a view together, with gossip that takes no time: what one does, the next one sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use shoal_types::{ClaimId, NodeId, ReplicaState, UnixMillis};

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
    /// Claims that leave because a move says so, as long as it is repeated.
    moving: BTreeSet<ClaimId>,
    now: UnixMillis,
}

impl Lockstep {
    /// Every node has an elector; all have stepped often enough to have left their first settle time behind.
    pub(crate) fn new(fleet: Fleet) -> Self {
        let electors =
            fleet.view.nodes.keys().map(|&id| (id, Elector::new(id, Timing::default(), Memory::default()))).collect();
        let mut lockstep = Self { fleet, electors, moving: BTreeSet::new(), now: at(0) };
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
                let actions = elector.step(&self.fleet.view, self.now).actions;
                self.fleet.follow_moves(me, &actions, &mut self.moving);
                for action in actions {
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
            Action::Claim { endpoint, revision, .. } => {
                let claim = self.claim_of(me, endpoint.as_str(), *revision, ReplicaState::Claimed, 0);
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
            Action::Move { .. } => {}
            Action::Drain { claim, confirm, .. } => {
                let serves = |id| self.view.claims().any(|(_, claim)| claim.id == id && claim.state.serves());
                if confirm.iter().all(|&(_, id)| serves(id)) {
                    self.node_mut(me).claims.remove(claim).unwrap();
                }
            }
        }
    }

    /// Marks what is to move, and unmarks what is so no longer.
    fn follow_moves(&mut self, me: NodeId, actions: &[Action], moving: &mut BTreeSet<ClaimId>) {
        let moves: BTreeMap<ClaimId, String> = actions.iter().filter_map(moved).collect();
        let before: Vec<ClaimId> = moving.iter().filter(|claim| claim.node == me).copied().collect();
        for claim in self.node_mut(me.as_bytes()[0]).claims.values_mut() {
            if moves.contains_key(&claim.id) || before.contains(&claim.id) {
                claim.leaving = moves.get(&claim.id).cloned();
            }
        }
        moving.retain(|claim| claim.node != me);
        moving.extend(moves.into_keys());
    }

    fn load(&mut self, now: UnixMillis) {
        for claim in self.view.nodes.values_mut().flat_map(|node| Arc::make_mut(node).claims.values_mut()) {
            if claim.state == ReplicaState::Starting && now.since(claim.since) >= LOAD {
                (claim.state, claim.since) = (ReplicaState::Ready, now);
            }
        }
    }
}

fn moved(action: &Action) -> Option<(ClaimId, String)> {
    match action {
        Action::Move { claim, reason } => Some((*claim, reason.to_string())),
        Action::Claim { .. } | Action::Start(_) | Action::Wake(_) | Action::Withdraw { .. } | Action::Drain { .. } => {
            None
        }
    }
}
