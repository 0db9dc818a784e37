//! How long decisions wait.

use std::time::Duration;

/// How long decisions wait. One mesh should use one set of values: they are chosen against its slowest gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a claim stands before its engine is started, and a surplus replica before it drains. Must be longer
    /// than the slowest propagation (measured: 2.65 s), or two nodes can start the same replica.
    pub settle: Duration,
    /// How long a candidate waits for each one that is before it. A fraction of `settle`: too short costs claims that
    /// are withdrawn again, never engines.
    pub step: Duration,
    /// How long a node must have been there to count as a member whose loss means something.
    pub stable: Duration,
    /// Members that go quiet within this time have vanished at once.
    pub loss_window: Duration,
    /// How long a node that takes itself for cut off replaces only what nobody it can reach serves.
    pub guard: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(3),
            step: Duration::from_millis(1_500),
            stable: Duration::from_secs(60),
            loss_window: Duration::from_secs(30),
            guard: Duration::from_secs(5 * 60),
        }
    }
}
