//! Which node is the steward of an endpoint.

use shoal_types::{EndpointName, NodeId, NodeView, View, rendezvous_weight};

/// The node that says how many replicas `endpoint` should have: the one with the highest rendezvous weight of those that
/// are there, where possible one that is not leaving. Two nodes may answer differently for some seconds; then both speak,
/// and the greater word counts (DESIGN rule 5).
pub fn steward_of(view: &View, endpoint: &EndpointName) -> Option<NodeId> {
    // A key of its own: with that of placement, losing the first replica's host would always lose the steward too.
    let key = format!("steward/{endpoint}");
    let best = |nodes: &mut dyn Iterator<Item = &NodeView>| {
        nodes.map(|node| node.id).max_by_key(|&node| (rendezvous_weight(&key, node), node))
    };
    let alive = || view.nodes.values().map(AsRef::as_ref).filter(|node: &&NodeView| node.is_alive());
    best(&mut alive().filter(|node| node.departure.is_none())).or_else(|| best(&mut alive()))
}
