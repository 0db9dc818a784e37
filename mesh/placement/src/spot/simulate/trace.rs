//! How much capacity there was.

use std::time::Duration;

use shoal_types::UnixMillis;

/// How many instances each zone could hold, round by round. What is between two rounds is not known: a round's capacity
/// holds until the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    zones: Vec<String>,
    start: UnixMillis,
    round: Duration,
    /// By round, then zone.
    capacity: Vec<Vec<u32>>,
}

/// Why numbers are no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// There is nothing in it.
    #[error("a trace needs at least one zone and one round")]
    Empty,
    /// The rounds have no length.
    #[error("a round of a trace must last at least a second")]
    Round,
    /// One round does not tell of all zones.
    #[error("round {round} of the trace tells of {told} zones, the trace has {zones}")]
    Ragged {
        /// Which, from 0.
        round: usize,
        /// Zones of which it tells.
        told: usize,
        /// Zones of the trace.
        zones: usize,
    },
}

impl Trace {
    /// A trace of `zones` from `start`, with the `capacity` by round, then zone.
    pub fn new(
        zones: Vec<String>,
        start: UnixMillis,
        round: Duration,
        capacity: Vec<Vec<u32>>,
    ) -> Result<Self, TraceError> {
        if zones.is_empty() || capacity.is_empty() {
            return Err(TraceError::Empty);
        }
        if round < Duration::from_secs(1) {
            return Err(TraceError::Round);
        }
        let ragged = capacity.iter().enumerate().find(|(_, row)| row.len() != zones.len());
        if let Some((round, row)) = ragged {
            return Err(TraceError::Ragged { round, told: row.len(), zones: zones.len() });
        }
        Ok(Self { zones, start, round, capacity })
    }

    /// Names of the zones, in the order of their indices.
    pub fn zones(&self) -> &[String] {
        &self.zones
    }

    /// When it begins.
    pub const fn start(&self) -> UnixMillis {
        self.start
    }

    /// When its last round ends.
    pub fn end(&self) -> UnixMillis {
        self.start.plus(self.duration())
    }

    /// How long it is.
    pub fn duration(&self) -> Duration {
        self.round.saturating_mul(u32::try_from(self.capacity.len()).unwrap_or(u32::MAX))
    }

    /// Time between two rounds.
    pub const fn round(&self) -> Duration {
        self.round
    }

    /// Instances that each zone could hold `after` the beginning; after the end, what the last round says.
    pub fn at(&self, after: Duration) -> &[u32] {
        let index = usize::try_from(after.as_millis() / self.round.as_millis()).unwrap_or(usize::MAX);
        &self.capacity[index.min(self.capacity.len() - 1)]
    }

    /// The rounds that begin at `from` or later and before `until`; `None` if there are none.
    pub fn between(&self, from: UnixMillis, until: UnixMillis) -> Option<Self> {
        let begins =
            |index: usize| self.start.plus(self.round.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX)));
        let first = (0..self.capacity.len()).find(|&index| begins(index) >= from)?;
        let last = (first..self.capacity.len()).take_while(|&index| begins(index) < until).last()?;
        Some(Self {
            zones: self.zones.clone(),
            start: begins(first),
            round: self.round,
            capacity: self.capacity[first..=last].to_vec(),
        })
    }
}
