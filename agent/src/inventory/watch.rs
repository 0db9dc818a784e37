//! What the supervisor asks about GPUs, answered from the last readings.

use std::time::Duration;

use shoal_engine_supervisor::GpuWatch;
use shoal_mesh::clock;
use shoal_types::{GpuId, MemorySize, UnixMillis};
use tokio::sync::watch;

use super::reading::{GpuReading, Incident};

/// How long after a fault an engine that ends has ended because of it.
const RECENT: Duration = Duration::from_secs(10);

/// The readings that the node goes by.
#[derive(Debug, Clone)]
pub(crate) struct ReadingsWatch(watch::Receiver<Vec<GpuReading>>);

impl ReadingsWatch {
    pub(crate) const fn new(readings: watch::Receiver<Vec<GpuReading>>) -> Self {
        Self(readings)
    }

    fn recent_fault_at(&self, gpus: &[GpuId], now: UnixMillis) -> Option<String> {
        let readings = self.0.borrow();
        let incidents =
            readings.iter().filter(|reading| gpus.contains(&reading.id)).filter_map(|r| r.incident.as_ref());
        let recent = |incident: &&Incident| now.since(incident.at) <= RECENT;
        incidents.filter(recent).max_by_key(|incident| incident.at).map(|incident| incident.reason.clone())
    }
}

impl GpuWatch for ReadingsWatch {
    fn holders(&self, gpus: &[GpuId]) -> Option<Vec<u32>> {
        let readings = self.0.borrow();
        let mut holders = Vec::new();
        for gpu in gpus {
            let reading = readings.iter().find(|reading| reading.id == *gpu)?;
            holders.extend(reading.vitals.processes.as_ref()?.iter().map(|process| process.pid));
        }
        Some(holders)
    }

    fn memory(&self, gpus: &[GpuId]) -> Option<MemorySize> {
        let readings = self.0.borrow();
        let find = |gpu: &GpuId| readings.iter().find(|reading| reading.id == *gpu).map(|reading| reading.memory);
        gpus.iter().map(find).collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    fn recent_fault(&self, gpus: &[GpuId]) -> Option<String> {
        self.recent_fault_at(gpus, clock::now())
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::MemorySize;

    use super::*;
    use crate::inventory::reading::{GpuProcess, Links, Vitals};

    const NOW: UnixMillis = UnixMillis::from_millis(100_000);

    fn id(index: u32) -> GpuId {
        GpuId(format!("GPU-{index}"))
    }

    fn reading(index: u32, processes: Option<&[u32]>, incident: Option<(&str, UnixMillis)>) -> GpuReading {
        let of = |pids: &[u32]| pids.iter().map(|&pid| GpuProcess { pid, name: None }).collect();
        GpuReading {
            id: id(index),
            name: String::new(),
            memory: MemorySize::from_gib(80),
            mig: None,
            partitioned: false,
            links: Links::default(),
            vitals: Vitals { processes: processes.map(of), ..Vitals::default() },
            fault: None,
            incident: incident.map(|(reason, at)| Incident { reason: reason.to_owned(), at }),
        }
    }

    fn watch_of(readings: Vec<GpuReading>) -> ReadingsWatch {
        ReadingsWatch::new(watch::channel(readings).1)
    }

    #[test]
    fn unknown_holders_are_not_none() {
        let watch =
            watch_of(vec![reading(0, Some(&[7, 8]), None), reading(1, None, None), reading(2, Some(&[]), None)]);
        assert_eq!(watch.holders(&[id(0), id(2)]), Some(vec![7, 8]));
        assert_eq!(watch.holders(&[id(2), id(1)]), None);
        assert_eq!(watch.holders(&[id(9)]), None, "a GPU that is not there");
        assert_eq!(watch.holders(&[]), Some(vec![]));
    }

    #[test]
    fn a_fault_is_recent_for_ten_seconds() {
        let watch = watch_of(vec![reading(0, None, Some(("Xid 94", NOW))), reading(1, None, None)]);
        let at = |secs| NOW.plus(Duration::from_secs(secs));
        assert_eq!(watch.recent_fault_at(&[id(1), id(0)], at(10)).as_deref(), Some("Xid 94"));
        assert_eq!(watch.recent_fault_at(&[id(0)], at(11)), None);
        assert_eq!(watch.recent_fault_at(&[id(1)], at(0)), None);
    }
}
