//! Random numbers that are the same for the same seed.

use std::time::Duration;

/// Marsaglia's xorshift64*.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 up to, but not including, `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    /// One of `all`.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// True so often, from 0 to 1. Costs no number where there is no choice.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }

    /// Evenly between `low` and `high` seconds.
    pub(super) fn seconds(&mut self, low: f64, high: f64) -> Duration {
        Duration::from_secs_f64(low + self.unit() * (high - low))
    }

    /// How long a fact travels: 0.15 s and an exponential tail, cut at 2.4 s, as measured.
    pub(super) fn gossip_delay(&mut self) -> Duration {
        let tail = -0.65 * (1.0 - self.unit()).ln();
        Duration::from_secs_f64((0.15 + tail).min(2.4))
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
