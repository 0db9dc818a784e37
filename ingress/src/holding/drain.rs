//! How fast those that wait go on, for what a client that is turned away is told.

use std::time::Duration;

use tokio::time::Instant;

/// What is longer ago than a few of these hardly counts.
const WINDOW: Duration = Duration::from_secs(10);
/// Longest and shortest time that a client is told to stay away, in seconds, and what it is told where nobody has gone on
/// yet.
const SECONDS: (f64, f64) = (1.0, 60.0);
const UNKNOWN: u16 = 5;

/// Requests that went on, those longer ago counting less.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    count: f64,
    at: Option<Instant>,
}

impl Drain {
    /// One went on at `now`.
    pub(crate) fn note(&mut self, now: Instant) {
        self.count = self.count_at(now) + 1.0;
        self.at = Some(now);
    }

    /// Seconds until `waiting` have gone on, at the pace of the last seconds.
    pub(crate) fn seconds_for(&self, waiting: usize, now: Instant) -> u16 {
        let per_second = self.count_at(now) / WINDOW.as_secs_f64();
        // Less than one in a window says nothing about a pace.
        if per_second * WINDOW.as_secs_f64() < 1.0 {
            return UNKNOWN;
        }
        #[allow(clippy::cast_precision_loss)] // a queue's length
        let seconds = (waiting as f64 / per_second).ceil().clamp(SECONDS.0, SECONDS.1);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the bounds
        let seconds = seconds as u16;
        seconds
    }

    fn count_at(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let age = now.saturating_duration_since(at).as_secs_f64();
        self.count * (-age / WINDOW.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_that_of_the_last_seconds() {
        let (mut drain, start) = (Drain::default(), Instant::now());
        assert_eq!(drain.seconds_for(100, start), UNKNOWN);
        // Ten a second for a minute.
        for tenth in 0..600 {
            drain.note(start + Duration::from_millis(100) * tenth);
        }
        let now = start + Duration::from_secs(60);
        let told = [0, 10, 100, 100_000].map(|waiting| drain.seconds_for(waiting, now));
        assert!(told[0] == 1 && told[1] <= 2 && (9..=11).contains(&told[2]) && told[3] == 60, "{told:?}");
        assert!(drain.seconds_for(100, now + Duration::from_secs(10)) > 20, "it has become slow");
        assert_eq!(drain.seconds_for(100, now + Duration::from_secs(600)), UNKNOWN);
    }
}
