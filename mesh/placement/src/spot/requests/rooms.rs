//! What the mesh has room for, and what it makes room for.

use std::collections::BTreeMap;

use shoal_types::{Claim, ClaimId, EndpointName, EndpointRecord, NodeId, NodeView};

use crate::{
    agenda::{Agenda, take_censuses},
    candidates::admit,
    clearing::{Clearing, MakesRoom},
    exclusion::Capacity,
    presence::{Holder, Patience},
    scene::Scene,
    want::{Class, Want},
};

/// A replica that the mesh has, or has room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Berth<'a> {
    pub(super) node: &'a NodeView,
    /// `None` if it is only a room.
    pub(super) claim: Option<&'a Claim>,
}

/// The replicas that there are, and the rooms for others as they are given away.
#[derive(Debug)]
pub(super) struct Rooms<'a> {
    scene: Scene<'a>,
    /// GPUs that are given away, by node.
    planned: BTreeMap<NodeId, usize>,
    /// Rooms that are being made and that nobody was given yet.
    cleared: Vec<MakesRoom>,
    /// Nodes that are being cleared: there is no other room on them.
    clearing: Vec<NodeId>,
    /// Claims whose place an endpoint of higher priority takes: their endpoints will miss them.
    evicted: BTreeMap<ClaimId, EndpointName>,
    /// What was given to each endpoint.
    given: BTreeMap<EndpointName, Vec<&'a NodeView>>,
}

impl<'a> Rooms<'a> {
    pub(super) fn new(scene: &Scene<'a>) -> Self {
        let censuses = take_censuses(scene, &Patience { now: scene.now, guard: None });
        let Clearing { evicted, rooms, .. } = Agenda::new(scene, scene.view.me, &censuses).clearing;
        let clearing = rooms.iter().map(|room| room.node).collect();
        Self { scene: *scene, planned: BTreeMap::new(), cleared: rooms, clearing, evicted, given: BTreeMap::new() }
    }

    /// How many of `wanted` replicas of `record` are neither there nor have room, once what there is room for is given it.
    /// Of the present revision, as that is what will stay.
    pub(super) fn short(&mut self, record: &'a EndpointRecord, class: Class, wanted: usize) -> usize {
        let held = self.staying(record).filter(|holder| class.contains(holder.node)).count();
        let (spec, revision) = (&record.endpoint.spec, record.revision);
        let count = wanted.saturating_sub(held);
        let want = Want { record, spec, revision, class, count };
        let found = self.give(&want);
        let short = count - found.len();
        self.given.entry(record.endpoint.metadata.name.clone()).or_default().extend(found);
        short
    }

    /// All that `record` has, and has been given.
    pub(super) fn of(&self, record: &'a EndpointRecord) -> Vec<Berth<'a>> {
        let there = self.staying(record).map(|Holder { node, claim }| Berth { node, claim: Some(claim) });
        let given = self.given.get(&record.endpoint.metadata.name).into_iter().flatten();
        there.chain(given.map(|&node| Berth { node, claim: None })).collect()
    }

    /// Replicas of `record` that are there to stay.
    fn staying(&self, record: &'a EndpointRecord) -> impl Iterator<Item = Holder<'a>> {
        let claims = self.scene.view.claims_of(&record.endpoint.metadata.name);
        let holders = claims.map(|(node, claim)| Holder { node, claim });
        holders.filter(|holder| {
            let is_there = holder.node.is_alive() && holder.claim.state.counts() && holder.stays();
            is_there && !self.evicted.contains_key(&holder.claim.id)
        })
    }

    /// Nodes for what is missing, one for each replica: what is being cleared for them, then the fullest that have room.
    fn give(&mut self, want: &Want<'a>) -> Vec<&'a NodeView> {
        let mut found = Vec::new();
        let (name, capacity) = (&want.record.endpoint.metadata.name, Capacity::from(want.class));
        self.cleared.retain(|room| {
            let is_for_it = found.len() < want.count && room.for_endpoint == *name && room.capacity == capacity;
            let node = self.scene.view.nodes.get(&room.node).filter(|_| is_for_it);
            found.extend(node.map(AsRef::as_ref));
            node.is_none()
        });
        if found.len() == want.count {
            return found;
        }
        let nodes = self.scene.view.nodes.values().map(AsRef::as_ref);
        let open = nodes.filter(|node| want.class.contains(node) && !self.clearing.contains(&node.id));
        let mut open: Vec<(usize, &'a NodeView)> = open.map(|node| (self.free(node, want), node)).collect();
        open.sort_by_key(|(free, node)| (*free, node.id));
        let gpus = want.spec.resources.gpus as usize;
        for (free, node) in open {
            // A replica without GPUs fits anywhere.
            let replicas = free.checked_div(gpus).unwrap_or(free).min(want.count - found.len());
            *self.planned.entry(node.id).or_default() += replicas * gpus;
            found.extend(std::iter::repeat_n(node, replicas));
        }
        found
    }

    /// GPUs that `want` could have on `node`; without end if it may run there and needs none.
    fn free(&self, node: &'a NodeView, want: &Want<'a>) -> usize {
        let planned = self.planned.get(&node.id).copied().unwrap_or(0);
        match admit(node, want, self.scene.now) {
            Ok(_) if want.spec.resources.gpus == 0 => usize::MAX,
            Ok(room) => room.less(planned).fitting,
            Err(_) => 0,
        }
    }
}
