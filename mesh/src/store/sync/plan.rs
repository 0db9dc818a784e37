//! With whom to compare stores, and when. Pure.

use std::{collections::BTreeMap, time::Duration};

use shoal_types::{NodeId, View};
use tokio::time::Instant;

/// Comparisons at once: after a partition heals, everybody differs from everybody.
const AT_ONCE: usize = 2;
/// Longest dialogue; what runs longer is no longer counted.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Shortest time between two comparisons with one peer. A digest takes a few rounds of gossip to follow the store.
const EVERY: Duration = Duration::from_secs(3);
/// The same while both digests are those of a comparison by which nothing crossed: what differs is refused or
/// quarantined.
const EVERY_IN_VAIN: Duration = Duration::from_secs(30);

/// What has been compared so far.
#[derive(Debug, Default)]
pub(super) struct Plan {
    peers: BTreeMap<NodeId, State>,
}

/// Whether a live peer has exactly what this node has.
pub(super) fn somebody_agrees(view: &View, digest: &str) -> bool {
    view.nodes.values().any(|node| node.id != view.me && node.is_alive() && node.specs == digest)
}

/// The digest here and there.
pub(super) type Digests = (String, String);

#[derive(Debug)]
enum State {
    Running { since: Instant },
    Ended { at: Instant, in_vain: Option<Digests> },
}

impl Plan {
    /// Live peers whose digest is not `digest`, with both, as far as it is time to compare with them.
    pub(super) fn due(&self, view: &View, digest: &str, now: Instant) -> Vec<(NodeId, Digests)> {
        let others = view.nodes.values().filter(|node| node.id != view.me && node.is_alive());
        let differs = others.filter(|node| !node.specs.is_empty() && node.specs != digest);
        let candidates = differs.map(|node| (node.id, (digest.to_owned(), node.specs.clone())));
        candidates.filter(|(node, digests)| self.is_idle(*node, digests, now)).collect()
    }

    /// How many more may run at once.
    pub(super) fn room(&self, now: Instant) -> usize {
        let runs = |state: &&State| matches!(state, State::Running { since } if now < *since + DEADLINE * 2);
        AT_ONCE.saturating_sub(self.peers.values().filter(runs).count())
    }

    fn is_idle(&self, node: NodeId, digests: &Digests, now: Instant) -> bool {
        match self.peers.get(&node) {
            None => true,
            Some(State::Running { since }) => now >= *since + DEADLINE * 2,
            Some(State::Ended { at, in_vain }) if in_vain.as_ref() == Some(digests) => now >= *at + EVERY_IN_VAIN,
            Some(State::Ended { at, .. }) => now >= *at + EVERY,
        }
    }

    /// A comparison with `peer` begins.
    pub(super) fn begin(&mut self, peer: NodeId, now: Instant) {
        self.peers.insert(peer, State::Running { since: now });
    }

    /// A comparison with `peer` has ended; `in_vain` if it went well and nothing crossed.
    pub(super) fn end(&mut self, peer: NodeId, in_vain: Option<Digests>, now: Instant) {
        self.peers.insert(peer, State::Ended { at: now, in_vain });
        // Peers that are gone are not kept for ever.
        self.peers.retain(|_, state| match state {
            State::Running { .. } => true,
            State::Ended { at, .. } => now < *at + EVERY_IN_VAIN,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_types::{Liveness, MeshId, NodeView, UnixMillis};

    use super::*;
    use crate::fixture::{facts, node_view};

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn view(peers: &[(u8, &str, Liveness)]) -> Arc<View> {
        let member = |(byte, specs, liveness): &(u8, &str, Liveness)| NodeView {
            liveness: *liveness,
            specs: (*specs).to_owned(),
            ..node_view(node(*byte), facts("n"))
        };
        let nodes = peers.iter().map(|peer| (node(peer.0), Arc::new(member(peer)))).collect();
        Arc::new(View { me: node(0), mesh: MeshId::from_bytes([9; 16]), nodes, endpoints: BTreeMap::new() })
    }

    fn due(plan: &Plan, view: &View, now: Instant) -> Vec<NodeId> {
        plan.due(view, "mine", now).into_iter().map(|(node, _)| node).collect()
    }

    #[tokio::test]
    async fn only_living_peers_that_differ_are_asked() {
        let suspect = Liveness::Suspect { since: UnixMillis::default() };
        let view = view(&[
            (0, "old own", Liveness::Alive),
            (1, "other", Liveness::Alive),
            (2, "mine", Liveness::Alive),
            (3, "other", suspect),
            (4, "", Liveness::Alive),
        ]);
        assert_eq!(due(&Plan::default(), &view, Instant::now()), [node(1)]);
        assert!(somebody_agrees(&view, "mine"));
        assert!(!somebody_agrees(&view, "old own"), "oneself does not count");
    }

    #[tokio::test]
    async fn two_run_at_once_and_one_that_hangs_does_not_count_for_ever() {
        let (mut plan, now) = (Plan::default(), Instant::now());
        plan.begin(node(1), now);
        plan.begin(node(2), now);
        assert_eq!(plan.room(now), 0);
        assert_eq!(plan.room(now + DEADLINE * 2), 2);
    }

    #[tokio::test]
    async fn a_peer_is_left_alone_for_a_while_and_longer_if_nothing_comes_of_it() {
        let view = view(&[(1, "other", Liveness::Alive)]);
        let (mut plan, now) = (Plan::default(), Instant::now());
        plan.begin(node(1), now);
        assert!(due(&plan, &view, now).is_empty());
        plan.end(node(1), None, now);
        assert!(due(&plan, &view, now + EVERY / 2).is_empty());
        assert_eq!(due(&plan, &view, now + EVERY), [node(1)]);
        plan.end(node(1), Some(("mine".to_owned(), "other".to_owned())), now);
        assert!(due(&plan, &view, now + EVERY_IN_VAIN / 2).is_empty());
        assert_eq!(due(&plan, &view, now + EVERY_IN_VAIN), [node(1)]);
        plan.end(node(1), Some(("mine".to_owned(), "before".to_owned())), now);
        assert_eq!(due(&plan, &view, now + EVERY), [node(1)], "something new differs");
    }
}
