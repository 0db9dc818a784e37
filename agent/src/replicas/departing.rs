//! Why this node leaves, of all the reasons that it may have at once: pure.

use std::time::Duration;

use shoal_types::{Departure, DepartureReason, GpuFault, GpuId, UnixMillis, clip_reason};

use crate::notices::{Notice, Source};

/// How long before its end a host's last streams are given up, so that their clients hear of it.
const FAREWELL: Duration = Duration::from_secs(5);

/// Of that, how long a stream may still run.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long a stopping daemon lets its streams end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// All that speaks for leaving.
#[derive(Debug, Default)]
pub(super) struct Departing {
    /// An operator said so.
    drained: bool,
    /// The daemon or its host ends.
    ending: Option<Departure>,
    /// Somebody said that the host will be taken away.
    reclaimed: Option<Departure>,
    /// A GPU is so ill that the node is given up.
    fault: Option<Departure>,
    /// What was published last; keeps its `since`.
    published: Option<Departure>,
}

/// A departure that ends with the host, at `end`.
pub(crate) fn taken_away(notice: &Notice, now: UnixMillis) -> Departure {
    let reason = match notice.source {
        Source::Signal => DepartureReason::Terminate,
        Source::Aws | Source::Gcp | Source::Azure | Source::File | Source::Command => DepartureReason::Reclaim,
    };
    reclaimed(reason, &notice.to_string(), notice.deadline, now)
}

fn reclaimed(reason: DepartureReason, detail: &str, end: Option<UnixMillis>, now: UnixMillis) -> Departure {
    let deadline = end.map(|end| UnixMillis::from_millis(end.as_millis().saturating_sub(millis(FAREWELL))).max(now));
    Departure { reason, detail: Some(clip_reason(detail)), since: now, deadline }
}

/// How long streams may still run under `departure`, which has a deadline or sets none.
pub(crate) fn streams_end_in(departure: &Departure, now: UnixMillis) -> Option<Duration> {
    let left = departure.deadline?.since(now);
    Some(match departure.reason {
        DepartureReason::Shutdown => left + SHUTDOWN_GRACE,
        DepartureReason::Drain | DepartureReason::Terminate | DepartureReason::Reclaim | DepartureReason::GpuFault => {
            left + LAST_WORDS
        }
    })
}

/// The departure of a daemon that was told to stop.
pub(crate) const fn shutdown(now: UnixMillis) -> Departure {
    Departure { reason: DepartureReason::Shutdown, detail: None, since: now, deadline: Some(now) }
}

impl Departing {
    pub(super) const fn drain(&mut self, drained: bool) {
        self.drained = drained;
    }

    pub(super) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn end(&mut self, departure: Departure) {
        self.ending = Some(departure);
    }

    pub(super) fn reclaim(&mut self, departure: Option<Departure>) {
        self.reclaimed = departure;
    }

    pub(super) fn fault(&mut self, fault: Option<(&GpuId, &GpuFault)>) {
        self.fault = fault.map(|(gpu, fault)| Departure {
            reason: DepartureReason::GpuFault,
            detail: Some(clip_reason(&format!("{gpu}: {}", fault.reason))),
            since: fault.since,
            deadline: None,
        });
    }

    /// What is to be published, if that is not what was: the reason that leaves the least time.
    pub(super) fn news(&mut self, now: UnixMillis) -> Option<Option<Departure>> {
        let drain = Departure { reason: DepartureReason::Drain, detail: None, since: now, deadline: None };
        let reasons = [&self.ending, &self.reclaimed, &self.fault];
        let reasons = reasons.into_iter().flatten().cloned().chain(self.drained.then_some(drain));
        let mut next = reasons.min_by_key(|departure| departure.deadline.unwrap_or(UnixMillis::from_millis(u64::MAX)));
        if let (Some(next), Some(last)) = (&mut next, &self.published)
            && next.reason == last.reason
        {
            next.since = last.since;
        }
        if next == self.published {
            return None;
        }
        self.published.clone_from(&next);
        Some(next)
    }

    /// How long this node's streams may still run; `None` if nothing ends them.
    pub(super) fn time_left(&self, now: UnixMillis) -> Option<Duration> {
        streams_end_in(self.published.as_ref()?, now)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use shoal_types::FaultAction;

    use super::*;

    const fn at(seconds: u64) -> UnixMillis {
        UnixMillis::from_millis(seconds * 1_000)
    }

    fn reason(departing: &mut Departing, now: UnixMillis) -> Option<Option<DepartureReason>> {
        departing.news(now).map(|departure| departure.map(|departure| departure.reason))
    }

    #[test]
    fn the_reason_that_leaves_the_least_time_is_said() {
        let mut departing = Departing::default();
        assert_eq!(reason(&mut departing, at(0)), None);
        departing.drain(true);
        assert_eq!(reason(&mut departing, at(1)), Some(Some(DepartureReason::Drain)));
        assert_eq!(reason(&mut departing, at(2)), None, "said already");
        departing.reclaim(Some(reclaimed(DepartureReason::Reclaim, "aws: terminate", Some(at(120)), at(3))));
        assert_eq!(reason(&mut departing, at(3)), Some(Some(DepartureReason::Reclaim)));
        assert_eq!(departing.time_left(at(15)), Some(Duration::from_secs(103)));
        departing.end(shutdown(at(4)));
        assert_eq!(reason(&mut departing, at(4)), Some(Some(DepartureReason::Shutdown)));
        assert_eq!(departing.time_left(at(4)), Some(SHUTDOWN_GRACE));
    }

    #[test]
    fn what_is_taken_back_leaves_the_rest() {
        let mut departing = Departing::default();
        let fault = GpuFault { action: FaultAction::DrainNode, reason: "Xid 79".to_owned(), since: at(1) };
        departing.drain(true);
        departing.fault(Some((&GpuId("GPU-0".to_owned()), &fault)));
        let said = departing.news(at(2)).flatten().unwrap();
        assert_eq!((said.reason, said.detail.as_deref()), (DepartureReason::GpuFault, Some("GPU-0: Xid 79")));
        departing.fault(None);
        assert_eq!(reason(&mut departing, at(3)), Some(Some(DepartureReason::Drain)));
        departing.drain(false);
        assert_eq!(departing.news(at(4)), Some(None));
    }

    #[test]
    fn a_departure_that_changes_its_words_began_when_it_began() {
        let mut departing = Departing::default();
        departing.reclaim(Some(reclaimed(DepartureReason::Reclaim, "terminate", None, at(1))));
        departing.news(at(1));
        departing.reclaim(Some(reclaimed(DepartureReason::Reclaim, "terminate soon", Some(at(90)), at(2))));
        assert_eq!(departing.news(at(2)).flatten().map(|departure| departure.since), Some(at(1)));
    }

    #[test]
    fn an_end_that_is_too_near_is_now() {
        assert_eq!(reclaimed(DepartureReason::Reclaim, "x", Some(at(3)), at(2)).deadline, Some(at(2)));
    }
}
