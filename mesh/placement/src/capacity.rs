//! How many GPUs of a node a new replica could take.

use shoal_types::{Gpu, GpuUse, NodeView, ReplicaState, Resources};

/// Whether `gpu` is of the kind that `resources` asks for, whoever has it. MIG slices are only for those that ask.
pub fn fits(gpu: &Gpu, resources: &Resources) -> bool {
    let model = resources.gpu_model.as_ref().is_none_or(|wanted| contains_ignoring_case(&gpu.name, wanted));
    model && gpu.mig == resources.mig && resources.gpu_memory.is_none_or(|least| gpu.memory >= least)
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
        let promised = promised(node);
        let available = |gpu: &&Gpu| gpu.is_free() || is_slept_on(node, gpu);
        let fitting = node.gpus.iter().filter(available).filter(|gpu| fits(gpu, resources)).count();
        Self {
            free: node.gpus.iter().filter(available).count().saturating_sub(promised),
            // A claim that is not on the inventory yet may take any of them, so assume it takes those that fit.
            fitting: fitting.saturating_sub(promised),
            matching: node.gpus.iter().filter(|gpu| fits(gpu, resources)).count(),
        }
    }

    /// The room that is left when a replica takes `gpus` of those that fit.
    pub(crate) const fn less(self, gpus: usize) -> Self {
        Self { free: self.free.saturating_sub(gpus), fitting: self.fitting.saturating_sub(gpus), ..self }
    }
}

/// Whether a sleeping replica has `gpu`: it makes room for whoever is wanted.
fn is_slept_on(node: &NodeView, gpu: &Gpu) -> bool {
    let GpuUse::Replica(claim) = gpu.used_by else { return false };
    gpu.fault.is_none() && node.claims.get(&claim).is_some_and(|claim| claim.state == ReplicaState::Asleep)
}

/// GPUs that claims of `node` hold and that its inventory still shows as free: claims and inventory are separate facts,
/// and the claim is published first.
fn promised(node: &NodeView) -> usize {
    let held: usize = node.claims.values().map(|claim| claim.gpus as usize).sum();
    let shows = |gpu: &&Gpu| matches!(gpu.used_by, GpuUse::Replica(claim) if node.claims.contains_key(&claim));
    held.saturating_sub(node.gpus.iter().filter(shows).count())
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
