//! What time peers say it is, and whether this host's clock is one that they would go by (DESIGN rule 2). Pure.

use std::{collections::BTreeMap, time::Duration};

use shoal_types::{HlcClock, NodeId, UnixMillis};
use tokio::time::Instant;

use crate::clock::Skew;

/// A peer is asked again after this long.
const EVERY: Duration = Duration::from_secs(30);
/// Peers asked within [`EVERY`]; in a larger mesh they are a sample.
const SAMPLE: usize = 8;
/// How long an answer counts.
const KEPT: Duration = Duration::from_secs(120);

/// What peers say the time is.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug)]
struct Peer {
    asked: Instant,
    reading: Option<Reading>,
}

/// A peer's clock, read once. Kept as it was read, so that a step of the own clock shows at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) time: UnixMillis,
    pub(super) at: Instant,
}

impl Reading {
    fn time_at(&self, monotonic: Instant) -> UnixMillis {
        self.time.plus(monotonic.saturating_duration_since(self.at))
    }
}

impl Clocks {
    /// Which of the `live` peers to ask now, the first ones first. They count as asked.
    pub(super) fn due(&mut self, live: impl IntoIterator<Item = NodeId>, now: Instant) -> Vec<NodeId> {
        self.peers.retain(|_, peer| now < peer.asked + KEPT);
        let recent = |peer: &Peer| now < peer.asked + EVERY;
        let room = SAMPLE.saturating_sub(self.peers.values().filter(|peer| recent(peer)).count());
        let idle = live.into_iter().filter(|node| !self.peers.get(node).is_some_and(recent));
        let due: Vec<NodeId> = idle.take(room).collect();
        for node in &due {
            self.peers.entry(*node).or_insert(Peer { asked: now, reading: None }).asked = now;
        }
        due
    }

    /// `node` has answered.
    pub(super) fn note(&mut self, node: NodeId, reading: Reading) {
        let peer = self.peers.entry(node).or_insert(Peer { asked: reading.at, reading: None });
        peer.reading = Some(reading);
    }

    /// How far `now` is from the clock of each peer that has answered lately.
    pub(super) fn offsets(&self, now: UnixMillis, monotonic: Instant) -> BTreeMap<NodeId, Skew> {
        let fresh = |peer: &Peer| peer.reading.filter(|reading| monotonic < reading.at + KEPT);
        let offset =
            |(node, peer): (&NodeId, &Peer)| Some((*node, Skew::between(now, fresh(peer)?.time_at(monotonic))));
        self.peers.iter().filter_map(offset).collect()
    }

    /// How far `now` is from the median of the peers' clocks, if that is more than entries may be ahead. Of an even
    /// number of clocks, the median is the one of the middle two that is nearer: one wrong clock among three does not
    /// keep the other two from writing.
    pub(super) fn skew(&self, now: UnixMillis, monotonic: Instant) -> Option<Skew> {
        let readings = self.peers.values().filter_map(|peer| peer.reading);
        let fresh = readings.filter(|reading| monotonic < reading.at + KEPT);
        let mut times: Vec<UnixMillis> = fresh.map(|reading| reading.time_at(monotonic)).collect();
        times.sort();
        let (lower, upper) = (times.len().saturating_sub(1) / 2, times.len() / 2);
        let middle = times.get(lower..=upper)?.iter().map(|time| Skew::between(now, *time));
        middle.min_by_key(|skew| skew.by).filter(|skew| skew.by > HlcClock::MAX_AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::from_millis(1_000_000_000);
    const HOUR: i64 = 3600;

    fn node(byte: usize) -> NodeId {
        NodeId::from_bytes([u8::try_from(byte).unwrap(); 16])
    }

    /// Peers whose clocks are so many seconds ahead of the own.
    fn clocks(ahead: &[i64], at: Instant) -> Clocks {
        let mut clocks = Clocks::default();
        for (index, ahead) in ahead.iter().enumerate() {
            let time = UnixMillis::from_millis(NOW.as_millis().checked_add_signed(ahead * 1_000).unwrap());
            clocks.note(node(index), Reading { time, at });
        }
        clocks
    }

    #[tokio::test]
    async fn rule_2_a_clock_is_wrong_if_it_is_far_from_the_median_of_the_others() {
        let at = Instant::now();
        let skew = |ahead: &[i64]| clocks(ahead, at).skew(NOW, at);
        let hour = Duration::from_secs(3600);
        assert_eq!(skew(&[]), None, "nobody to disagree with");
        assert_eq!(skew(&[-299]), None);
        assert_eq!(skew(&[-300]), None);
        assert_eq!(skew(&[-301]), Some(Skew { ahead: true, by: Duration::from_secs(301) }));
        assert_eq!(skew(&[HOUR, HOUR]), Some(Skew { ahead: false, by: hour }));
        assert_eq!(skew(&[0, HOUR]), None, "one of three is wrong: not this one");
        assert_eq!(skew(&[-HOUR, 0]), None);
        assert_eq!(skew(&[0, HOUR, -HOUR]), None);
        assert_eq!(skew(&[0, -HOUR, -HOUR]), Some(Skew { ahead: true, by: hour }));
    }

    #[tokio::test]
    async fn rule_2_a_step_of_the_own_clock_shows_at_once_and_what_was_heard_ages() {
        let at = Instant::now();
        let (clocks, minute) = (clocks(&[0, 0, 0], at), Duration::from_secs(60));
        assert_eq!(clocks.skew(NOW.plus(minute), at + minute), None);
        assert_eq!(clocks.skew(NOW.plus(minute * 11), at + minute), Some(Skew { ahead: true, by: minute * 10 }));
        assert_eq!(clocks.skew(NOW.plus(minute * 13), at + KEPT), None, "nobody was heard lately");
    }

    #[tokio::test]
    async fn each_peer_is_compared_with_as_long_as_its_answer_counts() {
        let at = Instant::now();
        let (clocks, minute) = (clocks(&[-HOUR, 2], at), Duration::from_secs(60));
        let offsets = clocks.offsets(NOW.plus(minute), at + minute);
        assert_eq!(offsets[&node(0)], Skew { ahead: true, by: Duration::from_secs(3600) });
        assert_eq!(offsets[&node(1)], Skew { ahead: false, by: Duration::from_secs(2) });
        assert!(clocks.offsets(NOW.plus(KEPT), at + KEPT).is_empty());
    }

    #[tokio::test]
    async fn a_sample_of_the_peers_is_asked_now_and_then() {
        let (mut clocks, now) = (Clocks::default(), Instant::now());
        let live = || (0..20).map(node);
        assert_eq!(clocks.due(live().take(3), now), live().take(3).collect::<Vec<_>>());
        assert_eq!(clocks.due(live(), now), live().skip(3).take(SAMPLE - 3).collect::<Vec<_>>());
        assert!(clocks.due(live(), now).is_empty());
        assert_eq!(clocks.due(live(), now + EVERY).len(), SAMPLE);
        clocks.due([], now + EVERY + KEPT);
        assert!(clocks.peers.is_empty(), "those who are gone are not kept");
    }
}
