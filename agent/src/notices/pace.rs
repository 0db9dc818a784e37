//! When a source is asked again, and what there is to say about its being there.

use std::time::Duration;

/// How long to wait after a source that has never answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    /// After the first failure; doubles with every further one.
    pub(super) first: Duration,
    /// The longest.
    pub(super) max: Duration,
}

impl Backoff {
    /// After `failures` in a row. Jitter takes up to half off, so that sources are not all asked at once.
    fn delay(self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(30)).min(self.max);
        doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// What is known of a source's being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It has not answered yet, and most hosts are on no cloud, or on another.
    Unproven { failures: u32 },
    /// It answers.
    Answering,
    /// It has answered before, but did not the last time.
    Silent,
}

/// What an answer, or its absence, changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// It answers for the first time.
    Found,
    /// It no longer answers.
    Lost,
    /// It answers again.
    Back,
}

/// How often one source is asked.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between the end of one question and the next.
    interval: Duration,
    backoff: Backoff,
    reach: Reach,
}

impl Pace {
    /// Of a cloud that this host may not be on: until it answers once, it is asked ever more rarely.
    pub(super) const fn of_cloud(interval: Duration, backoff: Backoff) -> Self {
        Self { interval, backoff, reach: Reach::Unproven { failures: 0 } }
    }

    /// Of something that the operator named: it is there, and if not, that is worth a line.
    pub(super) const fn of_configured(interval: Duration) -> Self {
        Self { interval, backoff: Backoff { first: interval, max: interval }, reach: Reach::Answering }
    }

    /// The source `answered`, or did not. Returns when to ask again; `jitter` is between 0 and 1.
    pub(super) fn heard(&mut self, answered: bool, jitter: f64) -> (Duration, Change) {
        let (reach, change) = match (self.reach, answered) {
            (Reach::Unproven { .. }, true) => (Reach::Answering, Change::Found),
            (Reach::Unproven { failures }, false) => {
                (Reach::Unproven { failures: failures.saturating_add(1) }, Change::Nothing)
            }
            (Reach::Answering, true) => (Reach::Answering, Change::Nothing),
            (Reach::Answering, false) => (Reach::Silent, Change::Lost),
            (Reach::Silent, true) => (Reach::Answering, Change::Back),
            (Reach::Silent, false) => (Reach::Silent, Change::Nothing),
        };
        self.reach = reach;
        let wait = match reach {
            Reach::Unproven { failures } => self.backoff.delay(failures, jitter),
            Reach::Answering | Reach::Silent => self.interval,
        };
        (wait, change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) };

    #[test]
    fn nobody_there_is_asked_ever_more_rarely() {
        let mut pace = Pace::of_cloud(Duration::from_secs(2), BACKOFF);
        let waits: Vec<u64> = (0..11).map(|_| pace.heard(false, 0.0).0.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pace.heard(false, 1.0), (Duration::from_secs(150), Change::Nothing));
        pace.reach = Reach::Unproven { failures: u32::MAX };
        assert_eq!(pace.heard(false, 0.0).0, BACKOFF.max);
    }

    #[test]
    fn who_answered_once_keeps_its_rate_and_changes_are_told_once() {
        let mut pace = Pace::of_cloud(Duration::from_secs(2), BACKOFF);
        pace.heard(false, 0.0);
        let heard = [true, true, false, false, true].map(|answered| pace.heard(answered, 0.5));
        assert!(heard.iter().all(|(wait, _)| *wait == Duration::from_secs(2)));
        use Change::*;
        assert_eq!(heard.map(|(_, change)| change), [Found, Nothing, Lost, Nothing, Back]);
    }

    #[test]
    fn what_the_operator_named_is_missed_at_once() {
        let mut pace = Pace::of_configured(Duration::from_secs(5));
        assert_eq!(pace.heard(false, 0.0), (Duration::from_secs(5), Change::Lost));
        assert_eq!(pace.heard(false, 0.0), (Duration::from_secs(5), Change::Nothing));
    }
}
