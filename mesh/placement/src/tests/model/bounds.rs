//! How far the checker looks.

use std::time::Duration;

use crate::{Timing, tests::fleet::at};

/// How far the checker looks; all times in ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// GPUs of each node; a replica takes one.
    pub(super) gpus: usize,
    /// Replicas that are wanted.
    pub(super) desired: u32,
    /// How long a claim stands before its engine starts. The slowest news must arrive within it.
    pub(super) settle: u8,
    /// The slowest news; the fastest takes one tick.
    pub(super) slowest: u8,
    /// The longest until an engine serves; the shortest is one tick.
    pub(super) load: u8,
    /// How long a node must be silent to be noticed.
    pub(super) detect: u8,
    /// The endpoint's `replaceAfter`.
    pub(super) replace_after: u8,
    /// Whether a replica that others seem to cover for asks them before it drains.
    pub(super) asks: bool,
    /// When one node can be cut off.
    pub(super) cuts: &'static [u8],
    /// How long it can stay so.
    pub(super) lengths: &'static [u8],
    /// When a node can crash.
    pub(super) crashes: &'static [u8],
    /// How long after the last disturbance everything is as it is wanted.
    pub(super) calm: u8,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            gpus: 2,
            desired: 2,
            settle: 2,
            slowest: 2,
            load: 2,
            detect: 3,
            replace_after: 2,
            asks: true,
            cuts: &[4, 12],
            lengths: &[2, 12],
            crashes: &[5, 7, 14, 18, 26, 27, 28],
            calm: 20,
        }
    }
}

impl Bounds {
    pub(super) fn timing(&self) -> Timing {
        let settle = Duration::from_secs(self.settle.into());
        Timing { settle, step: Duration::from_secs(1), ..Timing::default() }
    }

    /// How long a side of a partition can take until it serves: noticing, taking turns, claiming, settling, loading.
    pub(super) const fn replaced(&self) -> u8 {
        self.detect + 1 + self.slowest + self.settle + self.load + 1
    }
}

/// When `tick` is.
pub(super) fn time(tick: u8) -> shoal_types::UnixMillis {
    at(tick.into())
}
