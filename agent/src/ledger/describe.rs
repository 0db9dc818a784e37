//! The node's GPUs as it tells others: readings, and who has what.

use shoal_types::{Gpu, GpuUse, MemorySize};

use super::GpuLedger;
use crate::inventory::GpuReading;

/// Shares of a GPU's memory that gossip distinguishes.
const MEMORY_STEPS: u64 = 20;
/// Memory that a GPU may have in use although nobody is there: the driver keeps some for itself.
const IDLE_MEMORY: u64 = 1 << 30;

impl GpuLedger {
    /// The GPUs as they are published: each with who has it. `ours` tells whether a process belongs to a replica.
    pub(crate) fn describe(&self, readings: &[GpuReading], ours: impl Fn(u32) -> bool) -> Vec<Gpu> {
        readings.iter().map(|reading| self.gpu(reading, &ours)).collect()
    }

    fn gpu(&self, reading: &GpuReading, ours: &impl Fn(u32) -> bool) -> Gpu {
        let vitals = &reading.vitals;
        let held = self.account.held.get(&reading.id).map(|&claim| GpuUse::Replica(claim));
        Gpu {
            id: reading.id.clone(),
            name: reading.name.clone(),
            memory: reading.memory,
            memory_used: vitals.memory_used.map(|used| quantise(used, reading.memory)),
            utilization: vitals.utilization.map(|percent| percent / 10 * 10),
            temperature: vitals.temperature.map(|celsius| celsius / 5 * 5),
            mig: reading.mig.clone(),
            numa: reading.links.numa,
            used_by: held.unwrap_or_else(|| unheld(reading, ours)),
            fault: reading.fault.clone(),
        }
    }
}

/// Who has a GPU that no replica holds.
fn unheld(reading: &GpuReading, ours: &impl Fn(u32) -> bool) -> GpuUse {
    if reading.partitioned {
        return GpuUse::Partitioned;
    }
    let Some(processes) = &reading.vitals.processes else { return GpuUse::Unknown };
    if let Some(process) = processes.iter().find(|process| !ours(process.pid)) {
        return GpuUse::Foreign(process.to_string());
    }
    // The driver does not list processes of other pid namespaces: those outside the container that this one is in.
    let idle = (reading.memory.as_bytes() / MEMORY_STEPS).max(IDLE_MEMORY);
    match reading.vitals.memory_used {
        Some(used) if processes.is_empty() && used.as_bytes() > idle => {
            let used = quantise(used, reading.memory);
            GpuUse::Foreign(format!("a process that cannot be seen from here ({used})"))
        }
        Some(_) | None => GpuUse::Free,
    }
}

fn quantise(used: MemorySize, total: MemorySize) -> MemorySize {
    let step = (total.as_bytes() / MEMORY_STEPS).max(1);
    MemorySize::from_bytes(used.as_bytes().div_ceil(step) * step)
}
