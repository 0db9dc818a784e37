//! How many GPUs of a node a new replica could take.

use std::collections::BTreeSet;

use shoal_types::{ClaimId, Gpu, GpuUse, MemorySize, NodeView, ReplicaState, Resources};

/// Whether `gpu` is of the kind that `resources` asks for, whoever has it. MIG slices are only for those that ask.
pub fn fits(gpu: &Gpu, resources: &Resources) -> bool {
    is_of_kind((&gpu.name, gpu.memory, gpu.mig.as_deref()), resources)
}

/// The same for a GPU of which only the name, the memory and the MIG profile are known.
pub(crate) fn is_of_kind((name, memory, mig): (&str, MemorySize, Option<&str>), resources: &Resources) -> bool {
    let model = resources.gpu_model.as_ref().is_none_or(|wanted| contains_ignoring_case(name, wanted));
    model && mig == resources.mig.as_deref() && resources.gpu_memory.is_none_or(|least| memory >= least)
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

/// The GPUs of one node, as one endpoint sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// All that nobody holds, of any kind.
    pub(crate) free: usize,
    /// Of those, how many surely fit.
    pub(crate) fitting: usize,
    /// How many there are of the right kind, whoever has them.
    pub(crate) matching: usize,
}

impl Room {
    pub(crate) fn of(node: &NodeView, resources: &Resources) -> Self {
        let mut kinds = GpuKinds::default();
        let stock = Stock::of(node, &mut kinds, &BTreeSet::new());
        stock.room(&kinds.fitting(resources))
    }

    /// The room that is left when a replica takes `gpus` of those that fit.
    pub(crate) const fn less(self, gpus: usize) -> Self {
        Self { free: self.free.saturating_sub(gpus), fitting: self.fitting.saturating_sub(gpus), ..self }
    }
}

/// The kinds of GPUs that a mesh has: few, so that whether one fits an endpoint is asked once, not for every GPU.
#[derive(Debug, Clone, Default)]
pub(crate) struct GpuKinds<'a> {
    /// One GPU of each.
    samples: Vec<&'a Gpu>,
}

impl<'a> GpuKinds<'a> {
    fn index(&mut self, gpu: &'a Gpu) -> usize {
        let same = |sample: &&Gpu| sample.memory == gpu.memory && sample.mig == gpu.mig && sample.name == gpu.name;
        self.samples.iter().position(same).unwrap_or_else(|| {
            self.samples.push(gpu);
            self.samples.len() - 1
        })
    }

    /// For each kind, whether it is what `resources` asks for.
    pub(crate) fn fitting(&self, resources: &Resources) -> Vec<bool> {
        self.samples.iter().map(|gpu| fits(gpu, resources)).collect()
    }
}

/// The GPUs of one node, counted by kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stock {
    shelves: Vec<Shelf>,
    /// GPUs that claims hold and that the inventory still shows as free: claims and inventory are separate facts, and the
    /// claim is published first.
    promised: usize,
}

/// GPUs of one kind.
#[derive(Debug, Clone, Copy)]
struct Shelf {
    kind: usize,
    all: usize,
    /// Of those, what nobody holds, and what a sleeping replica makes room on.
    available: usize,
}

impl Stock {
    /// The stock of `node`, as if its claims `gone` had ended.
    pub(crate) fn of<'a>(node: &'a NodeView, kinds: &mut GpuKinds<'a>, gone: &BTreeSet<ClaimId>) -> Self {
        let mut stock = Self::default();
        let mut shown = 0;
        for gpu in &node.gpus {
            let kind = kinds.index(gpu);
            let holder = match gpu.used_by {
                GpuUse::Replica(claim) => node.claims.get(&claim).filter(|claim| !gone.contains(&claim.id)),
                GpuUse::Free | GpuUse::Foreign(_) | GpuUse::Partitioned | GpuUse::Unknown => None,
            };
            shown += usize::from(holder.is_some());
            let asleep = holder.is_some_and(|claim| claim.state == ReplicaState::Asleep);
            let ended = matches!(gpu.used_by, GpuUse::Replica(claim) if gone.contains(&claim));
            stock.put(kind, gpu.is_free() || (gpu.fault.is_none() && (asleep || ended)));
        }
        let held = node.claims.values().filter(|claim| !gone.contains(&claim.id)).map(|claim| claim.gpus as usize);
        stock.promised = held.sum::<usize>().saturating_sub(shown);
        stock
    }

    fn put(&mut self, kind: usize, available: bool) {
        let shelf = match self.shelves.iter_mut().find(|shelf| shelf.kind == kind) {
            Some(shelf) => shelf,
            None => self.shelves.push_mut(Shelf { kind, all: 0, available: 0 }),
        };
        shelf.all += 1;
        shelf.available += usize::from(available);
    }

    /// The room for an endpoint that `fits`, by kind.
    pub(crate) fn room(&self, fits: &[bool]) -> Room {
        let (mut free, mut fitting, mut matching) = (0, 0, 0);
        for shelf in &self.shelves {
            let fits = usize::from(fits.get(shelf.kind).copied().unwrap_or(false));
            free += shelf.available;
            fitting += shelf.available * fits;
            matching += shelf.all * fits;
        }
        // A claim that is not on the inventory yet may take any of them, so assume it takes those that fit.
        Room { free, fitting, matching }.less(self.promised)
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{MemorySize, Resources};

    use super::*;
    use crate::tests::fleet::{Fleet, gpu, id};

    #[test]
    fn a_claim_holds_its_gpus_before_the_inventory_shows_them() {
        let mut fleet = Fleet::new().node(1, 8).endpoint("a", 4, 1);
        let claim = fleet.claim(1, "a", ReplicaState::Claimed, 0);
        let room = |fleet: &Fleet| Room::of(&fleet.view.nodes[&id(1)], &Resources::default()).free;
        assert_eq!(room(&fleet), 4);
        // Half of them shown: each is counted once.
        for gpu in &mut fleet.node_mut(1).gpus[..2] {
            gpu.used_by = GpuUse::Replica(claim);
        }
        assert_eq!(room(&fleet), 4);
        fleet.node_mut(1).claims.clear();
        assert_eq!(room(&fleet), 6, "shown as used although the claim is gone: its process still has them");
    }

    #[test]
    fn foreign_and_unknown_gpus_are_not_free() {
        let mut fleet = Fleet::new().node(1, 3);
        fleet.node_mut(1).gpus[0].used_by = GpuUse::Foreign("python 4711".to_owned());
        fleet.node_mut(1).gpus[1].used_by = GpuUse::Unknown;
        let room = Room::of(&fleet.view.nodes[&id(1)], &Resources::default());
        assert_eq!(room, Room { free: 1, fitting: 1, matching: 3 });
    }

    #[test]
    fn model_and_memory_must_fit() {
        let wants = |model: Option<&str>, gib: Option<u64>| Resources {
            gpus: 1,
            gpu_model: model.map(str::to_owned),
            gpu_memory: gib.map(MemorySize::from_gib),
            mig: None,
        };
        let gpu = gpu(0);
        assert!(fits(&gpu, &wants(Some("h100"), Some(80))));
        assert!(!fits(&gpu, &wants(Some("A100"), None)));
        assert!(!fits(&gpu, &wants(None, Some(81))));
    }
}
