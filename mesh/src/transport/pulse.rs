//! When something last came from a peer. Pure: the caller counts packets and owns the clock.

use std::time::Duration;

use tokio::time::Instant;

/// How many packets had come when the count last rose.
#[derive(Debug)]
pub(super) struct Pulse {
    received: u64,
    at: Instant,
}

impl Pulse {
    /// That of a connection which is made `now`.
    pub(super) const fn new(now: Instant) -> Self {
        Self { received: 0, at: now }
    }

    /// How long nothing has come at `now`, when `received` packets have come in all. A packet counts as of the first
    /// call after it, so the answer is too short by at most the time between two calls, and never too long.
    pub(super) fn silence(&mut self, received: u64, now: Instant) -> Duration {
        if received != self.received {
            *self = Self { received, at: now };
        }
        now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_lasts_until_a_packet_comes() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.silence(0, start + second), second);
        assert_eq!(pulse.silence(3, start + second * 2), Duration::ZERO);
        assert_eq!(pulse.silence(3, start + second * 5), second * 3);
        assert_eq!(pulse.silence(4, start + second * 6), Duration::ZERO);
    }
}
