//! All GPUs that were ever seen, and how each is now: pure. What the driver's threads report comes in, readings go out.

use std::{collections::BTreeMap, time::Duration};

use shoal_types::{GpuFault, GpuId, UnixMillis};
use tokio::time::Instant;

use super::{
    fault::{Alarm, FaultPolicy, GpuEvent, Shift, Standing, Trouble},
    operator::ClearError,
    reading::{GpuReading, Incident},
};
use crate::config::FaultVerdict;

/// How long a GPU may give no sample before it counts as unknown: three are missing then.
pub(super) const STALE: Duration = Duration::from_secs(3);

/// One look at a GPU.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) gpu: GpuReading,
    /// Its MIG slices.
    pub(super) slices: Vec<GpuReading>,
}

/// The GPUs of this host. One that is gone stays, as unknown, so that nobody wonders where it is.
#[derive(Debug)]
pub(super) struct Roster {
    policy: FaultPolicy,
    /// Which GPU is at which index of the driver's.
    indexes: BTreeMap<u32, GpuId>,
    gpus: BTreeMap<GpuId, Known>,
}

#[derive(Debug)]
struct Known {
    index: u32,
    /// As it was when last seen.
    sample: Sample,
    /// When that was; `None` once it could not be asked.
    seen: Option<Instant>,
    silent: bool,
    lost: bool,
    standing: Standing,
    incident: Option<Incident>,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// A GPU has reported something, or something is wrong with it.
    Event(GpuEvent),
    /// A fault is over.
    Cleared(GpuId, GpuFault),
    /// It gives no answer any more, or gives one again.
    Silent(GpuId, bool),
}

impl Roster {
    pub(super) const fn new(policy: FaultPolicy) -> Self {
        Self { policy, indexes: BTreeMap::new(), gpus: BTreeMap::new() }
    }

    /// The driver has been opened anew: its indexes may mean other GPUs now.
    pub(super) fn opened(&mut self) {
        self.indexes.clear();
    }

    /// GPUs that have been seen since the driver was opened.
    pub(super) fn seen(&self) -> usize {
        self.indexes.len()
    }

    /// Whether one has fallen off the bus: opening the driver anew finds it again once it was reset.
    pub(super) fn has_lost(&self) -> bool {
        self.gpus.values().any(|known| known.lost)
    }

    /// A GPU was looked at.
    pub(super) fn sampled(&mut self, index: u32, sample: Sample, at: Instant, now: UnixMillis) -> Vec<Notice> {
        let id = sample.gpu.id.clone();
        self.indexes.insert(index, id.clone());
        let known = self.gpus.entry(id.clone()).or_insert_with(|| Known::new(index, sample.clone()));
        let shifts = known.standing.sampled(&sample.gpu.vitals, now);
        (known.index, known.sample, known.seen, known.lost) = (index, sample, Some(at), false);
        shifts.into_iter().map(|shift| known.notice(&id, shift)).collect()
    }

    /// A GPU could not be looked at. One that was never seen has no name to list it under: the log has it.
    pub(super) fn troubled(&mut self, index: u32, trouble: &Trouble, now: UnixMillis) -> Option<Notice> {
        let id = self.indexes.get(&index)?;
        let known = self.gpus.get_mut(id)?;
        known.seen = None;
        known.lost |= *trouble == Trouble::Lost;
        let shift = known.standing.troubled(trouble, &self.policy, now)?;
        Some(known.notice(id, shift))
    }

    /// A GPU has reported something.
    pub(super) fn alarm(&mut self, id: &GpuId, alarm: Alarm, now: UnixMillis) -> Option<Notice> {
        let known = self.gpus.get_mut(id)?;
        let (verdict, reason) = known.standing.alarm(alarm, &self.policy, now);
        let xid = match alarm {
            Alarm::Xid(xid) => Some(xid),
            Alarm::DoubleBitEcc => None,
        };
        Some(known.event(id, xid, verdict, reason, now))
    }

    /// GPUs that have begun or ceased to give no answer since this was asked before.
    pub(super) fn silences(&mut self, now: Instant) -> Vec<Notice> {
        let turned = self.gpus.iter_mut().filter(|(_, known)| known.is_unknown(now) != known.silent);
        turned
            .map(|(id, known)| {
                known.silent = !known.silent;
                Notice::Silent(id.clone(), known.silent)
            })
            .collect()
    }

    /// All GPUs as they are now, in the driver's order, each followed by its slices.
    pub(super) fn readings(&self, now: Instant) -> Vec<GpuReading> {
        let mut known: Vec<&Known> = self.gpus.values().collect();
        known.sort_by_key(|known| known.index);
        known.into_iter().flat_map(|known| known.readings(now)).collect()
    }

    /// Forgets, at an operator's word, what a GPU or the GPU of a slice has reported.
    pub(super) fn clear(&mut self, id: &GpuId) -> Result<(), ClearError> {
        let is_it = |known: &&mut Known| known.sample.all().any(|reading| reading.id == *id);
        let known = self.gpus.values_mut().find(is_it).ok_or_else(|| ClearError::NotHere(id.clone()))?;
        match known.standing.clear() {
            Ok(Some(_)) => {
                known.incident = None;
                Ok(())
            }
            Ok(None) => Err(ClearError::Sound(id.clone())),
            Err(shown) => Err(ClearError::Standing { gpu: id.clone(), reason: shown.reason }),
        }
    }
}

impl Sample {
    fn all(&self) -> impl Iterator<Item = &GpuReading> {
        std::iter::once(&self.gpu).chain(&self.slices)
    }
}

impl Known {
    fn new(index: u32, sample: Sample) -> Self {
        let standing = Standing::default();
        Self { index, sample, seen: None, silent: false, lost: false, standing, incident: None }
    }

    fn is_unknown(&self, now: Instant) -> bool {
        self.seen.is_none_or(|seen| now.saturating_duration_since(seen) > STALE)
    }

    fn notice(&mut self, id: &GpuId, shift: Shift) -> Notice {
        match shift {
            Shift::Raised(fault) => self.event(id, None, fault.action.into(), fault.reason, fault.since),
            Shift::Gone(fault) => Notice::Cleared(id.clone(), fault),
        }
    }

    fn event(&mut self, id: &GpuId, xid: Option<u32>, verdict: FaultVerdict, reason: String, at: UnixMillis) -> Notice {
        // What is ignored ends no engine: some of it comes with every process that is killed.
        if verdict != FaultVerdict::Ignore {
            self.incident = Some(Incident { reason: reason.clone(), at });
        }
        Notice::Event(GpuEvent { gpu: id.clone(), xid, verdict, reason, at })
    }

    fn readings(&self, now: Instant) -> impl Iterator<Item = GpuReading> {
        let unknown = self.is_unknown(now);
        self.sample.all().map(move |reading| GpuReading {
            fault: self.standing.fault().cloned(),
            incident: self.incident.clone(),
            ..if unknown { reading.unknown() } else { reading.clone() }
        })
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{FaultAction, MemorySize};

    use super::*;
    use crate::inventory::reading::{GpuProcess, Links, Vitals};

    const NOW: UnixMillis = UnixMillis::from_millis(1_000);

    fn reading(id: &str) -> GpuReading {
        GpuReading {
            id: GpuId(id.to_owned()),
            name: "NVIDIA H100".to_owned(),
            memory: MemorySize::from_gib(80),
            mig: None,
            partitioned: false,
            links: Links::default(),
            vitals: Vitals { processes: Some(vec![GpuProcess { pid: 7, name: None }]), ..Vitals::default() },
            fault: None,
            incident: None,
        }
    }

    fn sample(id: &str) -> Sample {
        Sample { gpu: reading(id), slices: Vec::new() }
    }

    fn roster(at: Instant) -> Roster {
        let mut roster = Roster::new(FaultPolicy::default());
        for (index, id) in ["b", "a"].into_iter().enumerate() {
            roster.sampled(u32::try_from(index).unwrap(), sample(id), at, NOW);
        }
        roster
    }

    fn ids(readings: &[GpuReading]) -> Vec<&str> {
        readings.iter().map(|reading| reading.id.0.as_str()).collect()
    }

    #[test]
    fn one_that_gives_no_sample_is_unknown_and_the_others_are_not() {
        let begin = Instant::now();
        let mut roster = roster(begin);
        let late = begin + STALE + Duration::from_secs(1);
        roster.sampled(1, sample("a"), late, NOW);
        let readings = roster.readings(late);
        assert_eq!(ids(&readings), ["b", "a"], "in the driver's order");
        assert_eq!(readings[0].vitals, Vitals::default());
        assert!(readings[1].vitals.processes.is_some());
        assert_eq!(roster.silences(late), vec![Notice::Silent(GpuId("b".to_owned()), true)]);
        assert_eq!(roster.silences(late), vec![], "told once");
        roster.sampled(0, sample("b"), late, NOW);
        assert_eq!(roster.silences(late), vec![Notice::Silent(GpuId("b".to_owned()), false)]);
    }

    #[test]
    fn a_lost_gpu_stays_in_the_list_when_the_others_move_up() {
        let begin = Instant::now();
        let mut roster = roster(begin);
        assert!(roster.troubled(0, &Trouble::Lost, NOW).is_some());
        assert!(roster.has_lost());
        roster.opened();
        roster.sampled(0, sample("a"), begin, NOW);
        assert_eq!(roster.troubled(1, &Trouble::Lost, NOW), None, "nobody knows what was to be there");
        let readings = roster.readings(begin);
        let lost = readings.iter().find(|reading| reading.id.0 == "b").unwrap();
        assert_eq!(lost.fault.as_ref().map(|fault| fault.action), Some(FaultAction::DrainNode));
        assert_eq!(lost.vitals.processes, None);
        assert!(readings.iter().any(|reading| reading.id.0 == "a" && reading.fault.is_none()));
        // It was reset.
        roster.sampled(1, sample("b"), begin, NOW);
        assert!(!roster.has_lost());
        assert!(roster.readings(begin).iter().all(|reading| reading.fault.is_none()));
    }

    #[test]
    fn a_fault_of_a_gpu_is_that_of_its_slices() {
        let begin = Instant::now();
        let mut roster = Roster::new(FaultPolicy::default());
        let slice = GpuReading { mig: Some("1g.10gb".to_owned()), ..reading("MIG-1") };
        let gpu = GpuReading { partitioned: true, ..reading("GPU-1") };
        roster.sampled(0, Sample { gpu, slices: vec![slice] }, begin, NOW);
        roster.alarm(&GpuId("GPU-1".to_owned()), Alarm::Xid(48), NOW);
        let readings = roster.readings(begin);
        assert_eq!(ids(&readings), ["GPU-1", "MIG-1"]);
        assert!(readings.iter().all(|reading| reading.fault.is_some() && reading.incident.is_some()));
        roster.clear(&GpuId("MIG-1".to_owned())).unwrap();
        assert!(roster.readings(begin).iter().all(|reading| reading.fault.is_none()));
        assert_eq!(roster.clear(&GpuId("GPU-1".to_owned())), Err(ClearError::Sound(GpuId("GPU-1".to_owned()))));
        assert!(matches!(roster.clear(&GpuId("GPU-2".to_owned())), Err(ClearError::NotHere(_))));
    }

    #[test]
    fn what_is_ignored_is_told_but_ends_no_engine() {
        let begin = Instant::now();
        let mut roster = roster(begin);
        let id = GpuId("a".to_owned());
        let told = roster.alarm(&id, Alarm::Xid(45), NOW);
        assert!(matches!(told, Some(Notice::Event(event)) if event.verdict == FaultVerdict::Ignore));
        assert!(roster.readings(begin).iter().all(|reading| reading.incident.is_none()));
        roster.alarm(&id, Alarm::Xid(94), NOW);
        let readings = roster.readings(begin);
        assert_eq!(readings[1].incident.as_ref().unwrap().reason, "Xid 94: contained ECC error");
        assert_eq!((&readings[1].fault, &readings[0].incident), (&None, &None));
    }
}
