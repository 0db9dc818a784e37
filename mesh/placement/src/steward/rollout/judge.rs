//! Whether a new revision does worse than the one before.

use std::time::Duration;

use shoal_types::{Outcome, Rollout, UnixMillis};

/// Fewest requests of a revision that say anything about it: one failure of fewer is more than 5 %.
pub(in crate::steward) const REQUESTS_MIN: u32 = 20;
/// How far back an ingress counts outcomes ([`Outcome`]).
const OUTCOMES: Duration = Duration::from_secs(5 * 60);
const QUANTILE: f64 = 0.95;
/// Times to first token that differ by less are those of a busy host, not of a revision.
const NOISE: Duration = Duration::from_millis(50);

/// From where on a revision is judged: what was before is not held against another attempt at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::steward) struct Trial {
    /// Crashes that were known when it began.
    crashes: u32,
    /// When all that the ingresses tell of its requests is of this attempt.
    pub(super) fresh: UnixMillis,
}

impl Trial {
    /// A trial that begins at `now` with what is `known` already.
    pub(super) fn new(known: &Known, now: UnixMillis) -> Self {
        let fresh = if known.outcome.requests > 0 { now.plus(OUTCOMES) } else { now };
        Self { crashes: known.crashes, fresh }
    }

    /// What no longer shows cannot be subtracted: `crashes` are left.
    pub(super) fn forget(&mut self, crashes: u32) {
        self.crashes = self.crashes.min(crashes);
    }
}

/// What is known of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) outcome: Outcome,
    pub(super) crashes: u32,
}

/// What speaks against the `new` revision, in words; `None` if nothing does.
pub(super) fn judge(
    new: &Known,
    old: &Outcome,
    limits: &Rollout,
    trial: Option<Trial>,
    now: UnixMillis,
) -> Option<String> {
    let crashes = new.crashes.saturating_sub(trial.map_or(0, |trial| trial.crashes));
    if crashes > limits.max_crashes {
        return Some(format!("its engines crashed {crashes} times, maxCrashes is {}", limits.max_crashes));
    }
    if trial.is_some_and(|trial| now < trial.fresh) {
        return None;
    }
    errors(&new.outcome, old, limits).or_else(|| slowness(&new.outcome, old, limits))
}

/// An old revision of which too little is known is taken to fail never: what fails now fails since the new one.
fn errors(new: &Outcome, old: &Outcome, limits: &Rollout) -> Option<String> {
    let rate = new.error_rate().filter(|_| new.requests >= REQUESTS_MIN)?;
    let before = old.error_rate().filter(|_| old.requests >= REQUESTS_MIN).unwrap_or(0.0);
    (rate > limits.max_error_rate.as_ratio() && rate > before).then(|| {
        format!(
            "{} of {} requests failed, {:.1}% (the old one's: {:.1}%), maxErrorRate is {}",
            new.failed,
            new.requests,
            rate * 100.0,
            before * 100.0,
            limits.max_error_rate,
        )
    })
}

fn slowness(new: &Outcome, old: &Outcome, limits: &Rollout) -> Option<String> {
    let p95 = |outcome: &Outcome| {
        let known = outcome.ttft.count() >= u64::from(REQUESTS_MIN);
        known.then(|| outcome.ttft.quantile(QUANTILE)).flatten()
    };
    let (new, old) = (p95(new)?.as_secs_f64(), p95(old)?.as_secs_f64());
    (new > old * limits.max_ttft_ratio.as_f64() && new - old > NOISE.as_secs_f64()).then(|| {
        let (new, old, ratio) = (new * 1_000.0, old * 1_000.0, new / old.max(1e-3));
        let limit = limits.max_ttft_ratio;
        format!("ttftP95 is {new:.0}ms, {ratio:.1} times the old one's {old:.0}ms, maxTtftRatio is {limit}")
    })
}
