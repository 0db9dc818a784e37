//! What is remembered of a zone: how long instances were held there, how many were lost, and whether it refuses.

use std::{collections::BTreeMap, time::Duration};

use shoal_types::UnixMillis;

use super::tuning::Tuning;
use crate::risk::Hour;

/// Depths beyond which instances of one zone are not told apart where the history is of a mesh's nodes.
const NODES_MAX: usize = 256;

const HOUR: u64 = 3_600_000;

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
    /// What is to be remembered of a zone that went through `past`, by hours since the epoch. An hour counts whole for all
    /// that were there in it.
    pub(super) fn of(past: &BTreeMap<u64, Hour>, now: UnixMillis, half_life: Duration) -> Self {
        let mut history = Self::default();
        let mut until = past.keys().next().map_or(now, |&first| UnixMillis::from_millis(first * HOUR));
        for (&hour, &Hour { nodes, lost }) in past {
            let (begin, end) =
                (UnixMillis::from_millis(hour * HOUR), UnixMillis::from_millis((hour + 1) * HOUR).min(now));
            let nodes = nodes.max(lost).min(NODES_MAX);
            history.pass(begin.since(until), 0, half_life);
            history.pass(end.since(begin), nodes, half_life);
            let lost = lost.min(nodes);
            history.preempted(lost, nodes - lost);
            until = end.max(begin);
        }
        history.pass(now.since(until), 0, half_life);
        history
    }

    /// Refusals in a row after which the backoff grows no more.
    pub(super) const REFUSALS_MAX: u32 = DOUBLINGS_MAX;

    /// Nothing is to be launched there, whatever happens.
    pub(super) const fn close(&mut self) {
        self.retry_at = UnixMillis::from_millis(u64::MAX);
    }

    /// Whether nothing is ever to be launched there.
    pub(super) fn is_closed(&self) -> bool {
        self.retry_at == UnixMillis::from_millis(u64::MAX)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_by_the_hour_is_what_was_lived_through() {
        let tuning = Tuning::default();
        let at = |minutes: u64| UnixMillis::from_millis(minutes * 60_000);
        // Two hours with three, of which one was taken at the end of the second, a gap, and half an hour with one.
        let hours = [(0, (3, 0)), (1, (3, 1)), (4, (1, 0))];
        let past = hours.map(|(hour, (nodes, lost))| (hour, Hour { nodes, lost })).into();
        let told = History::of(&past, at(270), tuning.half_life);
        let mut lived = History::default();
        for _ in 0..120 {
            lived.pass(Duration::from_secs(60), 3, tuning.half_life);
        }
        lived.preempted(1, 2);
        lived.pass(Duration::from_secs(120 * 60), 0, tuning.half_life);
        lived.pass(Duration::from_secs(30 * 60), 1, tuning.half_life);
        for (told, lived) in told.rates(4, &tuning).into_iter().zip(lived.rates(4, &tuning)) {
            assert!((told / lived - 1.0).abs() < 0.01, "{told} {lived}");
        }
        let rates = told.rates(3, &tuning);
        assert!(rates[2] > 2.0 * rates[1], "the third was lost: {rates:?}");
    }
}
