//! Which candidate is the best place for a missing replica.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use shoal_types::{Decimal, NodeId, NodeView, Rendezvous, ScoreWeights};

use crate::{
    capacity::Room,
    ground::Ground,
    need::Need,
    opening::Planned,
    order::is_overflow,
    score::{self, Merits, Micros, Terms},
    want::Want,
};

/// Into how many parts an endpoint is divided when its replicas are kept apart: no node should take more than one.
const PARTS: usize = 4;

/// How good a place is; the lesser is the better. Fields compare from the top: first what the user wrote, then that
/// losing one node must not lose the endpoint, then what it costs, then a choice that costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    tiers: Tiers,
    /// All terms together. One of them is what is left over on the host, which alone decides where nobody tells prices.
    cost: Micros,
    /// Replicas that this node has already: decides for endpoints without GPUs.
    held: usize,
    /// Rendezvous weight: the same on every node, different for every endpoint, stable when others come and go.
    weight: Reverse<u64>,
    /// Breaks what ties remain.
    node: NodeId,
}

/// What no saving makes up for; compares from the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tiers {
    /// Outside the home cluster: `home` means "fill this first".
    pub(crate) overflow: bool,
    /// Replicas already in this zone, where the endpoint is spread.
    pub(crate) in_zone: usize,
    /// Quarters of the endpoint that this node has already. In quarters, not replicas, so that an endpoint of sixty
    /// small replicas fills hosts instead of opening sixty.
    pub(crate) crowding: usize,
}

/// A node that may run a replica.
#[derive(Debug)]
struct Place<'a> {
    id: NodeId,
    node: &'a NodeView,
    overflow: bool,
    zone: usize,
    room: Room,
    held: usize,
    weight: u64,
    merits: Merits,
    terms: Terms,
}

/// A candidate and what speaks for it.
#[derive(Debug)]
pub(crate) struct Ranked<'a> {
    pub(crate) node: &'a NodeView,
    pub(crate) tiers: Tiers,
    pub(crate) merits: Merits,
    pub(crate) terms: Terms,
    /// GPUs of the host that nobody would hold.
    pub(crate) left_over: usize,
    pub(crate) fit: Micros,
}

/// All nodes that may run a replica of one endpoint.
#[derive(Debug)]
pub(crate) struct Ranking<'a> {
    places: Vec<Place<'a>>,
    /// Replicas in each zone; empty if the endpoint is not spread.
    in_zone: Vec<usize>,
    gpus: usize,
    desired: usize,
    weights: &'a ScoreWeights,
}

impl<'a> Ranking<'a> {
    /// All nodes of `ground` that may run a replica as `want` asks for. `kept` are the nodes of those that there are, one
    /// for each.
    pub(crate) fn on(ground: &Ground<'a>, want: &Want<'a>, kept: impl IntoIterator<Item = &'a NodeView>) -> Self {
        let need = ground.need(want);
        let spread = need.placement().spread.is_some();
        let mut ranking = Self {
            places: Vec::with_capacity(ground.sites.len()),
            in_zone: vec![0; if spread { ground.zones() } else { 0 }],
            gpus: need.gpus(),
            desired: want.count.max(1),
            weights: &need.placement().weights,
        };
        let mut held: BTreeMap<NodeId, usize> = BTreeMap::new();
        for node in kept {
            *held.entry(node.id).or_default() += 1;
            ground.zone_of(node).into_iter().for_each(|zone| ranking.count_in_zone(zone));
        }
        ranking.admit(ground, &need, &held);
        ranking.appraise();
        ranking
    }

    /// The same, with the room that is left once what is `planned` has its GPUs.
    pub(crate) fn beside(mut self, planned: &Planned) -> Self {
        if !planned.is_empty() {
            for place in &mut self.places {
                place.room = place.room.less(planned.get(&place.id).copied().unwrap_or(0));
            }
        }
        self
    }

    fn admit(&mut self, ground: &Ground<'a>, need: &Need<'a>, held: &BTreeMap<NodeId, usize>) {
        let record = need.want.record;
        let name = &record.endpoint.metadata.name;
        let rendezvous = Rendezvous::new(name.as_str());
        let clients = ground.distances.clients_of(name);
        let model = score::loads_weights(need.spec()).then(|| need.spec().cache_key());
        for (index, site) in ground.sites.iter().enumerate() {
            let Some(room) = need.suits(site) else { continue };
            let merits = Merits {
                price: site.price,
                risk: site.risk,
                fetches: model.as_ref().is_some_and(|model| !site.node.models.contains(model)),
                distance: clients.distance(index),
            };
            self.places.push(Place {
                id: site.id,
                node: site.node,
                overflow: is_overflow(site.node, record),
                zone: site.zone,
                room,
                held: held.get(&site.id).copied().unwrap_or(0),
                weight: rendezvous.weight(site.id),
                terms: merits.terms(self.weights, Decimal::default()),
                merits,
            });
        }
    }

    /// A price that a node does not tell is taken for the dearest of the candidates, so it takes all of them to know it.
    fn appraise(&mut self) {
        let dearest = self.places.iter().filter_map(|place| place.merits.price).max().unwrap_or_default();
        for place in self.places.iter_mut().filter(|place| place.merits.price.is_none()) {
            place.terms = place.merits.terms(self.weights, dearest);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether `node` may run a replica.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        // The places are in the order of the view's nodes.
        self.places.binary_search_by_key(&node, |place| place.id).is_ok()
    }

    /// The candidates, best first, each once.
    pub(crate) fn ranked(&self) -> Vec<Ranked<'a>> {
        let mut places: Vec<(Score, &Place<'a>)> = self.places.iter().map(|place| (self.score(place), place)).collect();
        places.sort_unstable_by_key(|(score, _)| *score);
        let ranked = |(score, place): (Score, &Place<'a>)| Ranked {
            node: place.node,
            tiers: score.tiers,
            merits: place.merits,
            terms: place.terms,
            left_over: self.left_over(place),
            fit: self.fit(place),
        };
        places.into_iter().map(ranked).collect()
    }

    /// Where the next `count` replicas would go if they were placed one after the other. A node with room for several
    /// can be in it several times; fewer than `count` if there is no more room.
    pub(crate) fn slots(mut self, count: usize) -> Vec<NodeId> {
        let roomy = self.places.iter().enumerate().filter(|(_, place)| self.has_room(place));
        let mut heap: BinaryHeap<_> = roomy.map(|(index, place)| Reverse((self.score(place), index))).collect();
        let mut slots = Vec::new();
        while slots.len() < count
            && let Some(Reverse((score, index))) = heap.pop()
        {
            let present = self.score(&self.places[index]);
            // Its zone has got a replica meanwhile. A place that nobody took never becomes better, so the first one that
            // is as good as it was is the best.
            if present != score {
                heap.push(Reverse((present, index)));
                continue;
            }
            slots.push(self.take(index));
            if self.has_room(&self.places[index]) {
                heap.push(Reverse((self.score(&self.places[index]), index)));
            }
        }
        slots
    }

    fn take(&mut self, index: usize) -> NodeId {
        let place = &mut self.places[index];
        place.held += 1;
        place.room = place.room.less(self.gpus);
        let (node, zone) = (place.id, place.zone);
        self.count_in_zone(zone);
        node
    }

    fn count_in_zone(&mut self, zone: usize) {
        if let Some(replicas) = self.in_zone.get_mut(zone) {
            *replicas += 1;
        }
    }

    const fn has_room(&self, place: &Place<'_>) -> bool {
        place.room.fitting >= self.gpus
    }

    const fn left_over(&self, place: &Place<'_>) -> usize {
        if self.gpus == 0 { 0 } else { place.room.free.saturating_sub(self.gpus) }
    }

    fn fit(&self, place: &Place<'_>) -> Micros {
        score::fit(self.left_over(place), self.weights)
    }

    fn score(&self, place: &Place<'_>) -> Score {
        let tiers = Tiers {
            overflow: place.overflow,
            in_zone: self.in_zone.get(place.zone).copied().unwrap_or(0),
            crowding: place.held * PARTS / self.desired.max(PARTS),
        };
        Score {
            tiers,
            cost: place.terms.total().saturating_add(self.fit(place)),
            held: place.held,
            weight: Reverse(place.weight),
            node: place.id,
        }
    }
}

#[cfg(test)]
mod tests;
