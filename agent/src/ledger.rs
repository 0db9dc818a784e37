//! Which of the node's GPUs belong to which of its replicas. Only the node gives its GPUs away, so none is given twice.

use std::collections::BTreeMap;

use shoal_placement::fits;
use shoal_types::{ClaimId, Gpu, GpuId, GpuUse, MemorySize, Resources};

use crate::inventory::GpuReading;

/// Shares of a GPU's memory that gossip distinguishes.
const MEMORY_STEPS: u64 = 20;

/// Who holds which GPU.
#[derive(Debug, Default)]
pub(crate) struct GpuLedger {
    held: BTreeMap<GpuId, ClaimId>,
}

impl GpuLedger {
    /// Gives `claim` the first GPUs that are free and fit `need`; gives none if there are not enough.
    pub(crate) fn reserve(&mut self, claim: ClaimId, need: &Resources, gpus: &[Gpu]) -> Option<Vec<GpuId>> {
        let free = gpus.iter().filter(|gpu| gpu.used_by == GpuUse::Free && !self.held.contains_key(&gpu.id));
        let wanted = usize::try_from(need.gpus).ok()?;
        let chosen: Vec<GpuId> = free.filter(|gpu| fits(gpu, need)).map(|gpu| gpu.id.clone()).take(wanted).collect();
        if chosen.len() < wanted {
            return None;
        }
        self.held.extend(chosen.iter().map(|gpu| (gpu.clone(), claim)));
        Some(chosen)
    }

    /// A replica of the daemon before still runs on `gpus`: they are `claim`'s.
    pub(crate) fn restore(&mut self, claim: ClaimId, gpus: &[GpuId]) {
        self.held.extend(gpus.iter().map(|gpu| (gpu.clone(), claim)));
    }

    /// Takes back what `claim` held.
    pub(crate) fn release(&mut self, claim: ClaimId) {
        self.held.retain(|_, holder| *holder != claim);
    }

    /// The claims that hold a GPU.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> std::collections::BTreeSet<ClaimId> {
        self.held.values().copied().collect()
    }

    /// The GPUs as they are published: each with who has it. `ours` tells whether a process belongs to a replica.
    pub(crate) fn describe(&self, readings: &[GpuReading], ours: impl Fn(u32) -> bool) -> Vec<Gpu> {
        readings.iter().map(|reading| self.gpu(reading, &ours)).collect()
    }

    fn gpu(&self, reading: &GpuReading, ours: &impl Fn(u32) -> bool) -> Gpu {
        let used_by = match (self.held.get(&reading.id), &reading.processes) {
            (Some(claim), _) => GpuUse::Replica(*claim),
            (None, None) => GpuUse::Unknown,
            (None, Some(processes)) => match processes.iter().find(|&&process| !ours(process)) {
                Some(process) => GpuUse::Foreign(format!("process {process}")),
                None => GpuUse::Free,
            },
        };
        Gpu {
            id: reading.id.clone(),
            name: reading.name.clone(),
            memory: reading.memory,
            memory_used: reading.memory_used.map(|used| quantise(used, reading.memory)),
            utilization: reading.utilization.map(|percent| percent / 10 * 10),
            temperature: reading.temperature.map(|celsius| celsius / 5 * 5),
            mig: None,
            numa: None,
            used_by,
            fault: None,
        }
    }
}

fn quantise(used: MemorySize, total: MemorySize) -> MemorySize {
    let step = (total.as_bytes() / MEMORY_STEPS).max(1);
    MemorySize::from_bytes(used.as_bytes().div_ceil(step) * step)
}

#[cfg(test)]
mod tests {
    use shoal_types::{NodeId, UnixMillis};

    use std::collections::BTreeSet;

    use super::*;

    fn claim(counter: u32) -> ClaimId {
        ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter }
    }

    fn reading(index: u32, processes: Option<Vec<u32>>) -> GpuReading {
        GpuReading {
            id: GpuId(format!("GPU-{index}")),
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            memory: MemorySize::from_gib(80),
            memory_used: Some(MemorySize::from_gib(1)),
            utilization: Some(47),
            temperature: Some(33),
            processes,
        }
    }

    fn need(gpus: u32) -> Resources {
        Resources { gpus, gpu_model: Some("h100".to_owned()), gpu_memory: Some(MemorySize::from_gib(80)), mig: None }
    }

    #[test]
    fn rule_3_no_gpu_is_given_twice() {
        let mut ledger = GpuLedger::default();
        let gpus =
            ledger.describe(&[reading(0, Some(vec![])), reading(1, Some(vec![])), reading(2, Some(vec![]))], |_| false);
        // All three reservations see the same description, as if it had not been refreshed in between.
        assert_eq!(ledger.reserve(claim(1), &need(2), &gpus).unwrap().len(), 2);
        assert_eq!(ledger.reserve(claim(2), &need(2), &gpus), None);
        assert_eq!(ledger.reserve(claim(3), &need(1), &gpus).unwrap().len(), 1);
        assert_eq!(ledger.holders(), BTreeSet::from([claim(1), claim(3)]));
        ledger.release(claim(1));
        assert!(ledger.reserve(claim(4), &need(2), &gpus).is_some());
    }

    #[test]
    fn unknown_and_foreign_gpus_are_not_free() {
        let mut ledger = GpuLedger::default();
        let gpus =
            ledger.describe(&[reading(0, None), reading(1, Some(vec![7])), reading(2, Some(vec![8]))], |pid| pid == 8);
        assert_eq!(gpus[0].used_by, GpuUse::Unknown);
        assert_eq!(gpus[1].used_by, GpuUse::Foreign("process 7".to_owned()));
        assert_eq!(gpus[2].used_by, GpuUse::Free);
        assert_eq!(ledger.reserve(claim(1), &need(2), &gpus), None);
    }

    #[test]
    fn what_does_not_fit_is_not_given() {
        let mut ledger = GpuLedger::default();
        let gpus = ledger.describe(&[reading(0, Some(vec![]))], |_| false);
        let too_much = Resources { gpu_memory: Some(MemorySize::from_gib(141)), ..need(1) };
        assert_eq!(ledger.reserve(claim(1), &too_much, &gpus), None);
        assert_eq!(gpus[0].utilization, Some(40));
        assert_eq!(gpus[0].memory_used, Some(MemorySize::from_gib(4)));
    }
}
