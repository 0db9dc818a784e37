//! How far the checker looks.

use std::time::Duration;

use shoal_types::UnixMillis;

use crate::tests::fleet::at;

/// Seconds in a tick: as long as the slowest news takes to the next node, about.
const TICK: u64 = 2;

/// How far the checker looks; all times in ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The slowest news; the fastest takes one tick.
    pub(super) slowest: u8,
    /// How long a node must be silent to be noticed.
    pub(super) detect: u8,
    /// How long more must be needed.
    pub(super) up_delay: u8,
    /// How long fewer must be enough.
    pub(super) down_delay: u8,
    /// When what is asked can rise or fall.
    pub(super) turns: &'static [u8],
    /// When one node can be cut off.
    pub(super) cuts: &'static [u8],
    /// How long it can stay so.
    pub(super) lengths: &'static [u8],
    /// When a node can crash, or all of them.
    pub(super) crashes: &'static [u8],
    /// After how long it can be back.
    pub(super) absences: &'static [u8],
    /// How long after the last disturbance all go by one word.
    pub(super) calm: u8,
    /// Whether what a node has heard outlives it.
    pub(super) remembers: bool,
    /// Whether nodes repeat what the steward has forgotten.
    pub(super) reminds: bool,
}

/// Up to this tick nothing disturbs, and all come to agree. The ticks of disturbances are counted from there.
pub(super) const AGREED: u8 = 6;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            slowest: 2,
            detect: 3,
            up_delay: 1,
            down_delay: 5,
            turns: &[AGREED + 1, AGREED + 5],
            cuts: &[AGREED + 2],
            lengths: &[2, 13],
            crashes: &[AGREED + 3, AGREED + 7, AGREED + 17],
            absences: &[1, 6],
            calm: 16,
            remembers: true,
            reminds: true,
        }
    }
}

pub(super) fn ticks(count: u8) -> Duration {
    Duration::from_secs(u64::from(count) * TICK)
}

/// When `tick` is.
pub(super) fn time(tick: u8) -> UnixMillis {
    at(0).plus(ticks(tick))
}
