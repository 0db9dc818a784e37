//! Which node is the steward of an endpoint.

use std::collections::BTreeMap;

use shoal_types::{EndpointName, NodeId, NodeView, Rendezvous, View};

/// The node that says how many replicas `endpoint` should have: the one with the highest rendezvous weight of those that
/// are there, where possible one that is not leaving. Two nodes may answer differently for some seconds; then both speak,
/// and the greater word counts (DESIGN rule 5).
pub fn steward_of(view: &View, endpoint: &EndpointName) -> Option<NodeId> {
    Seat::new(endpoint, &electorate(view)).holder()
}

/// The nodes that can be stewards, in the order of their ids.
fn electorate(view: &View) -> Vec<NodeId> {
    let alive = || view.nodes.values().filter(|node| node.is_alive());
    let stays = |node: &NodeView| node.departure.is_none();
    let staying: Vec<NodeId> = alive().filter(|node| stays(node)).map(|node| node.id).collect();
    if staying.is_empty() { alive().map(|node| node.id).collect() } else { staying }
}

/// The stewards of all endpoints, kept from view to view: a node that comes is weighed once for each endpoint, and one
/// that goes only leaves those to be looked for that it was the steward of.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats {
    electorate: Vec<NodeId>,
    seats: BTreeMap<EndpointName, Seat>,
}

impl Seats {
    /// Brings them up to date with `view`.
    pub(super) fn update(&mut self, view: &View) {
        self.seats.retain(|endpoint, _| view.endpoints.contains_key(endpoint));
        let now = electorate(view);
        if now != self.electorate {
            let before = std::mem::replace(&mut self.electorate, now);
            let came: Vec<NodeId> = beside(&self.electorate, &before);
            let went: Vec<NodeId> = beside(&before, &self.electorate);
            for seat in self.seats.values_mut() {
                seat.change(&came, &went, &self.electorate);
            }
        }
        for endpoint in view.endpoints.keys().filter(|endpoint| !self.seats.contains_key(*endpoint)).collect::<Vec<_>>()
        {
            self.seats.insert(endpoint.clone(), Seat::new(endpoint, &self.electorate));
        }
    }

    /// The same as [`steward_of`] the view that was last seen.
    pub(super) fn steward_of(&self, endpoint: &EndpointName) -> Option<NodeId> {
        self.seats.get(endpoint)?.holder()
    }
}

/// Those of `some`, which like `others` are in order, that are not among `others`.
fn beside(some: &[NodeId], others: &[NodeId]) -> Vec<NodeId> {
    some.iter().filter(|node| others.binary_search(node).is_err()).copied().collect()
}

/// The seat of the steward of one endpoint.
#[derive(Debug, Clone)]
struct Seat {
    weights: Rendezvous,
    best: Option<(u64, NodeId)>,
}

impl Seat {
    fn new(endpoint: &EndpointName, electorate: &[NodeId]) -> Self {
        // A key of its own: with that of placement, losing the first replica's host would always lose the steward too.
        let mut seat = Self { weights: Rendezvous::new(&format!("steward/{endpoint}")), best: None };
        seat.weigh(electorate);
        seat
    }

    fn holder(&self) -> Option<NodeId> {
        self.best.map(|(_, node)| node)
    }

    fn change(&mut self, came: &[NodeId], went: &[NodeId], electorate: &[NodeId]) {
        if self.holder().is_some_and(|holder| went.binary_search(&holder).is_ok()) {
            self.best = None;
            self.weigh(electorate);
        } else {
            self.weigh(came);
        }
    }

    fn weigh(&mut self, nodes: &[NodeId]) {
        let weighed = nodes.iter().map(|&node| (self.weights.weight(node), node));
        self.best = weighed.chain(self.best).max();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_types::{Departure, DepartureReason, Liveness};

    use super::*;
    use crate::tests::fleet::{Fleet, at, id};

    const NODES: u8 = 9;

    /// What becomes of a node from one view to the next.
    fn event() -> impl Strategy<Value = (u8, u8)> {
        (1..=NODES, 0u8..5)
    }

    fn befall(fleet: &mut Fleet, (node, what): (u8, u8)) {
        let present = fleet.view.nodes.contains_key(&id(node));
        match what {
            0 => drop(fleet.view.nodes.remove(&id(node))),
            1 if present => fleet.node_mut(node).liveness = Liveness::Suspect { since: at(0) },
            2 if present => {
                let reason = DepartureReason::Drain;
                fleet.node_mut(node).departure = Some(Departure { reason, detail: None, since: at(0), deadline: None });
            }
            _ => *fleet = fleet.clone().node(node, 8),
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_from_view_to_view_is_what_would_be_found_anew(events in prop::collection::vec(event(), 1..40)) {
            let mut fleet = Fleet::new();
            let mut seats = Seats::default();
            for (count, event) in events.into_iter().enumerate() {
                befall(&mut fleet, event);
                fleet = fleet.endpoint(&format!("e{}", count % 7), 1, 1);
                if count % 5 == 0 {
                    fleet.view.endpoints.pop_first();
                }
                seats.update(&fleet.view);
                for endpoint in fleet.view.endpoints.keys() {
                    prop_assert_eq!(seats.steward_of(endpoint), steward_of(&fleet.view, endpoint));
                }
            }
        }
    }
}
