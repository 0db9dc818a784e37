//! Departures of this node that are over: how often its capacity was taken back tells of its zone.

use std::{path::Path, time::Duration};

use shoal_types::{Departure, DepartureReason, PastDeparture, UnixMillis};
use tracing::{error, warn};

use crate::state_file::StateFile;

/// How long a departure is told of; by then it weighs nothing.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most that are told of.
const PAST_MAX: usize = 16;

/// The node's own departures, the oldest first, on disk.
#[derive(Debug)]
pub(super) struct PastDepartures {
    file: StateFile<Vec<PastDeparture>>,
    known: Vec<PastDeparture>,
}

impl PastDepartures {
    pub(super) fn open(state_dir: &Path) -> Self {
        let file = StateFile::new(state_dir, "departures.json", "which remembers when this node left");
        let known = file.read().unwrap_or_else(|error| {
            error!(%error, "When this node left before is not known");
            Vec::new()
        });
        Self { file, known }
    }

    /// Notes that the node leaves. Said again for the same reason it is the same departure.
    pub(super) fn note(&mut self, departure: &Departure, now: UnixMillis) {
        let past = PastDeparture { at: departure.since, reason: departure.reason };
        if self.known.contains(&past) {
            return;
        }
        self.known.push(past);
        self.known = self.told(now);
        if let Err(error) = self.file.write(&self.known) {
            warn!(%error, "This departure will not be remembered here");
        }
    }

    /// Those to tell others of.
    pub(super) fn told(&self, now: UnixMillis) -> Vec<PastDeparture> {
        let mut told: Vec<_> = self.known.iter().filter(|past| now.since(past.at) < KEPT).copied().collect();
        while told.len() > PAST_MAX {
            // What somebody chose to do says nothing about the zone, so it goes first.
            told.remove(told.iter().position(is_chosen).unwrap_or(0));
        }
        told
    }
}

/// Whether an operator made the node leave.
const fn is_chosen(past: &PastDeparture) -> bool {
    match past.reason {
        DepartureReason::Drain | DepartureReason::Shutdown => true,
        DepartureReason::Terminate | DepartureReason::Reclaim | DepartureReason::GpuFault => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(hours: u64) -> UnixMillis {
        UnixMillis::from_millis(hours * 3_600_000)
    }

    fn departure(reason: DepartureReason, hours: u64) -> Departure {
        Departure { reason, detail: None, since: at(hours), deadline: None }
    }

    #[test]
    fn departures_are_remembered_over_restarts_and_forgotten_after_a_week() {
        let dir = tempfile::tempdir().unwrap();
        let mut past = PastDepartures::open(dir.path());
        past.note(&departure(DepartureReason::Reclaim, 1), at(1));
        past.note(&departure(DepartureReason::Reclaim, 1), at(1));
        past.note(&departure(DepartureReason::Terminate, 2), at(2));
        let past = PastDepartures::open(dir.path());
        let reasons = |now| past.told(now).iter().map(|past| past.reason).collect::<Vec<_>>();
        assert_eq!(reasons(at(3)), [DepartureReason::Reclaim, DepartureReason::Terminate]);
        assert_eq!(reasons(at(169)), [DepartureReason::Terminate]);
    }

    #[test]
    fn only_the_last_ones_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut past = PastDepartures::open(dir.path());
        (0..30).for_each(|hour| past.note(&departure(DepartureReason::Reclaim, hour), at(hour)));
        let told = past.told(at(30));
        assert_eq!((told.len(), told[0].at), (PAST_MAX, at(14)));
    }

    #[test]
    fn many_restarts_do_not_make_a_preemption_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut past = PastDepartures::open(dir.path());
        past.note(&departure(DepartureReason::Reclaim, 0), at(0));
        (1..30).for_each(|hour| past.note(&departure(DepartureReason::Shutdown, hour), at(hour)));
        let told = past.told(at(30));
        assert_eq!((told.len(), told[0].reason), (PAST_MAX, DepartureReason::Reclaim));
        assert_eq!(told[1].at, at(15), "of the others the newest");
    }
}
