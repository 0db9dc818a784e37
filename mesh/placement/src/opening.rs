//! Where missing replicas should go, all of them planned together.

use std::{cmp::Reverse, collections::BTreeMap};

use shoal_types::NodeId;

use crate::{census::Census, rank::Ranking, scene::Scene};

/// Missing replicas of one endpoint that are elected at once; the others follow.
const AT_ONCE: usize = 64;
/// Candidates beyond the missing replicas that wait their turn one by one; the rest wait together behind them.
const RESERVES: usize = 16;

/// An endpoint with missing replicas and somebody who could run one.
#[derive(Debug)]
pub(crate) struct Opening<'c, 'a> {
    pub(crate) census: &'c Census<'a>,
    pub(crate) missing: usize,
    /// The places of the asking node in the line, best first, counted from 0. Empty if it cannot run a replica.
    pub(crate) ranks: Vec<usize>,
}

impl Opening<'_, '_> {
    pub(crate) fn size(&self) -> Option<Size> {
        Size::of(self.census.resources().gpus)
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

/// All endpoints with missing replicas, larger replicas first, and the line for each as it concerns `me`.
///
/// Each line is made as if what is missing before it were placed already. Every node makes the same plan from the same
/// view; without it, many endpoints that are applied together would each open another empty host.
pub(crate) fn openings<'c, 'a>(scene: &Scene<'a>, me: NodeId, censuses: &'c [Census<'a>]) -> Vec<Opening<'c, 'a>> {
    let mut vacant: Vec<&Census<'a>> = censuses.iter().filter(|census| census.missing() > 0).collect();
    vacant.sort_by_key(|census| (Reverse(census.resources().gpus), census.name()));
    let mut planned = Planned::new();
    vacant.into_iter().filter_map(|census| opening(scene, me, census, &mut planned)).collect()
}

fn opening<'c, 'a>(
    scene: &Scene<'a>,
    me: NodeId,
    census: &'c Census<'a>,
    planned: &mut Planned,
) -> Option<Opening<'c, 'a>> {
    let missing = census.missing().min(AT_ONCE);
    let (ranking, _) = Ranking::new(scene, &census.want(), census.kept_nodes(), planned);
    if ranking.is_empty() {
        return None;
    }
    let is_candidate = ranking.contains(me);
    let slots = ranking.slots(missing + RESERVES);
    for &node in slots.iter().take(missing) {
        *planned.entry(node).or_default() += census.resources().gpus as usize;
    }
    let mut ranks: Vec<usize> = (0..slots.len()).filter(|&rank| slots[rank] == me).collect();
    // Too far behind to be in line, or its room is planned for others: last, in case that those before it do not act.
    if ranks.is_empty() && is_candidate {
        ranks.push(missing + RESERVES);
    }
    Some(Opening { census, missing, ranks })
}
