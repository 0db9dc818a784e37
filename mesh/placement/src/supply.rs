//! What kinds of nodes a mesh has had, and where: where more could be rented, when none of them is left.

use serde::{Deserialize, Serialize};
use shoal_types::{Gpu, Labels, MemorySize, NodeView, Resources, UnixMillis, View};

use crate::capacity::is_of_kind;

/// Kinds that are remembered, those seen last.
const KINDS_MAX: usize = 256;
/// Days for which one is remembered that is not there any more.
const DAYS_MAX: u64 = 30;
/// Milliseconds between two looks, as each costs a walk over all nodes: a zone that was there for less is hardly one.
const LOOK_EVERY: u64 = 5 * 60_000;

const DAY: u64 = 86_400_000;

/// What kinds of nodes there were, and where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Supply {
    /// In the order in which they were first seen.
    kinds: Vec<NodeKind>,
    /// When it last looked, in [`LOOK_EVERY`] since the epoch.
    looked: u64,
}

/// Nodes of one place that are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeKind {
    /// Those of one of them, with the least price that one said.
    pub(crate) labels: Labels,
    gpus: Vec<GpuKind>,
    /// Day since the epoch on which one was last there.
    seen: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GpuKind {
    name: String,
    memory: MemorySize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mig: Option<String>,
    count: usize,
}

impl GpuKind {
    fn is_of(&self, gpu: &Gpu) -> bool {
        self.memory == gpu.memory && self.mig == gpu.mig && self.name == gpu.name
    }
}

impl Supply {
    pub(crate) const NONE: Self = Self { kinds: Vec::new(), looked: 0 };

    pub(crate) fn kinds(&self) -> &[NodeKind] {
        &self.kinds
    }

    /// Takes note of the nodes that are there. Returns whether anything was new.
    pub(crate) fn observe(&mut self, view: &View, now: UnixMillis) -> bool {
        let look = now.as_millis() / LOOK_EVERY;
        if look == self.looked {
            return false;
        }
        self.looked = look;
        let today = now.as_millis() / DAY;
        let present = present(view, today);
        let is_old = |kind: &NodeKind| kind.seen + DAYS_MAX < today;
        let mut changed = self.kinds.iter().any(is_old);
        self.kinds.retain(|kind| !is_old(kind));
        for kind in present {
            match self.kinds.iter_mut().find(|known| known.is_like(&kind)) {
                Some(known) if *known == kind => {}
                Some(known) => {
                    *known = kind;
                    changed = true;
                }
                None => {
                    self.make_room();
                    self.kinds.push(kind);
                    changed = true;
                }
            }
        }
        changed
    }

    fn make_room(&mut self) {
        if self.kinds.len() >= KINDS_MAX
            && let Some((oldest, _)) = self.kinds.iter().enumerate().min_by_key(|(_, kind)| kind.seen)
        {
            self.kinds.remove(oldest);
        }
    }
}

/// The kinds of nodes that are there.
fn present(view: &View, today: u64) -> Vec<NodeKind> {
    let mut kinds: Vec<NodeKind> = Vec::new();
    for node in view.nodes.values().filter(|node| node.is_alive() && !node.gpus.is_empty()) {
        if let Some(kind) = kinds.iter_mut().find(|kind| kind.includes(node)) {
            kind.labels.price = least(kind.labels.price, node.facts.labels.price);
        } else if kinds.len() < KINDS_MAX {
            kinds.push(NodeKind::of(node, today));
        }
    }
    kinds
}

impl NodeKind {
    fn of(node: &NodeView, seen: u64) -> Self {
        let mut gpus: Vec<GpuKind> = Vec::new();
        for gpu in &node.gpus {
            match gpus.iter_mut().find(|kind| kind.is_of(gpu)) {
                Some(kind) => kind.count += 1,
                None => {
                    gpus.push(GpuKind { name: gpu.name.clone(), memory: gpu.memory, mig: gpu.mig.clone(), count: 1 })
                }
            }
        }
        Self { labels: node.facts.labels.clone(), gpus, seen }
    }

    /// Whether `node` is one of these. Told by its first GPU: hosts with several kinds of GPUs are rare.
    fn includes(&self, node: &NodeView) -> bool {
        let all: usize = self.gpus.iter().map(|kind| kind.count).sum();
        all == node.gpus.len()
            && self.gpus.first().zip(node.gpus.first()).is_some_and(|(kind, gpu)| kind.is_of(gpu))
            && is_same_place(&self.labels, &node.facts.labels)
    }

    fn is_like(&self, other: &Self) -> bool {
        self.gpus == other.gpus && is_same_place(&self.labels, &other.labels)
    }

    /// Whether one of these could hold a replica that needs `resources`, if it were empty.
    pub(crate) fn holds(&self, resources: &Resources) -> bool {
        let fits = |kind: &&GpuKind| is_of_kind((&kind.name, kind.memory, kind.mig.as_deref()), resources);
        let fitting: usize = self.gpus.iter().filter(fits).map(|kind| kind.count).sum();
        fitting >= resources.gpus as usize
    }
}

fn is_same_place(one: &Labels, other: &Labels) -> bool {
    one.capacity_type == other.capacity_type
        && one.zone == other.zone
        && one.cluster == other.cluster
        && one.region == other.region
        && one.cloud == other.cloud
}

/// The lesser of two prices, as far as they are told.
pub(crate) fn least(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::Liveness;

    use super::*;
    use crate::tests::fleet::{Fleet, at};

    const DAYS: u64 = 86_400;

    #[test]
    fn a_zone_that_vanished_is_remembered_with_its_price_and_then_forgotten() {
        let fleet = Fleet::new().node(1, 8).zone(1, "z").price(1, 3.0).node(2, 8).zone(2, "z").price(2, 2.0);
        let mut supply = Supply::default();
        assert!(supply.observe(&fleet.view, at(0)));
        assert!(!supply.observe(&fleet.view, at(1_000)), "nothing new");
        let gone = fleet.liveness(1, Liveness::Left).liveness(2, Liveness::Left);
        assert!(!supply.observe(&gone.view, at(20 * DAYS)));
        let prices: Vec<_> = supply.kinds().iter().map(|kind| kind.labels.price).collect();
        assert_eq!(prices, [Some(2.0)], "one kind, at the least price");
        assert!(supply.observe(&gone.view, at(40 * DAYS)));
        assert_eq!(supply.kinds(), []);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut supply = Supply::default();
        for day in 0..300 {
            let fleet = Fleet::new().node(1, 8).zone(1, &format!("z{day}"));
            supply.observe(&fleet.view, at(day * 600));
        }
        assert_eq!(supply.kinds().len(), KINDS_MAX);
        assert_eq!(supply.kinds().last().and_then(|kind| kind.labels.zone.as_deref()), Some("z299"));
    }
}
