//! Where missing replicas of one kind should go.

use std::collections::{BTreeMap, BTreeSet};

use shoal_types::NodeId;

use crate::{census::Census, ground::Ground, group::Group, rank::Ranking};

/// Missing replicas of one kind that are elected at once; the others follow.
const AT_ONCE: usize = 64;
/// Candidates beyond the missing replicas that wait their turn one by one; the rest wait together behind them.
const RESERVES: usize = 16;

/// Missing replicas of one kind, and the line of those who could run one, as it concerns the asking node.
#[derive(Debug)]
pub(crate) struct Opening<'c, 'a> {
    pub(crate) census: &'c Census<'a>,
    pub(crate) group: &'c Group<'a>,
    pub(crate) missing: usize,
    /// Of those, how many nobody has room for, once what is more important has its own.
    pub(crate) unplaced: usize,
    /// Whether there is any node that could run one now.
    pub(crate) has_candidates: bool,
    /// The places of the asking node in the line, best first, counted from 0. Empty if it cannot run a replica.
    pub(crate) ranks: Vec<usize>,
}

impl Opening<'_, '_> {
    pub(crate) fn size(&self) -> Option<Size> {
        Size::of(self.group.resources().gpus)
    }
}

/// Classes of replicas by how hard they are to place. Those without GPUs compete with nobody and have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Size {
    One,
    Two,
    Four,
    Eight,
}

impl Size {
    const fn of(gpus: u32) -> Option<Self> {
        match gpus {
            0 => None,
            1 => Some(Self::One),
            2..=3 => Some(Self::Two),
            4..=7 => Some(Self::Four),
            8.. => Some(Self::Eight),
        }
    }
}

/// GPUs of each node that are planned for replicas nobody has claimed yet.
pub(crate) type Planned = BTreeMap<NodeId, usize>;

/// GPUs that are given away already while places are being sought.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) planned: Planned,
    /// Nodes that are being cleared for one replica: no turn ever comes there for another.
    pub(crate) cleared: BTreeSet<NodeId>,
    /// Replicas for which room is being made.
    pub(crate) clearings: usize,
}

/// More GPUs than any node has, and few enough to be added to.
const ALL: usize = usize::MAX / 2;

impl Given {
    pub(crate) fn plan(&mut self, node: NodeId, gpus: usize) {
        *self.planned.entry(node).or_default() += gpus;
    }

    pub(crate) fn planned_on(&self, node: NodeId) -> usize {
        self.planned.get(&node).copied().unwrap_or(0)
    }

    /// The same, without any room on `nodes`.
    pub(crate) fn without(&self, nodes: impl IntoIterator<Item = NodeId>) -> Planned {
        let mut planned = self.planned.clone();
        planned.extend(nodes.into_iter().map(|node| (node, ALL)));
        planned
    }
}

/// The opening for what is missing of `group`, with the line made as if all that is `given` were placed already; takes
/// note of what it gives itself. `barred` are nodes that must not be chosen.
pub(crate) fn opening<'c, 'a>(
    ground: &Ground<'a>,
    me: NodeId,
    (census, group): (&'c Census<'a>, &'c Group<'a>),
    barred: &BTreeSet<NodeId>,
    given: &mut Given,
) -> Opening<'c, 'a> {
    let missing = group.missing().min(AT_ONCE);
    let planned = given.without(barred.iter().copied());
    let ranking = Ranking::on(ground, &group.want, census.kept_beside(&group.want)).beside(&planned);
    let has_candidates = !ranking.is_empty();
    let is_candidate = ranking.contains(me) && !barred.contains(&me) && !given.cleared.contains(&me);
    let slots = ranking.slots(missing + RESERVES);
    for &node in slots.iter().take(missing) {
        given.plan(node, group.resources().gpus as usize);
    }
    let mut ranks: Vec<usize> = (0..slots.len()).filter(|&rank| slots[rank] == me).collect();
    // Too far behind to be in line, or its room is planned for others: last, in case that those before it do not act.
    if ranks.is_empty() && is_candidate {
        ranks.push(missing + RESERVES);
    }
    Opening { census, group, missing, unplaced: missing.saturating_sub(slots.len()), has_candidates, ranks }
}
