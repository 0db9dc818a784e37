//! What a node does about a decision, as the agent would.

use std::{sync::Arc, time::Duration};

use shoal_types::{Claim, ClaimId, GpuUse, NodeId, ReplicaState};

use super::mesh::{Event, Mesh};
use crate::{Action, tests::fleet::at};

const LOAD: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(2);

impl Mesh {
    pub(super) fn act(&mut self, node: usize, action: &Action) {
        match action {
            Action::Claim { endpoint, revision, gpus } => {
                let held: u32 = self.claims(node).values().map(|claim| claim.gpus).sum();
                assert!(held + gpus <= 8, "it has only eight GPUs");
                self.nodes[node].counter += 1;
                let id = ClaimId { node: self.nodes[node].id, generation: at(0), counter: self.nodes[node].counter };
                let claim = Claim {
                    id,
                    endpoint: endpoint.clone(),
                    revision: *revision,
                    gpus: *gpus,
                    claimed: self.now,
                    state: ReplicaState::Claimed,
                    since: self.now,
                    reason: None,
                    progress: None,
                    crashes: 0,
                    leaving: None,
                };
                self.claims_mut(node).insert(id, claim);
            }
            Action::Start(claim) => {
                self.outcome.started += 1;
                self.claims_mut(node).entry(*claim).and_modify(|claim| claim.state = ReplicaState::Starting);
                self.schedule(self.now.plus(LOAD), Event::Loaded { claim: *claim });
            }
            Action::Wake(_) => unreachable!("nothing sleeps here"),
            Action::Move { .. } => unreachable!("nothing may move here"),
            Action::Withdraw { claim, .. } => {
                let claim = self.claims_mut(node).remove(claim).unwrap();
                self.outcome.abandoned += usize::from(claim.state != ReplicaState::Claimed);
            }
            Action::Drain { claim, confirm, .. } => self.drain(node, *claim, confirm),
        }
        self.show_gpus(node);
    }

    /// Asks those that stay, who answer with the truth, and drains if all say yes. Rule 4, checked against the truth.
    fn drain(&mut self, node: usize, claim: ClaimId, confirm: &[(NodeId, ClaimId)]) {
        let serves = |&(id, kept): &(NodeId, ClaimId)| {
            let other = self.index(id);
            self.hears(node, other) && self.claims(other).get(&kept).is_some_and(|claim| claim.state.serves())
        };
        if confirm.iter().all(serves) {
            assert!(!confirm.is_empty() && confirm.iter().all(|&(_, kept)| kept != claim), "the last one that serves");
            self.claims_mut(node).entry(claim).and_modify(|claim| claim.state = ReplicaState::Draining);
            self.schedule(self.now.plus(DRAIN), Event::Drained { claim });
        }
    }

    /// Moves a claim on, if it and its node still are as they were.
    pub(super) fn set_state(&mut self, claim: ClaimId, from: ReplicaState, to: Option<ReplicaState>) {
        let node = self.index(claim.node);
        let now = self.now;
        match self.claims_mut(node).get_mut(&claim) {
            Some(found) if found.state == from => match to {
                Some(state) => (found.state, found.since) = (state, now),
                None => drop(self.claims_mut(node).remove(&claim)),
            },
            _ => return,
        }
        self.show_gpus(node);
        self.say(node);
    }

    /// Started replicas are on the inventory, claims that only reserve are not.
    fn show_gpus(&mut self, node: usize) {
        let started = self.claims(node).values().filter(|claim| claim.state != ReplicaState::Claimed);
        let users: Vec<ClaimId> =
            started.flat_map(|claim| std::iter::repeat_n(claim.id, claim.gpus as usize)).collect();
        let id = self.nodes[node].id;
        let own = Arc::make_mut(self.nodes[node].view.nodes.get_mut(&id).unwrap());
        for (index, gpu) in own.gpus.iter_mut().enumerate() {
            gpu.used_by = users.get(index).map_or(GpuUse::Free, |&claim| GpuUse::Replica(claim));
        }
    }
}
