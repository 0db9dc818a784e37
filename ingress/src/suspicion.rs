//! What failed a moment ago, here and now: faster than gossip, and told to nobody.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shoal_types::{ClaimId, NodeId};
use tokio::time::Instant;

/// How long something that failed is avoided, unless nothing else is left. Longer than gossip needs to tell.
const AVOID_FOR: Duration = Duration::from_secs(5);

/// What can be avoided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Suspect {
    /// A node that did not answer, or broke a stream.
    Node(NodeId),
    /// A replica whose engine failed, or that its node no longer has.
    Replica(ClaimId),
}

/// The memory of recent failures.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    until: Mutex<HashMap<Suspect, Instant>>,
}

impl Suspicions {
    /// Notes that `suspect` failed at `now`.
    pub(crate) fn note(&self, suspect: Suspect, now: Instant) {
        let mut until = self.lock();
        // Only failures are entered, and each of them forgets the old ones: no larger than 5 s of failures.
        until.retain(|_, until| *until > now);
        until.insert(suspect, now + AVOID_FOR);
    }

    /// Whether `claim` on `node` should be avoided at `now`.
    pub(crate) fn suspects(&self, node: NodeId, claim: ClaimId, now: Instant) -> bool {
        let until = self.lock();
        [Suspect::Node(node), Suspect::Replica(claim)]
            .iter()
            .any(|suspect| until.get(suspect).is_some_and(|until| *until > now))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Suspect, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::UnixMillis;

    use super::*;

    fn claim(node: u8) -> ClaimId {
        ClaimId { node: NodeId::from_bytes([node; 16]), generation: UnixMillis::from_millis(1), counter: 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_avoided_for_a_while_and_no_other() {
        let suspicions = Suspicions::default();
        let (now, a, b) = (Instant::now(), claim(1), claim(2));
        suspicions.note(Suspect::Node(a.node), now);
        suspicions.note(Suspect::Replica(b), now);
        assert!(suspicions.suspects(a.node, a, now));
        assert!(suspicions.suspects(b.node, b, now));
        assert!(!suspicions.suspects(b.node, ClaimId { counter: 2, ..b }, now));
        let later = now + AVOID_FOR;
        assert!(!suspicions.suspects(a.node, a, later));
        suspicions.note(Suspect::Node(b.node), later);
        assert_eq!(suspicions.lock().len(), 1);
    }
}
