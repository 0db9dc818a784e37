//! Histograms of times that take no lock: what passes on the hot path is counted by two additions.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// vLLM's own boundaries of the time to the first token, in seconds (`vllm/v1/metrics/loggers.py`), so that its histograms
/// and these can be laid over each other.
pub(super) const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
/// vLLM's between two tokens.
pub(super) const BETWEEN_TOKENS: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
/// vLLM's of whole requests.
pub(super) const WHOLE: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
/// 1 us to 10 ms: choosing among a few replicas to choosing among thousands on a busy host.
pub(super) const CHOICE: &[f64] = &[1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2];
/// 5 ms to 40 s, by doubling: from a cached prompt at the next engine to a long one behind a queue.
pub(super) const FIRST_BYTE: &[f64] =
    &[0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96];

/// Room for the longest of them and what is over its last boundary.
const BUCKETS: usize = 23;

/// How often times were within which boundaries.
#[derive(Debug)]
pub(crate) struct Latency {
    bounds: &'static [f64],
    counts: [AtomicU64; BUCKETS],
    /// Wraps after 584 years.
    nanoseconds: AtomicU64,
}

impl Latency {
    /// None yet. `bounds` ascend, in seconds.
    pub(super) const fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() < BUCKETS);
        Self { bounds, counts: [const { AtomicU64::new(0) }; BUCKETS], nanoseconds: AtomicU64::new(0) }
    }

    /// Counts `time`.
    pub(crate) fn observe(&self, time: Duration) {
        self.observe_each(time, 1);
    }

    /// Counts `times` parts of `time` of the same length.
    pub(crate) fn observe_each(&self, time: Duration, times: u32) {
        let Some(each) = time.checked_div(times) else { return };
        let seconds = each.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(times.into(), Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Whether there is nothing to show.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    pub(super) fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let latency = Latency::new(&[0.001, 0.01]);
        assert!(latency.is_empty());
        latency.observe(Duration::from_millis(1));
        latency.observe_each(Duration::from_millis(6), 3);
        latency.observe(Duration::from_secs(1));
        latency.observe_each(Duration::from_secs(1), 0);
        let counts: Vec<u64> = latency.counts.iter().map(|count| count.load(Ordering::Relaxed)).take(4).collect();
        assert_eq!(counts, [1, 3, 1, 0]);
        assert_eq!(latency.nanoseconds.load(Ordering::Relaxed), 1_007_000_000);
    }

    #[test]
    fn boundaries_ascend_and_have_room() {
        for bounds in [FIRST_TOKEN, BETWEEN_TOKENS, WHOLE, CHOICE, FIRST_BYTE] {
            assert!(bounds.is_sorted());
            Latency::new(bounds);
        }
    }
}
