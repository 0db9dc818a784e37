//! Times of many requests, in a few numbers that can be added.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bound of the first bucket; that of each further one is the square root of two times as far.
const FIRST: Duration = Duration::from_millis(5);
/// The last bucket holds all that is longer than 5 ms * 2^15, which is 164 s.
const BUCKETS: usize = 32;

/// How long requests took: a histogram whose buckets double with every second one, from 5 ms to 164 s. Histograms of several
/// nodes add up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, time: Duration) {
        let bucket = (0..BUCKETS - 1).find(|&bucket| time <= bound(bucket)).unwrap_or(BUCKETS - 1);
        self.add(bucket, 1);
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.0.iter().enumerate().take(BUCKETS) {
            self.add(bucket, *count);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&count| u64::from(count)).sum()
    }

    /// What the share `quantile` (0 to 1) of them stay below, as far as buckets tell: linear within one. `None` if there
    /// are none.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total = self.count();
        #[allow(clippy::cast_precision_loss)] // counts of requests
        let wanted = quantile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (bucket, &count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(count);
            if below + count >= wanted {
                let low = bucket.checked_sub(1).map_or(Duration::ZERO, bound);
                return Some(low + (bound(bucket) - low).mul_f64(((wanted - below) / count).clamp(0.0, 1.0)));
            }
            below += count;
        }
        None
    }

    /// The same with each count changed by `change`.
    #[must_use]
    pub fn map(&self, change: impl Fn(u32) -> u32) -> Self {
        Self(self.0.iter().map(|&count| change(count)).collect())
    }

    fn add(&mut self, bucket: usize, count: u32) {
        if count > 0 {
            if self.0.len() <= bucket {
                self.0.resize(bucket + 1, 0);
            }
            self.0[bucket] = self.0[bucket].saturating_add(count);
        }
    }
}

fn bound(bucket: usize) -> Duration {
    let bucket = bucket.min(BUCKETS - 1);
    let whole = FIRST * (1 << (bucket / 2));
    if bucket.is_multiple_of(2) { whole } else { whole.mul_f64(std::f64::consts::SQRT_2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        (0..95).for_each(|_| latencies.record(Duration::from_millis(30)));
        (0..5).for_each(|_| latencies.record(Duration::from_secs(3)));
        let p50 = latencies.quantile(0.5).unwrap();
        assert!((Duration::from_millis(20)..=Duration::from_millis(40)).contains(&p50), "{p50:?}");
        let p99 = latencies.quantile(0.99).unwrap();
        assert!((Duration::from_millis(2_560)..=Duration::from_millis(5_120)).contains(&p99), "{p99:?}");
    }

    #[test]
    fn histograms_add_up() {
        let (mut one, mut other) = (Latencies::default(), Latencies::default());
        one.record(Duration::from_millis(1));
        other.record(Duration::from_secs(1_000));
        one.merge(&other);
        assert_eq!(one.count(), 2);
        assert!(one.quantile(1.0).unwrap() > Duration::from_secs(160));
    }
}
