//! Whether the threads that drive connections have time to: a node that does not listen hears nobody, and must not take its
//! peers for lost.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often it is seen whether they have.
const BEAT: Duration = Duration::from_millis(100);

/// When they last had time.
#[derive(Debug)]
pub(super) struct Attention(Mutex<Instant>);

impl Attention {
    /// They have time `now`.
    pub(super) const fn new(now: Instant) -> Self {
        Self(Mutex::new(now))
    }

    /// Sees to it for ever; to be run where connections are driven.
    pub(super) async fn pay(&self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// How long they have had no time at `now`.
    pub(super) fn lapse(&self, now: Instant) -> Duration {
        let paid = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(paid + BEAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_lapses_while_nobody_pays_it() {
        let attention = Attention::new(Instant::now());
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(attention.lapse(Instant::now()), second - BEAT);
        let _ = tokio::time::timeout(second, attention.pay()).await;
        assert_eq!(attention.lapse(Instant::now()), Duration::ZERO);
    }
}
