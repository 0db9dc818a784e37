//! When a peer that somebody waits for counts as gone. Pure: the caller counts packets and owns the clock.

use std::time::Duration;

use tokio::time::Instant;

/// How often it is looked whether something came.
pub(super) const LOOK: Duration = Duration::from_millis(125);
/// What a peer may be silent for where round trips take no time. Both ends keep their connection alive every second
/// ([`KEEP_ALIVE`](super::config::KEEP_ALIVE)), so that a peer which is busy for a second and three quarters, just as that is
/// due, is not given up. No sooner than a silent connection is no sign of life any more (gossip's `SILENT_AFTER`): else one
/// that is used would be a weaker sign than one that is not.
const QUIET: Duration = Duration::from_millis(2_750);
/// Round trips on top. What keeps a connection alive is repeated after about one, then two, then four of them (RFC 9002,
/// section 6.2): on a far path seven packets from each end, all of which would have to be lost.
const ROUND_TRIPS: u32 = 8;

/// How long nothing has come from a peer, by this node's own pace.
#[derive(Debug)]
pub(super) struct Silence {
    received: u64,
    lasts: Duration,
    looked: Instant,
}

impl Silence {
    /// None, `now` that `received` packets have come in all.
    pub(super) const fn new(received: u64, now: Instant) -> Self {
        Self { received, lasts: Duration::ZERO, looked: now }
    }

    /// Whether it has lasted too long at `now` for a peer that is a round trip of `rtt` away, when `received` packets have
    /// come in all; if so, for how long. To be asked every [`LOOK`], and counts no more for each time: a node that was
    /// stopped itself, or gets to nothing in time, is as late to read what came, or to send what would be answered.
    pub(super) fn is_too_long(&mut self, received: u64, rtt: Duration, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.looked).min(LOOK);
        let lasts = if received == self.received { self.lasts + passed } else { Duration::ZERO };
        *self = Self { received, lasts, looked: now };
        (lasts >= QUIET + ROUND_TRIPS * rtt).then_some(lasts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const NEAR: Duration = Duration::from_millis(1);
    const FAR: Duration = Duration::from_millis(300);

    /// After how long of silence a peer is given up that is `rtt` away, looked at on time.
    fn given_up_after(rtt: Duration) -> Duration {
        let start = Instant::now();
        let mut silence = Silence::new(7, start);
        let mut looks = (1..).map(|look| LOOK * look);
        looks.find(|&after| silence.is_too_long(7, rtt, start + after).is_some()).unwrap()
    }

    #[test]
    fn a_peer_is_given_up_the_later_the_farther_it_is() {
        assert_eq!(given_up_after(NEAR), Duration::from_millis(2_875));
        assert_eq!(given_up_after(FAR), Duration::from_millis(5_250));
    }

    #[test]
    fn a_packet_begins_it_anew() {
        let start = Instant::now();
        let mut silence = Silence::new(0, start);
        for look in 1..1_000 {
            // One packet every two seconds.
            let received = u64::from(look / 16);
            assert_eq!(silence.is_too_long(received, NEAR, start + LOOK * look), None);
        }
    }

    #[test]
    fn the_time_in_which_this_node_was_stopped_is_not_the_peers() {
        let start = Instant::now();
        let mut silence = Silence::new(0, start);
        let woken = start + Duration::from_secs(3600);
        assert_eq!(silence.is_too_long(0, NEAR, woken), None);
        // What came meanwhile has been read by then.
        assert_eq!(silence.is_too_long(40, NEAR, woken + LOOK), None);
    }

    #[test]
    fn a_node_that_is_late_itself_waits_longer() {
        let start = Instant::now();
        let mut silence = Silence::new(0, start);
        let given_up = (1..).find(|&look| silence.is_too_long(0, NEAR, start + LOOK * 3 * look).is_some()).unwrap();
        assert_eq!(LOOK * 3 * given_up, 3 * given_up_after(NEAR));
    }

    /// When packets arrive, in milliseconds, from a peer with which nothing is spoken, over a path of this `rtt` where
    /// `is_lost` says which packets are lost. A second after the last packet both ends send one, and again at each of
    /// QUIC's timeouts, twice, until one has come or the answer to one has.
    fn arrivals(rtt: u64, mut is_lost: impl FnMut() -> bool, end: u64) -> Vec<u64> {
        let (mut arrivals, mut last) = (vec![0], 0);
        while last < end {
            let (mut at, mut timeout, mut copies) = (last + 1_000, rtt + rtt / 2 + 25, 1);
            while (0..copies).all(|_| is_lost() && (is_lost() || is_lost())) {
                (at, timeout, copies) = (at + timeout, timeout * 2, 2);
            }
            last = at + rtt;
            arrivals.push(last);
        }
        arrivals
    }

    #[test]
    fn on_a_far_path_three_attempts_may_be_lost() {
        // One packet, then two, then two, each of which is lost on both its ways.
        let mut lost = 0;
        let is_lost = || {
            lost += 1;
            lost <= 10
        };
        let arrivals = arrivals(300, is_lost, 4_000);
        assert_eq!(arrivals[1], 1_000 + 475 + 950 + 1_900 + 300);
        let start = Instant::now();
        let mut silence = Silence::new(0, start);
        for look in 1..=36 {
            let received = u64::from((LOOK * look).as_millis() >= u128::from(arrivals[1]));
            assert_eq!(silence.is_too_long(received, FAR, start + LOOK * look), None);
        }
    }

    proptest! {
        #[test]
        fn a_lossy_path_is_no_silence(rtt in 1_u64..=300, seed in any::<u64>()) {
            let mut dice = StdRng::seed_from_u64(seed);
            let arrivals = arrivals(rtt, || dice.random_ratio(1, 20), 60_000);
            let start = Instant::now();
            let mut silence = Silence::new(0, start);
            for look in 1..=480 {
                let after = LOOK * look;
                let received = arrivals.partition_point(|&at| u128::from(at) <= after.as_millis());
                prop_assert_eq!(silence.is_too_long(received as u64, Duration::from_millis(rtt), start + after), None);
            }
        }
    }
}
