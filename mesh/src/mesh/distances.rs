//! How far other clusters are. Pure.

use std::{collections::BTreeMap, time::Duration};

use shoal_types::{NodeId, View};

/// Milliseconds that distances are rounded to.
const STEP: u32 = 10;
/// A distance stands until it is off by more than this part of it, and by more than a [`STEP`].
const TOLERANCE: u32 = 5;

/// Milliseconds to each other cluster, by the round trips to its nodes that were `measured`. `view` has the clusters, and
/// what this node said last: that of a cluster which cannot be measured now, and has nodes still, is what it was.
pub(super) fn distances(view: &View, measured: impl IntoIterator<Item = (NodeId, Duration)>) -> BTreeMap<String, u32> {
    let Some(own) = view.nodes.get(&view.me) else { return BTreeMap::new() };
    let cluster = |node: &NodeId| view.nodes.get(node).map(|node| node.facts.labels.cluster.as_str());
    let mut others: BTreeMap<&str, Vec<Duration>> =
        view.nodes.keys().filter_map(cluster).map(|cluster| (cluster, Vec::new())).collect();
    others.remove(own.facts.labels.cluster.as_str());
    for (node, round_trip) in measured {
        if let Some(round_trips) = cluster(&node).and_then(|cluster| others.get_mut(cluster)) {
            round_trips.push(round_trip);
        }
    }
    let distance = |(cluster, round_trips): (&str, Vec<Duration>)| {
        let said = own.distances.get(cluster).copied();
        let distance = median(round_trips).map(|millis| settled(said, millis)).or(said)?;
        Some((cluster.to_owned(), distance))
    };
    others.into_iter().filter_map(distance).collect()
}

/// The one in the middle, in milliseconds; of an even number the shorter of the two.
fn median(mut round_trips: Vec<Duration>) -> Option<u32> {
    round_trips.sort_unstable();
    let middle = round_trips.get(round_trips.len().checked_sub(1)? / 2)?;
    Some(u32::try_from(middle.as_millis()).unwrap_or(u32::MAX))
}

/// What to say of a distance of `millis` when `said` is what was said last.
fn settled(said: Option<u32>, millis: u32) -> u32 {
    match said {
        Some(said) if said.abs_diff(millis) <= STEP.max(said / TOLERANCE) => said,
        Some(_) | None => millis.saturating_add(STEP / 2) / STEP * STEP,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_types::{Labels, MeshId, NodeFacts};

    use super::*;
    use crate::fixture::{facts, node_view};

    fn id(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    /// Node 0 in `home` that said `said`, and other nodes in these clusters.
    fn view(said: &[(&str, u32)], others: &[(u8, &str)]) -> View {
        let node = |(byte, cluster): (u8, &str)| {
            let labels = Labels { cluster: cluster.to_owned(), ..Labels::default() };
            let mut view = node_view(id(byte), NodeFacts { labels, ..facts("n") });
            view.distances = said.iter().map(|(cluster, millis)| ((*cluster).to_owned(), *millis)).collect();
            (id(byte), Arc::new(view))
        };
        let nodes = others.iter().copied().chain([(0, "home")]).map(node).collect();
        View { me: id(0), mesh: MeshId::from_bytes([9; 16]), nodes, endpoints: BTreeMap::new() }
    }

    fn measured(view: &View, round_trips: &[(u8, u64)]) -> Vec<(String, u32)> {
        let round_trips = round_trips.iter().map(|(byte, millis)| (id(*byte), Duration::from_millis(*millis)));
        distances(view, round_trips).into_iter().collect()
    }

    #[test]
    fn the_peer_in_the_middle_says_how_far_a_cluster_is() {
        let view = view(&[], &[(1, "home"), (2, "west"), (3, "west"), (4, "west"), (5, "east"), (6, "north")]);
        let found = measured(&view, &[(1, 1), (2, 900), (3, 68), (4, 3), (5, 4), (7, 50)]);
        assert_eq!(found, [("east".to_owned(), 0), ("west".to_owned(), 70)], "north was not measured, 7 is nobody");
    }

    #[test]
    fn a_distance_stands_until_it_is_clearly_another() {
        let others = [(1, "west")];
        let west = |said, millis| measured(&view(&[("west", said)], &others), &[(1, millis)])[0].1;
        assert_eq!([west(70, 60), west(70, 84), west(70, 85)], [70, 70, 90]);
        assert_eq!([west(0, 10), west(0, 11)], [0, 10]);
        assert_eq!([west(200, 240), west(200, 241), west(200, 159)], [200, 240, 160]);
    }

    #[test]
    fn a_cluster_that_cannot_be_measured_is_where_it_was_until_it_is_forgotten() {
        let view = view(&[("west", 70), ("gone", 30), ("home", 0)], &[(1, "west")]);
        assert_eq!(measured(&view, &[]), [("west".to_owned(), 70)]);
    }
}
