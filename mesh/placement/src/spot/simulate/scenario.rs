//! What a policy is asked to do.

use std::time::Duration;

use shoal_types::UnixMillis;

/// What a policy is asked to do, and how it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Replicas that should be ready; each is one instance.
    pub replicas: u32,
    /// From launch to ready, on spot capacity and on demand alike.
    pub cold_start: Duration,
    /// Time between two decisions.
    pub step: Duration,
    /// From when on it is counted: before, nothing can be ready yet, or the policy is only to learn.
    pub count_from: UnixMillis,
}
