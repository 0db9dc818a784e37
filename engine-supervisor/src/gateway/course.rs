//! Whether a service counts as ready, by what the checks of it say: pure.

use std::time::Duration;

use shoal_types::clip_reason;

use super::GatewayTimings;
use crate::EnginePhase;

/// The state of one gateway. It has no end: a service that is down is asked again for as long as it is wanted.
#[derive(Debug)]
pub(super) struct Course {
    phase: EnginePhase,
    /// Checks in a row that failed.
    misses: u32,
    timings: GatewayTimings,
}

impl Course {
    pub(super) const fn new(timings: GatewayTimings) -> Self {
        Self { phase: EnginePhase::Starting, misses: 0, timings }
    }

    pub(super) const fn phase(&self) -> &EnginePhase {
        &self.phase
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == EnginePhase::Ready
    }

    /// Takes in the result of a check, and returns how long to wait until the next.
    pub(super) fn checked(&mut self, result: Result<(), String>) -> Duration {
        let Err(reason) = result else {
            (self.phase, self.misses) = (EnginePhase::Ready, 0);
            return self.timings.interval;
        };
        self.misses = self.misses.saturating_add(1);
        if self.is_ready() {
            if self.misses < self.timings.misses {
                return self.timings.interval;
            }
            // What has been well until now is asked again as soon as it was before.
            self.misses = 1;
        }
        self.phase = EnginePhase::Backoff { reason: clip_reason(&reason) };
        let doubled = 2_u32.saturating_pow(self.misses - 1);
        self.timings.interval.saturating_mul(doubled).min(self.timings.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course() -> Course {
        let (interval, backoff_max) = (Duration::from_secs(5), Duration::from_secs(30));
        Course::new(GatewayTimings { interval, backoff_max, misses: 3, ..GatewayTimings::default() })
    }

    fn down() -> Result<(), String> {
        Err("down".to_owned())
    }

    fn reason(course: &Course) -> Option<&str> {
        match course.phase() {
            EnginePhase::Backoff { reason } => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_service_that_was_ready_is_so_until_three_checks_in_a_row_have_failed() {
        let mut course = course();
        course.checked(Ok(()));
        for _ in 0..5 {
            course.checked(down());
            course.checked(down());
            assert!(course.is_ready());
            course.checked(Ok(()));
        }
        let waits: Vec<u64> = (0..6).map(|_| course.checked(down()).as_secs()).collect();
        assert_eq!(waits, [5, 5, 5, 10, 20, 30]);
        assert_eq!(reason(&course), Some("down"));
        assert_eq!(course.checked(Ok(())).as_secs(), 5);
        assert!(course.is_ready());
    }

    #[test]
    fn one_that_never_was_says_at_once_why_and_is_asked_for_ever() {
        let mut course = course();
        assert_eq!(course.phase(), &EnginePhase::Starting);
        let waits: Vec<u64> = (0..5).map(|_| course.checked(down()).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 30, 30]);
        for _ in 0..100 {
            course.checked(Err("worse".to_owned()));
        }
        assert_eq!(reason(&course), Some("worse"), "the newest reason is the one to know");
        course.checked(Ok(()));
        assert!(course.is_ready());
    }
}
