//! Hybrid logical clock (Kulkarni et al. 2014): wall-clock order where clocks agree, causal order where they do not.

use std::{cmp::Ordering, fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NodeId, ParseIdError, UnixMillis, stable_hash};

/// One tick of one node's hybrid clock; totally ordered and never given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hlc {
    /// Physical part.
    pub time: UnixMillis,
    /// Orders ticks within one millisecond.
    pub counter: u32,
    /// Who ticked; breaks what ties remain.
    pub node: NodeId,
}

impl Ord for Hlc {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.counter, self.node).cmp(&(other.time, other.counter, other.node))
    }
}

impl PartialOrd for Hlc {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Hlc {
    /// `MILLISECONDS.COUNTER.NODE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.time.as_millis(), self.counter, self.node)
    }
}

impl FromStr for Hlc {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let not_a_version = || ParseIdError::NotAVersion(text.to_owned());
        let mut parts = text.splitn(3, '.');
        let (Some(time), Some(counter), Some(node)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(not_a_version());
        };
        Ok(Self {
            time: UnixMillis::from_millis(time.parse().map_err(|_| not_a_version())?),
            counter: counter.parse().map_err(|_| not_a_version())?,
            node: node.parse().map_err(|_| not_a_version())?,
        })
    }
}

/// A node's hybrid clock. The caller passes the wall clock in and keeps [`HlcClock::last`] across restarts.
#[derive(Debug, Clone)]
pub struct HlcClock {
    node: NodeId,
    last: (UnixMillis, u32),
}

impl HlcClock {
    /// How far ahead of the own wall clock a remote tick may be before it is quarantined (DESIGN rule 2).
    pub const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);

    /// A clock for `node` that continues after `last`.
    pub const fn new(node: NodeId, last: UnixMillis) -> Self {
        // The counter of the last tick is not kept: starting at its maximum makes the next tick a new millisecond.
        Self { node, last: (last, u32::MAX) }
    }

    /// The next tick: later than every tick given out or observed, even if `now` stepped back.
    pub fn tick(&mut self, now: UnixMillis) -> Hlc {
        let (time, counter) = self.last;
        self.last = if now > time {
            (now, 0)
        } else if counter < u32::MAX {
            (time, counter + 1)
        } else {
            (time.plus(Duration::from_millis(1)), 0)
        };
        Hlc { time: self.last.0, counter: self.last.1, node: self.node }
    }

    /// Notes a remote tick, so that the next own one is later. Returns `false`, and notes nothing, if `remote` lies
    /// more than [`Self::MAX_AHEAD`] beyond `now`.
    pub fn observe(&mut self, remote: Hlc, now: UnixMillis) -> bool {
        if remote.time.since(now) > Self::MAX_AHEAD {
            return false;
        }
        self.last = self.last.max((remote.time, remote.counter));
        true
    }

    /// The physical part of the latest tick; what must be on disk before that tick is shown to anybody.
    pub const fn last(&self) -> UnixMillis {
        self.last.0
    }
}

/// Which processes an endpoint needs: the tick of the write that last changed model, engine or resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub Hlc);

impl fmt::Display for Revision {
    /// Seven hexadecimal characters, for people; comparing needs the whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hlc { time, counter, node } = self.0;
        let hash = stable_hash(&[&time.as_millis().to_be_bytes(), &counter.to_be_bytes(), node.as_bytes()]);
        write!(f, "{:07x}", hash >> 36)
    }
}

impl JsonSchema for Revision {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Revision".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object"})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock(last: u64) -> HlcClock {
        HlcClock::new(NodeId::from_bytes([1; 16]), UnixMillis::from_millis(last))
    }

    proptest! {
        /// Revisions strictly rise per writer, even when its wall clock steps back.
        #[test]
        fn rule_2_ticks_strictly_rise(times in prop::collection::vec(0u64..1_000, 1..50)) {
            let mut clock = clock(0);
            let ticks: Vec<Hlc> = times.iter().map(|&t| clock.tick(UnixMillis::from_millis(t))).collect();
            prop_assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]));
        }

        #[test]
        fn rule_2_a_tick_is_later_than_what_was_observed(now in 0u64..1_000_000, ahead in 0u64..300_000, counter: u32) {
            let mut clock = clock(0);
            let now = UnixMillis::from_millis(now);
            let remote = Hlc { time: now.plus(Duration::from_millis(ahead)), counter, node: NodeId::from_bytes([9; 16]) };
            prop_assert!(clock.observe(remote, now));
            prop_assert!(clock.tick(now) > remote);
        }
    }

    #[test]
    fn rule_2_a_restarted_clock_repeats_nothing() {
        let mut before = clock(0);
        let now = UnixMillis::from_millis(5_000);
        let ticks: Vec<Hlc> = (0..3).map(|_| before.tick(now)).collect();
        let mut after = clock(before.last().as_millis());
        assert!(after.tick(now) > ticks[2]);
    }

    #[test]
    fn ticks_survive_text() {
        let tick = clock(7).tick(UnixMillis::from_millis(9));
        assert_eq!(tick.to_string().parse(), Ok(tick));
        assert!("9.0".parse::<Hlc>().is_err());
    }

    #[test]
    fn rule_2_the_far_future_is_not_observed() {
        let mut clock = clock(0);
        let now = UnixMillis::from_millis(1_000);
        let far = now.plus(HlcClock::MAX_AHEAD + Duration::from_millis(1));
        assert!(!clock.observe(Hlc { time: far, counter: 0, node: NodeId::from_bytes([9; 16]) }, now));
        assert_eq!(clock.tick(now).time, now);
    }
}
