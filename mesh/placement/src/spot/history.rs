//! What is remembered of a zone: how long instances were held there, how many were lost, and whether it refuses.

use std::time::Duration;

use shoal_types::UnixMillis;

use super::tuning::Tuning;

/// Doublings of the backoff after which it grows no more.
const DOUBLINGS_MAX: u32 = 16;

/// The decaying history of one zone. It is kept by depth: a zone that always has one instance may never have eight, so
/// the first one held there is safer than the eighth.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    depths: Vec<Depth>,
    /// Launches refused in a row.
    refusals: u32,
    retry_at: UnixMillis,
}

/// What is remembered of the k-th instance of a zone.
#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    /// Hours during which so many were held.
    hours: f64,
    /// How often they became fewer than that.
    losses: f64,
}

impl History {
    /// Time passes with `held` instances. What was remembered fades by the `half_life`.
    pub(super) fn pass(&mut self, time: Duration, held: usize, half_life: Duration) {
        let fade = 0.5_f64.powf(time.as_secs_f64() / half_life.as_secs_f64().max(1.0));
        self.reach(held);
        for (index, depth) in self.depths.iter_mut().enumerate() {
            depth.losses *= fade;
            depth.hours *= fade;
            if index < held {
                depth.hours += time.as_secs_f64() / 3600.0;
            }
        }
    }

    /// `lost` instances were taken away, and `left` remain.
    pub(super) fn preempted(&mut self, lost: usize, left: usize) {
        self.reach(left + lost);
        for depth in &mut self.depths[left..left + lost] {
            depth.losses += 1.0;
        }
    }

    /// A launch found nothing beside `held` instances.
    pub(super) fn refused(&mut self, held: usize, now: UnixMillis, tuning: &Tuning) {
        self.reach(held + 1);
        // A zone that is empty is asked again and again: it says the same thing, so it counts once.
        if self.refusals == 0 {
            self.depths[held].losses += tuning.refusal;
        }
        let wait = tuning.backoff.saturating_mul(1 << self.refusals.min(DOUBLINGS_MAX));
        self.retry_at = now.plus(wait.min(tuning.backoff_max));
        self.refusals = self.refusals.saturating_add(1);
    }

    /// A launch succeeded.
    pub(super) const fn launched(&mut self) {
        self.refusals = 0;
    }

    /// Whether a launch may be tried.
    pub(super) fn may_try(&self, now: UnixMillis) -> bool {
        now >= self.retry_at
    }

    /// Losses per hour to expect of each of the first `count` instances held here; never falls with depth.
    pub(super) fn rates(&self, count: usize, tuning: &Tuning) -> Vec<f64> {
        let mut rates = Vec::with_capacity(count);
        let (mut rate, mut worth) = (tuning.prior_rate, tuning.prior_hours);
        for index in 0..count {
            let depth = self.depths.get(index).copied().unwrap_or_default();
            let seen = (rate * worth + depth.losses) / (worth + depth.hours);
            rate = if index == 0 { seen } else { seen.max(rate) };
            worth = tuning.depth_hours;
            rates.push(rate);
        }
        rates
    }

    fn reach(&mut self, depth: usize) {
        if self.depths.len() < depth {
            self.depths.resize(depth, Depth::default());
        }
    }
}
