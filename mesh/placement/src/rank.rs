//! Which candidate is the best place for a missing replica.

use std::{cmp::Reverse, collections::BTreeMap};

use shoal_types::{NodeId, NodeView, rendezvous_weight};

use crate::{
    candidates::admit,
    capacity::Room,
    exclusion::Exclusion,
    opening::Planned,
    order::{is_overflow, spread_domain},
    scene::Scene,
    want::Want,
};

/// Into how many parts an endpoint is divided when its replicas are kept apart: no node should take more than one.
const PARTS: usize = 4;

/// How good a place is; the lesser is the better. Fields compare from the top: first what the user wrote, then that
/// losing one node must not lose the endpoint, then the fleet's interest, then a choice that costs nothing. Nothing in
/// it changes with load: load routes requests, it does not move replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    /// Outside the home cluster: `home` means "fill this first", so no fit elsewhere makes up for it.
    overflow: bool,
    /// Replicas already in this zone, where the endpoint is spread.
    in_zone: usize,
    /// Quarters of the endpoint that this node has already. In quarters, not replicas, so that an endpoint of sixty
    /// small replicas fills hosts instead of opening sixty.
    crowding: usize,
    /// GPUs that would be left over: small replicas fill broken hosts, and whole ones stay whole for large replicas.
    left_over: usize,
    /// Replicas that this node has already: decides for endpoints without GPUs.
    held: usize,
    /// Rendezvous weight: the same on every node, different for every endpoint, stable when others come and go.
    weight: Reverse<u64>,
    /// Breaks what ties remain.
    node: NodeId,
}

/// A node that may run a replica.
#[derive(Debug)]
struct Place<'a> {
    node: NodeId,
    overflow: bool,
    domain: Option<&'a str>,
    room: Room,
    held: usize,
    weight: u64,
}

/// All nodes that may run a replica of one endpoint.
#[derive(Debug)]
pub(crate) struct Ranking<'a> {
    places: Vec<Place<'a>>,
    in_zone: BTreeMap<&'a str, usize>,
    gpus: usize,
    desired: usize,
}

impl<'a> Ranking<'a> {
    /// All nodes that may run a replica as `want` asks for, with the room that is left once what is `planned` has its
    /// GPUs; and why the others may not. `kept` are the nodes of those that there are, one for each.
    pub(crate) fn new(
        scene: &Scene<'a>,
        want: &Want<'a>,
        kept: impl IntoIterator<Item = &'a NodeView>,
        planned: &Planned,
    ) -> (Self, BTreeMap<NodeId, Exclusion>) {
        let mut ranking = Self {
            places: Vec::new(),
            in_zone: BTreeMap::new(),
            gpus: want.spec.resources.gpus as usize,
            desired: want.count.max(1),
        };
        let mut held: BTreeMap<NodeId, usize> = BTreeMap::new();
        for node in kept {
            *held.entry(node.id).or_default() += 1;
            ranking.count_in_zone(spread_domain(node, want.record));
        }
        let mut excluded = BTreeMap::new();
        for node in scene.view.nodes.values() {
            match admit(node, want, scene.now) {
                Ok(room) => {
                    let room = room.less(planned.get(&node.id).copied().unwrap_or(0));
                    ranking.add(node, want, room, held.get(&node.id).copied().unwrap_or(0));
                }
                Err(exclusion) => {
                    excluded.insert(node.id, exclusion);
                }
            }
        }
        (ranking, excluded)
    }

    fn add(&mut self, node: &'a NodeView, want: &Want<'a>, room: Room, held: usize) {
        self.places.push(Place {
            node: node.id,
            overflow: is_overflow(node, want.record),
            domain: spread_domain(node, want.record),
            room,
            held,
            weight: rendezvous_weight(want.record.endpoint.metadata.name.as_str(), node.id),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether `node` may run a replica.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.places.iter().any(|place| place.node == node)
    }

    /// The nodes, best first, each once.
    pub(crate) fn nodes(mut self) -> Vec<NodeId> {
        let mut scored: Vec<Score> = self.places.iter().map(|place| self.score(place)).collect();
        self.places.clear();
        scored.sort_unstable();
        scored.into_iter().map(|score| score.node).collect()
    }

    /// Where the next `count` replicas would go if they were placed one after the other. A node with room for several
    /// can be in it several times; fewer than `count` if there is no more room.
    pub(crate) fn slots(mut self, count: usize) -> Vec<NodeId> {
        (0..count).map_while(|_| self.take_best()).collect()
    }

    fn take_best(&mut self) -> Option<NodeId> {
        let fitting = self.places.iter().enumerate().filter(|(_, place)| place.room.fitting >= self.gpus);
        let (best, _) = fitting.min_by_key(|(_, place)| self.score(place))?;
        let place = &mut self.places[best];
        place.held += 1;
        place.room = place.room.less(self.gpus);
        let (node, domain) = (place.node, place.domain);
        self.count_in_zone(domain);
        Some(node)
    }

    fn count_in_zone(&mut self, domain: Option<&'a str>) {
        if let Some(zone) = domain {
            *self.in_zone.entry(zone).or_default() += 1;
        }
    }

    fn score(&self, place: &Place<'_>) -> Score {
        Score {
            overflow: place.overflow,
            in_zone: place.domain.and_then(|zone| self.in_zone.get(zone).copied()).unwrap_or(0),
            crowding: place.held * PARTS / self.desired.max(PARTS),
            left_over: if self.gpus == 0 { 0 } else { place.room.free.saturating_sub(self.gpus) },
            held: place.held,
            weight: Reverse(place.weight),
            node: place.node,
        }
    }
}
