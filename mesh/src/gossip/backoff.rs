//! When a chitchat that has ended is started again.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(30);
/// One that ran this long was well; what ended it is taken for a new fault.
const RAN_WELL: Duration = Duration::from_secs(60);

/// Doubles with every failure.
#[derive(Debug)]
pub(super) struct Backoff {
    at: Instant,
    next: Duration,
}

impl Backoff {
    pub(super) const fn new(now: Instant) -> Self {
        Self { at: now, next: FIRST }
    }

    /// It ended at `now`, after it had run for `ran`. Returns how long to wait.
    pub(super) fn failed(&mut self, ran: Duration, now: Instant) -> Duration {
        let delay = if ran >= RAN_WELL { FIRST } else { self.next };
        self.at = now + delay;
        self.next = (delay * 2).min(MAX);
        delay
    }

    /// Whether it has waited long enough.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failures_in_a_row_wait_longer_and_a_good_run_forgives() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        assert!(backoff.is_due(now));
        assert_eq!(backoff.failed(Duration::ZERO, now), FIRST);
        assert!(!backoff.is_due(now));
        assert_eq!(backoff.failed(Duration::ZERO, now), FIRST * 2);
        assert!((0..20).map(|_| backoff.failed(Duration::ZERO, now)).all(|delay| delay <= MAX));
        assert_eq!(backoff.failed(RAN_WELL, now), FIRST);
        assert!(backoff.is_due(now + FIRST));
    }
}
