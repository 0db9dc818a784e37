//! Missing replicas find their places, one endpoint after the other.

use std::collections::BTreeMap;

use shoal_types::{EndpointName, EndpointRecord, NodeId};

use super::{Change, EndpointPlan, Evicted, Start};
use crate::{
    explain::{ReplicaStanding, WantExplanation, explain_post},
    ground::Ground,
    muster::{Muster, Post, Standing},
    need::{Filter, Need},
    presence::Holder,
    rank::Ranking,
    scene::Scene,
    tenancy::{Eviction, Tenancies},
};

/// Kinds of replicas without room that are explained; an explanation costs a look at all nodes.
const EXPLAINED_MAX: usize = 8;

/// An endpoint of the mesh as it would be.
#[derive(Debug)]
pub(super) struct Bid<'a> {
    pub(super) record: &'a EndpointRecord,
    /// What is proposed for it, if anything is.
    pub(super) change: Option<Change>,
    pub(super) muster: Muster<'a>,
}

impl<'a> Bid<'a> {
    pub(super) fn name(&self) -> &'a EndpointName {
        &self.record.endpoint.metadata.name
    }

    fn others(&self, standing: Standing) -> impl Iterator<Item = &Holder<'a>> {
        self.muster.others.iter().filter(move |(_, of)| *of == standing).map(|(holder, _)| holder)
    }
}

/// What the nodes still have.
#[derive(Debug)]
pub(super) struct Placing<'a> {
    ground: Ground<'a>,
    tenancies: Tenancies<'a>,
    explained: usize,
}

/// What was found for one endpoint.
#[derive(Debug, Default)]
struct Found {
    nodes: Vec<NodeId>,
    evicted: Vec<Evicted>,
    unplaced: usize,
    why: Vec<WantExplanation>,
}

impl<'a> Placing<'a> {
    pub(super) fn new(future: &Scene<'a>) -> Self {
        Self { ground: Ground::new(future), tenancies: Tenancies::new(future.view), explained: 0 }
    }

    /// Surplus ends whatever becomes of the rest, so others may have its room.
    pub(super) fn end_surplus(&mut self, bid: &Bid<'a>) {
        for holder in bid.others(Standing::Surplus) {
            self.ground.vacate(holder.claim.id);
            self.tenancies.give_up(bid.name());
        }
    }

    /// Finds places for all that is missing of `bid`. Returns what follows for it, if it is among what is proposed.
    pub(super) fn place(&mut self, bid: &Bid<'a>) -> Option<EndpointPlan> {
        let mut found = Found::default();
        for post in &bid.muster.posts {
            self.fill(post, bid, &mut found);
        }
        // Spot replicas to spare, and those for which others stand in, are missed by nobody.
        let there: usize = bid.muster.posts.iter().map(|post| post.kept.len() + post.woken.len()).sum();
        found.unplaced = found.unplaced.min(bid.muster.desired.saturating_sub(there + found.nodes.len()));
        if found.unplaced == 0 {
            found.why.clear();
        }
        let change = bid.change?;
        let mut ends: Vec<_> = bid.others(Standing::Surplus).map(|end| (end, Standing::Surplus)).collect();
        if found.unplaced == 0 {
            ends.extend(bid.others(Standing::Superseded).map(|end| (end, Standing::Superseded)));
        }
        Some(EndpointPlan {
            endpoint: bid.name().clone(),
            change,
            replicas: bid.muster.desired,
            starts: self.starts(&found.nodes),
            ends: ends.into_iter().map(|(holder, standing)| ReplicaStanding::new(holder, standing)).collect(),
            evicts: found.evicted,
            unplaced: found.unplaced,
            why: found.why,
        })
    }

    fn fill(&mut self, post: &Post<'a>, bid: &Bid<'a>, found: &mut Found) {
        for holder in &post.woken {
            self.ground.occupy(holder.node.id, holder.claim.gpus as usize);
        }
        // What has just found a place on spot capacity needs nobody to stand in for it.
        let missing = post.missing().saturating_sub(post.standins().min(found.nodes.len()));
        let mut placed = Vec::new();
        self.take(post, missing, &found.nodes, &mut placed);
        // A rollout goes on in the room of what it has replaced, if it can begin at all.
        if !placed.is_empty() || bid.record.endpoint.spec.rollout.max_unavailable > 0 || missing == 0 {
            bid.others(Standing::Superseded).for_each(|holder| self.ground.vacate(holder.claim.id));
            self.take(post, missing, &found.nodes, &mut placed);
        }
        self.evict(post, missing, &mut placed, &mut found.evicted);
        if placed.len() < missing {
            found.unplaced += missing - placed.len();
            if bid.change.is_some() && self.explained < EXPLAINED_MAX {
                self.explained += 1;
                found.why.push(explain_post(&self.ground, post, missing, &placed, &self.tenancies, Vec::new()));
            }
        }
        found.nodes.append(&mut placed);
    }

    /// Adds places with free GPUs to `placed`, up to `missing`, away from those on nodes `before`.
    fn take(&mut self, post: &Post<'a>, missing: usize, before: &[NodeId], placed: &mut Vec<NodeId>) {
        if placed.len() >= missing {
            return;
        }
        let held = post.nodes().chain(self.ground.nodes(before)).chain(self.ground.nodes(placed));
        let slots = Ranking::on(&self.ground, &post.want, held).slots(missing - placed.len());
        for node in slots {
            self.ground.occupy(node, post.want.spec.resources.gpus as usize);
            placed.push(node);
        }
    }

    /// Adds places where endpoints of lower priority give way.
    fn evict(&mut self, post: &Post<'a>, missing: usize, placed: &mut Vec<NodeId>, evicted: &mut Vec<Evicted>) {
        let need = self.ground.need(&post.want);
        while placed.len() < missing {
            let Some(Eviction { node, claims, .. }) = self.least_eviction(&need) else { return };
            for claim in claims {
                self.ground.vacate(claim.id);
                self.tenancies.give_up(&claim.endpoint);
                evicted.push(Evicted {
                    name: claim.id.replica_name(&claim.endpoint),
                    endpoint: claim.endpoint.clone(),
                    node: node.facts.name.clone(),
                });
            }
            self.ground.occupy(node.id, need.gpus());
            placed.push(node.id);
        }
    }

    fn least_eviction(&self, need: &Need<'a>) -> Option<Eviction<'a>> {
        let priority = need.placement().priority;
        if !self.tenancies.any_spare_below(priority) {
            return None;
        }
        let full = self.ground.sites.iter().filter(|site| need.fails_only(site, Filter::Room));
        let evictions = full.filter_map(|site| self.tenancies.evictable(&self.ground, need, site, Some(priority)));
        evictions.min_by_key(Eviction::rank)
    }

    fn starts(&self, nodes: &[NodeId]) -> Vec<Start> {
        let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
        for &node in nodes {
            *counts.entry(node).or_default() += 1;
        }
        let start = |(id, replicas): (NodeId, usize)| {
            let node = self.ground.site(id)?.node.facts.name.clone();
            Some(Start { id, node, replicas })
        };
        counts.into_iter().filter_map(start).collect()
    }
}
