//! How far nodes are from where an endpoint's clients are.

use std::collections::BTreeMap;

use shoal_types::{EndpointName, NodeView, View};

/// Distances are told apart by this, in milliseconds: less is noise, and must not decide.
const STEP: u64 = 10;

/// Where the demand for each endpoint comes from, and how far each node is from there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Distances<'a> {
    /// Clusters with clients, by index.
    clusters: BTreeMap<&'a str, usize>,
    /// Requests of the last hour for each endpoint, by cluster.
    demand: BTreeMap<&'a EndpointName, Vec<(usize, u64)>>,
    /// Round trips of each node, in the view's order, to these clusters in milliseconds. What was not measured is taken
    /// for as far as it is from anywhere: unknown is never zero.
    round_trips: Vec<Vec<u32>>,
}

/// Where the clients of one endpoint are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clients<'g> {
    /// Requests, by cluster.
    shares: &'g [(usize, u64)],
    round_trips: &'g [Vec<u32>],
}

impl<'a> Distances<'a> {
    pub(crate) fn new(view: &'a View) -> Self {
        let mut distances = Self::default();
        for node in view.nodes.values() {
            for (endpoint, demand) in node.demands.iter().filter(|(_, demand)| demand.hourly > 0) {
                distances.hear(node, endpoint, demand.hourly);
            }
        }
        if !distances.clusters.is_empty() {
            distances.measure(view);
        }
        distances
    }

    fn hear(&mut self, node: &'a NodeView, endpoint: &'a EndpointName, hourly: u32) {
        let next = self.clusters.len();
        let cluster = *self.clusters.entry(&node.facts.labels.cluster).or_insert(next);
        let shares = self.demand.entry(endpoint).or_default();
        match shares.iter_mut().find(|(of, _)| *of == cluster) {
            Some((_, requests)) => *requests += u64::from(hourly),
            None => shares.push((cluster, u64::from(hourly))),
        }
    }

    fn measure(&mut self, view: &View) {
        let mut farthest = vec![0; self.clusters.len()];
        for node in view.nodes.values() {
            for (cluster, &index) in &self.clusters {
                farthest[index] = farthest[index].max(round_trip(node, cluster).unwrap_or(0));
            }
        }
        for node in view.nodes.values() {
            let mut to = farthest.clone();
            for (cluster, &index) in &self.clusters {
                to[index] = round_trip(node, cluster).unwrap_or(to[index]);
            }
            self.round_trips.push(to);
        }
    }

    pub(crate) fn clients_of(&self, endpoint: &EndpointName) -> Clients<'_> {
        let shares = self.demand.get(endpoint).map_or(&[][..], Vec::as_slice);
        Clients { shares, round_trips: &self.round_trips }
    }
}

impl Clients<'_> {
    /// Milliseconds that the clients are away from the node at `index` of the view, on average over their requests. Zero
    /// if none were heard of.
    pub(crate) fn distance(&self, index: usize) -> u64 {
        let (mut time, mut requests) = (0, 0);
        for &(cluster, share) in self.shares {
            time += u64::from(self.round_trips[index][cluster]) * share;
            requests += share;
        }
        // To the nearest step.
        (2 * time + requests * STEP).checked_div(2 * requests * STEP).unwrap_or(0) * STEP
    }
}

fn round_trip(node: &NodeView, cluster: &str) -> Option<u32> {
    if node.facts.labels.cluster == cluster { Some(0) } else { node.distances.get(cluster).copied() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fleet::{Fleet, name};

    /// Nodes 1 and 2 at home, node 3 in `far`, 100 ms away.
    fn fleet() -> Fleet {
        let fleet = (1..=3).fold(Fleet::new(), |fleet, node| fleet.node(node, 8).cluster(node, "home"));
        fleet.cluster(3, "far").distance(1, "far", 100).distance(3, "home", 104)
    }

    fn distances(fleet: &Fleet) -> [u64; 3] {
        let distances = Distances::new(&fleet.view);
        [0, 1, 2].map(|node| distances.clients_of(&name("a")).distance(node))
    }

    #[test]
    fn without_demand_nothing_is_far() {
        assert_eq!(distances(&fleet()), [0, 0, 0]);
        assert_eq!(distances(&fleet().demand(1, "b", 64)), [0, 0, 0], "of another endpoint");
    }

    #[test]
    fn the_share_of_each_cluster_counts() {
        assert_eq!(distances(&fleet().demand(1, "a", 64)), [0, 0, 100], "rounded to 10 ms");
        // 48 of 64 requests come from home.
        let both = fleet().demand(1, "a", 16).demand(2, "a", 32).demand(3, "a", 16);
        assert_eq!(distances(&both), [30, 30, 80]);
    }

    #[test]
    fn what_was_not_measured_is_as_far_as_can_be() {
        assert_eq!(distances(&fleet().demand(3, "a", 64)), [100, 100, 0], "node 2 has not measured");
    }
}
