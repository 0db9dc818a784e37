//! How long a node that has said goodbye stays to be heard.

use std::{collections::BTreeSet, time::Duration};

use shoal_types::NodeId;
use tokio::time::Instant;

/// Longest, in rounds of gossip.
const ROUNDS: u32 = 5;

/// A goodbye on its way.
#[derive(Debug)]
pub(super) struct Goodbye {
    audience: BTreeSet<NodeId>,
    round: Duration,
    told: bool,
    deadline: Instant,
}

impl Goodbye {
    /// One that was said at `now` to `audience`.
    pub(super) fn new(audience: BTreeSet<NodeId>, round: Duration, now: Instant) -> Self {
        Self { audience, round, told: false, deadline: now + round * ROUNDS }
    }

    /// Whether the node may go. `told` says whether the audience was sent the news; handed to the transport is not yet
    /// heard, hence one more round after that.
    pub(super) fn is_over(&mut self, told: impl FnOnce(&BTreeSet<NodeId>) -> bool, now: Instant) -> bool {
        if !self.told && told(&self.audience) {
            self.told = true;
            let rest = if self.audience.is_empty() { Duration::ZERO } else { self.round };
            self.deadline = self.deadline.min(now + rest);
        }
        now >= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_lonely_node_goes_at_once() {
        let now = Instant::now();
        assert!(Goodbye::new(BTreeSet::new(), ROUND, now).is_over(|_| true, now));
    }

    #[tokio::test]
    async fn others_are_told_and_given_a_round_but_not_for_ever() {
        let (now, peers) = (Instant::now(), BTreeSet::from([NodeId::from_bytes([1; 16])]));
        let mut goodbye = Goodbye::new(peers.clone(), ROUND, now);
        assert!(!goodbye.is_over(|_| false, now + ROUND));
        assert!(!goodbye.is_over(|_| true, now + ROUND));
        assert!(goodbye.is_over(|_| true, now + ROUND * 2));
        assert!(Goodbye::new(peers, ROUND, now).is_over(|_| false, now + ROUND * ROUNDS));
    }
}
