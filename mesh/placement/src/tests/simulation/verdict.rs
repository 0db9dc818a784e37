//! What one who sees everything says about a mesh.

use std::collections::{BTreeMap, BTreeSet};

use shoal_types::{Claim, EndpointName, EndpointRecord, ReplicaState, Revision};

use super::{
    mesh::{Mesh, Outcome},
    node::Node,
    workload::Workload,
};
use crate::{
    agenda::take_censuses, census::Census, clearing::Clearing, ground::Ground, group::Group, moves::defragment,
    opening::Given, preempt::preempt, presence::Patience, rank::Ranking,
};

impl Mesh {
    /// The node with the most replicas.
    pub(super) fn fullest(&self) -> usize {
        (0..self.nodes.len()).max_by_key(|&node| self.nodes[node].claims().len()).unwrap()
    }

    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Endpoints that do not have exactly what they want: so many replicas that serve, of each revision, and nothing
    /// else. Everybody must agree on what that is.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let wanted = self.wanted();
        let strays = self.claims().filter(|claim| !wanted.contains_key(&claim.endpoint));
        let mut wrong: Vec<String> = strays.map(|claim| format!("{} is wanted by nobody", claim.endpoint)).collect();
        wrong.extend(wanted.iter().filter_map(|(name, record)| self.discord(name, record)));
        wrong
    }

    fn discord(&self, name: &EndpointName, record: &EndpointRecord) -> Option<String> {
        let mut held: BTreeMap<Revision, u32> = BTreeMap::new();
        let mut others = 0;
        for claim in self.claims().filter(|claim| claim.endpoint == *name) {
            match claim.state {
                ReplicaState::Ready if claim.leaving.is_none() => *held.entry(claim.revision).or_default() += 1,
                _ => others += 1,
            }
        }
        let told: Vec<String> = held.iter().map(|(revision, count)| format!("{count} of {revision}")).collect();
        let told = format!("{name}: {} serve and {others} others are there", told.join(" and "));
        for node in self.nodes.iter().filter(|node| node.up) {
            let desired = node.desired(record, self.now);
            let shares: BTreeMap<Revision, u32> = desired.shares.iter().copied().filter(|share| share.1 > 0).collect();
            // What an endpoint on spot capacity has beside what is desired, the election itself knows best.
            let is_right = match &record.endpoint.spec.placement.spot {
                Some(_) => held.values().sum::<u32>() >= desired.total(),
                None => shares == held,
            };
            if others > 0 || !is_right || !self.is_complete(node, name) {
                let shares: Vec<u32> = shares.into_values().collect();
                return Some(format!("{told}, {} wants {shares:?}", node.id.short()));
            }
        }
        None
    }

    /// Whether `node` takes the endpoint for complete, with nothing beyond what is wanted.
    fn is_complete(&self, node: &Node, name: &EndpointName) -> bool {
        let patience = Patience { now: self.now, guard: None };
        let censuses = take_censuses(&node.scene(self.now), &patience);
        let census = censuses.iter().find(|census| census.name() == name);
        census.is_some_and(|census| census.is_settled() && census.staying().count() == census.wanted())
    }

    /// Endpoints that miss what no node can take, not even if others gave way or moved as their specs allow: the fleet is
    /// too full, or too broken up.
    pub(super) fn homeless(&self) -> BTreeSet<EndpointName> {
        let scene = self.nodes.iter().find(|node| node.up).unwrap().scene(self.now);
        let ground = Ground::new(&scene);
        let censuses = take_censuses(&scene, &Patience { now: self.now, guard: None });
        let has_room = |census: &Census<'_>, group: &Group<'_>| {
            !Ranking::on(&ground, &group.want, census.kept_beside(&group.want)).is_empty()
        };
        // Nobody gives way for a surge.
        let gets_room = |census: &Census<'_>, group: &Group<'_>| {
            let (one, none, nothing) = ((census, group), Given::default(), Clearing::default());
            let moves = || defragment(&ground, one, &censuses, &none, &nothing);
            census.short() > 0 && preempt(&scene, one, &censuses, &none, &nothing).or_else(moves).is_some()
        };
        let homeless = |census: &&Census<'_>| {
            let mut missing = census.groups.iter().filter(|group| group.missing() > 0);
            missing.any(|group| !has_room(census, group) && !gets_room(census, group))
        };
        censuses.iter().filter(homeless).map(|census| census.name().clone()).collect()
    }

    /// Endpoints that a side of a partition does not serve although a node on it has the GPUs free.
    pub(super) fn unserved(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for side in self.islands.iter().copied().collect::<BTreeSet<_>>() {
            let nodes = || self.nodes.iter().zip(&self.islands).filter(|(_, island)| **island == side).map(|(n, _)| n);
            for (endpoint, record) in &self.wanted() {
                let mut claims = nodes().flat_map(|node| node.claims().values());
                let served = claims.any(|claim| claim.endpoint == *endpoint && claim.state.serves());
                let held = |claims: &BTreeMap<_, Claim>| claims.values().map(|claim| claim.gpus).sum::<u32>();
                let room = nodes().any(|node| 8 - held(node.claims()) >= record.endpoint.spec.resources.gpus);
                if !served && room {
                    wrong.push(format!("{endpoint} on side {side}"));
                }
            }
        }
        wrong
    }

    /// All claims on nodes that are there, but for what sleeps.
    pub(super) fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.nodes
            .iter()
            .filter(|node| node.up)
            .flat_map(|node| node.claims().values())
            .filter(|claim| claim.state != ReplicaState::Asleep)
    }

    /// The last that was applied, whoever knows of it.
    pub(super) fn wanted(&self) -> Workload {
        let mut store = super::node::Store::new();
        for (name, write) in self.nodes.iter().flat_map(|node| node.store.iter()) {
            if store.get(name).is_none_or(|known| known.version < write.version) {
                store.insert(name.clone(), write.clone());
            }
        }
        store.into_iter().filter_map(|(name, write)| Some((name, write.record?))).collect()
    }
}
