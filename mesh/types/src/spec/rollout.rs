//! How a new revision takes the place of the one before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Decimal, HumanDuration, Percent};

/// How a new revision takes the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// All at once, or by steps.
    pub strategy: Strategy,
    /// With `canary`: the share of replicas and of requests that the new revision has at each step; 100% comes last in any case.
    pub steps: Vec<Percent>,
    /// With `canary`: how long a step must go well before the next one.
    pub pause: HumanDuration,
    /// Share of the new revision's requests that may fail, where the old one's fail less.
    pub max_error_rate: Percent,
    /// Time to first token of the new revision, by that of the old one.
    pub max_ttft_ratio: Decimal,
    /// Crashes of the new revision's engines, all replicas together.
    pub max_crashes: u32,
    /// What happens when one of these limits is passed.
    pub on_failure: OnFailure,
    /// Replicas beyond those wanted while both revisions run, in percent of those wanted, rounded up.
    pub max_surge: Percent,
    /// Replicas by which the endpoint may fall short where there is no room for both revisions.
    pub max_unavailable: u32,
    /// Stands still, whatever the revision.
    pub paused: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            steps: vec![Percent::from_whole(10), Percent::from_whole(50), Percent::from_whole(100)],
            pause: HumanDuration::from_secs(5 * 60),
            max_error_rate: Percent::from_whole(1),
            max_ttft_ratio: Decimal::from_millionths(1_500_000),
            max_crashes: 2,
            on_failure: OnFailure::Rollback,
            max_surge: Percent::from_whole(25),
            max_unavailable: 0,
            paused: false,
        }
    }
}

impl Rollout {
    /// Replicas beyond `desired` that may run during a rollout; at least one.
    pub fn surge(&self, desired: u32) -> u32 {
        self.max_surge.of(desired).max(1)
    }
}

/// How a rollout proceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Replica by replica, without waiting in between.
    Rolling,
    /// By steps, each of which must go well for a while.
    Canary,
}

/// What happens to a rollout that goes badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The old revision gets everything back.
    Rollback,
    /// It stands still until somebody decides.
    Pause,
}
