//! The numbers of the policy.

use std::time::Duration;

/// The numbers of a [`Portfolio`](super::Portfolio). The defaults were chosen on the first week of a trace of 13 zones,
/// and reported on the second: `docs/spot.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// From launch to ready: how far ahead a loss cannot be mended any more.
    pub cold_start: Duration,
    /// After this time an incident counts half.
    pub half_life: Duration,
    /// Losses per hour of a zone of which nothing is known.
    pub prior_rate: f64,
    /// Hours of observation that this is worth.
    pub prior_hours: f64,
    /// Hours of observation that the estimate for the k-th instance of a zone is worth for the one after it.
    pub depth_hours: f64,
    /// What a refused launch says of a zone, in losses.
    pub refusal: f64,
    /// What a loss costs besides the shortage that it may bring: hours of the instance's price.
    pub loss_hours: f64,
    /// What being short is worth, in prices of a replica on demand.
    pub shortage: f64,
    /// Highest probability of falling short within a cold start; as long as it is lower, less is overprovisioned.
    pub epsilon: f64,
    /// Launches beyond those missing while fewer than wanted are ready: some will be refused.
    pub race: u32,
    /// How long a zone that refused is left alone; doubles with each refusal in a row.
    pub backoff: Duration,
    /// How long at most.
    pub backoff_max: Duration,
    /// A move must pay for itself within this time.
    pub payback: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            cold_start: Duration::from_secs(6 * 60),
            half_life: Duration::from_secs(96 * 3600),
            prior_rate: 0.125,
            prior_hours: 4.0,
            depth_hours: 1.0,
            refusal: 0.7,
            loss_hours: 1.0,
            shortage: 15.0,
            epsilon: 0.0012,
            race: 4,
            backoff: Duration::from_secs(3 * 60),
            backoff_max: Duration::from_secs(60 * 60),
            payback: Duration::from_secs(4 * 3600),
        }
    }
}
