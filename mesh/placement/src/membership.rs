//! Whether the others are gone, or this node is the one cut off (DESIGN rule 6).

use std::collections::{BTreeMap, BTreeSet};

use shoal_types::{Liveness, NodeId, NodeView, UnixMillis, View};

use crate::timing::Timing;

/// Fewer lost nodes than this say nothing about who was cut off.
const LOST_MIN: usize = 3;

/// Who was there lately, so that a mass loss can be told from single ones.
///
/// A node is *stable* once it has been alive for [`Timing::stable`], and stays so for [`Timing::loss_window`] after it
/// went quiet. If more than half of the stable nodes, this one included, and at least [`LOST_MIN`] are quiet, then this
/// node is guarded: until that many are back, or [`Timing::guard`] has passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Membership {
    alive_since: BTreeMap<NodeId, UnixMillis>,
    guard: Option<Guard>,
}

#[derive(Debug, Clone)]
struct Guard {
    until: UnixMillis,
    /// Who was stable when it began.
    members: BTreeSet<NodeId>,
}

impl Membership {
    /// Takes note of who is there. Must see every view in which somebody is quiet; between changes it need not be
    /// called.
    pub(crate) fn observe(&mut self, view: &View, timing: &Timing, now: UnixMillis) {
        self.alive_since.retain(|node, _| view.nodes.contains_key(node));
        for node in view.nodes.values() {
            self.observe_node(node, timing, now);
        }
        let is_lost = |node: &NodeId| !view.nodes.get(node).is_some_and(|node| node.is_alive());
        self.guard.take_if(|guard| now >= guard.until || !is_mass_loss(&guard.members, is_lost));
        // Most of the time hardly anybody is quiet, and who is stable need not be worked out.
        let quiet = view.nodes.values().filter(|node| !node.is_alive()).take(LOST_MIN).count();
        if self.guard.is_none() && quiet == LOST_MIN {
            let members = self.stable(timing, now);
            if is_mass_loss(&members, is_lost) {
                self.guard = Some(Guard { until: now.plus(timing.guard), members });
            }
        }
    }

    /// Until when this node takes itself for cut off, if it does.
    pub(crate) fn guard(&self) -> Option<UnixMillis> {
        self.guard.as_ref().map(|guard| guard.until)
    }

    fn observe_node(&mut self, node: &NodeView, timing: &Timing, now: UnixMillis) {
        match node.liveness {
            Liveness::Alive => {
                self.alive_since.entry(node.id).or_insert(now);
            }
            Liveness::Suspect { since } => {
                let was_stable =
                    self.alive_since.get(&node.id).is_some_and(|&alive| since.since(alive) >= timing.stable);
                if !was_stable || now.since(since) > timing.loss_window {
                    self.alive_since.remove(&node.id);
                }
            }
            Liveness::Left => {
                self.alive_since.remove(&node.id);
            }
        }
    }

    fn stable(&self, timing: &Timing, now: UnixMillis) -> BTreeSet<NodeId> {
        self.alive_since
            .iter()
            .filter(|&(_, &alive)| now.since(alive) >= timing.stable)
            .map(|(&node, _)| node)
            .collect()
    }
}

fn is_mass_loss(members: &BTreeSet<NodeId>, is_lost: impl Fn(&NodeId) -> bool) -> bool {
    let lost = members.iter().filter(|&node| is_lost(node)).count();
    lost >= LOST_MIN && 2 * lost > members.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fleet::{Fleet, at};

    /// Seven nodes that were first seen at 0; node 1 is looking.
    fn seven() -> (Membership, Fleet) {
        let fleet = (1..=7).fold(Fleet::new(), |fleet, node| fleet.node(node, 8));
        let mut membership = Membership::default();
        membership.observe(&fleet.view, &Timing::default(), at(0));
        (membership, fleet)
    }

    fn lose(fleet: Fleet, nodes: impl IntoIterator<Item = u8>, since: u64) -> Fleet {
        nodes.into_iter().fold(fleet, |fleet, node| fleet.liveness(node, Liveness::Suspect { since: at(since) }))
    }

    fn guard_at(membership: &mut Membership, fleet: &Fleet, now: u64) -> Option<UnixMillis> {
        membership.observe(&fleet.view, &Timing::default(), at(now));
        membership.guard()
    }

    #[test]
    fn more_than_half_at_once_is_a_partition() {
        let (mut membership, fleet) = seven();
        let fleet = lose(fleet, 2..=4, 100);
        assert_eq!(guard_at(&mut membership, &fleet, 100), None, "three of seven are not more than half");
        let fleet = lose(fleet, [5], 102);
        assert_eq!(guard_at(&mut membership, &fleet, 102), Some(at(402)));
        assert_eq!(guard_at(&mut membership, &fleet, 200), Some(at(402)), "it lasts beyond the window");
        assert_eq!(guard_at(&mut membership, &fleet, 402), None);
        assert_eq!(guard_at(&mut membership, &fleet, 403), None, "and does not come again for the same loss");
    }

    #[test]
    fn it_ends_when_they_are_back() {
        let (mut membership, fleet) = seven();
        let fleet = lose(fleet, 2..=6, 100);
        assert!(guard_at(&mut membership, &fleet, 101).is_some());
        let fleet = fleet.liveness(2, Liveness::Alive).liveness(3, Liveness::Alive);
        assert_eq!(guard_at(&mut membership, &fleet, 110), None);
    }

    #[test]
    fn one_after_the_other_is_no_partition() {
        let (mut membership, mut fleet) = seven();
        for (node, since) in (2..=6).zip((100..).step_by(31)) {
            fleet = lose(fleet, [node], since);
            assert_eq!(guard_at(&mut membership, &fleet, since), None);
        }
    }

    #[test]
    fn small_and_young_meshes_have_no_guard() {
        let three = (1..=3).fold(Fleet::new(), |fleet, node| fleet.node(node, 8));
        let mut membership = Membership::default();
        membership.observe(&three.view, &Timing::default(), at(0));
        assert_eq!(guard_at(&mut membership, &lose(three, 2..=3, 100), 100), None);

        let (mut membership, fleet) = seven();
        assert_eq!(guard_at(&mut membership, &lose(fleet, 2..=7, 59), 61), None);
    }
}
