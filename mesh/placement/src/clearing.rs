//! Replicas that go so that others find room (DESIGN rules 3 and 7).

use std::collections::{BTreeMap, BTreeSet};

use shoal_types::{Claim, ClaimId, EndpointName, GpuUse, NodeId, NodeView, ReplicaState, Revision, UnixMillis};

use crate::{
    candidates::admit,
    decision::MoveReason,
    exclusion::{Capacity, Exclusion},
    want::Want,
};

/// Which replicas go so that others find room.
#[derive(Debug, Default)]
pub(crate) struct Clearing {
    /// Claims whose place an endpoint of higher priority takes.
    pub(crate) evicted: BTreeMap<ClaimId, EndpointName>,
    /// Claims that are to be replaced elsewhere.
    pub(crate) moved: BTreeMap<ClaimId, MoveReason>,
    /// Claims in whose place a missing replica of the same endpoint could run that finds no other.
    pub(crate) breaks: BTreeSet<ClaimId>,
    /// Where all that makes room, one for each replica that comes.
    pub(crate) rooms: Vec<MakesRoom>,
}

/// Room that is being made on one node, for one replica that found none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakesRoom {
    /// Whose replica comes.
    pub for_endpoint: EndpointName,
    /// Of which revision.
    pub revision: Revision,
    /// On which capacity.
    pub capacity: Capacity,
    /// Where.
    pub node: NodeId,
    /// Who goes, or is going already, in the order of the claims.
    pub going: Vec<ClaimId>,
    /// Whether they are replaced elsewhere first; else they go because the other's priority is higher.
    pub moves: bool,
}

impl Clearing {
    pub(crate) fn is_evicted(&self, claim: ClaimId) -> bool {
        self.evicted.contains_key(&claim)
    }

    /// Claims of `node` that are on their way out in any case: they drain, or were told to go.
    pub(crate) fn ending_on(&self, node: &NodeView) -> BTreeSet<ClaimId> {
        let ends = |claim: &&Claim| claim.state == ReplicaState::Draining || self.is_evicted(claim.id);
        node.claims.values().filter(ends).map(|claim| claim.id).collect()
    }
}

/// A node that would do for a replica, if only some of its claims were gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'s, 'a> {
    pub(crate) node: &'a NodeView,
    pub(crate) want: &'s Want<'a>,
    /// GPUs that are planned for others.
    pub(crate) planned: usize,
    pub(crate) now: UnixMillis,
}

impl<'s, 'a> Site<'s, 'a> {
    /// `None` if `node` would not do even without all claims that `goes` speaks of, or for another reason than GPUs that
    /// are taken.
    pub(crate) fn new(
        node: &'a NodeView,
        want: &'s Want<'a>,
        planned: usize,
        now: UnixMillis,
        goes: impl Fn(ClaimId) -> bool,
    ) -> Option<Self> {
        // Cheap, and most nodes fail it: the rest of this looks at copies of the node.
        let stays = |claim: &&Claim| claim.state.counts() && !goes(claim.id);
        let staying: usize = node.claims.values().filter(stays).map(|claim| claim.gpus as usize).sum();
        if staying.saturating_add(planned).saturating_add(want.spec.resources.gpus as usize) > node.gpus.len() {
            return None;
        }
        let is_full_at_most = matches!(admit(node, want, now), Ok(_) | Err(Exclusion::GpusTaken { .. }));
        is_full_at_most.then_some(Self { node, want, planned, now })
    }

    /// Whether the replica fits once the claims `gone` have ended.
    pub(crate) fn fits_without(&self, gone: &BTreeSet<ClaimId>) -> bool {
        let node = without(self.node, gone);
        let needed = self.want.spec.resources.gpus as usize;
        admit(&node, self.want, self.now).is_ok_and(|room| room.less(self.planned).fitting >= needed)
    }

    /// Adds of `claims`, in their order, until the replica fits without them and those that are `gone` already; `None`
    /// if all of them are not enough. What turned out not to be needed is left out again.
    pub(crate) fn least_of<'v, V>(
        &self,
        gone: &BTreeSet<ClaimId>,
        claims: impl IntoIterator<Item = &'v V>,
        id: impl Fn(&V) -> ClaimId,
    ) -> Option<Vec<&'v V>> {
        let mut gone = gone.clone();
        let mut chosen = Vec::new();
        let mut claims = claims.into_iter();
        while !self.fits_without(&gone) {
            let claim = claims.next()?;
            gone.insert(id(claim));
            chosen.push(claim);
        }
        chosen.retain(|claim| {
            gone.remove(&id(claim));
            let is_needed = !self.fits_without(&gone);
            if is_needed {
                gone.insert(id(claim));
            }
            is_needed
        });
        Some(chosen)
    }
}

/// `node` as it will be when its claims `gone` have ended.
fn without(node: &NodeView, gone: &BTreeSet<ClaimId>) -> NodeView {
    let mut node = node.clone();
    node.claims.retain(|claim, _| !gone.contains(claim));
    for gpu in &mut node.gpus {
        if matches!(gpu.used_by, GpuUse::Replica(claim) if gone.contains(&claim)) {
            gpu.used_by = GpuUse::Free;
        }
    }
    node
}

/// What is found for a replica that has no place: where, and who goes for it. Nobody, if enough is going already.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) node: NodeId,
    pub(crate) goers: Vec<ClaimId>,
}
