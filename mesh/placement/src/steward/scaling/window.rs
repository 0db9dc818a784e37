//! What was needed in the last minutes.

use std::{collections::VecDeque, time::Duration};

use shoal_types::UnixMillis;

/// Most samples of one window: a longer one is sampled more rarely.
const SAMPLES_MAX: u32 = 600;
/// Least time between two samples.
const PERIOD: Duration = Duration::from_secs(1);

/// What was needed, by the time for which it was: each sample stands until the next one.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    samples: VecDeque<(UnixMillis, u32)>,
}

impl Window {
    /// Time between two samples of a window of `span`.
    pub(super) fn period(span: Duration) -> Duration {
        PERIOD.max(span / SAMPLES_MAX)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }

    /// Takes note that `needed` are needed at `now`, at most once a period, and forgets what is older than `span`.
    pub(super) fn push(&mut self, now: UnixMillis, needed: u32, span: Duration) {
        if self.samples.back().is_some_and(|&(last, _)| now < last) {
            self.clear(); // the clock was set back
        }
        if self.samples.back().is_none_or(|(last, _)| now.since(*last) >= Self::period(span)) {
            self.samples.push_back((now, needed));
        }
        while self.samples.get(1).is_some_and(|(next, _)| now.since(*next) >= span) {
            self.samples.pop_front();
        }
    }

    /// The least number that was enough for more than `enough` of the last `span`. `None` while a whole `span` has not
    /// been watched.
    pub(super) fn level(&self, now: UnixMillis, span: Duration, enough: Duration) -> Option<u32> {
        self.samples.front().filter(|(first, _)| now.since(*first) >= span)?;
        let ends = self.samples.iter().skip(1).map(|(at, _)| *at).chain([now]);
        let held = |(&(at, needed), end): (&(UnixMillis, u32), UnixMillis)| {
            (needed, now.since(at).min(span).saturating_sub(now.since(end)))
        };
        let mut held: Vec<(u32, Duration)> = self.samples.iter().zip(ends).map(held).collect();
        held.sort_unstable();
        let mut sum = Duration::ZERO;
        held.into_iter().find_map(|(needed, time)| {
            sum += time;
            (sum > enough).then_some(needed)
        })
    }

    /// Whether there was a need that `is`.
    pub(super) fn any(&self, is: impl Fn(u32) -> bool) -> bool {
        self.samples.iter().any(|(_, needed)| is(*needed))
    }
}
