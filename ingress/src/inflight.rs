//! How many requests each replica has from here. A replica may be stopped when it has none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_types::ClaimId;
use tokio::sync::Notify;

use crate::{bell::Bell, map::Map};

/// Requests by replica; those without any are not listed.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    counts: Mutex<Map<ClaimId, u32>>,
    drained: Notify,
    /// Rung when one ends, if others wait for that.
    pub(crate) bell: Arc<Bell>,
}

/// One request that is being served; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    inflight: Arc<InFlight>,
    claim: ClaimId,
}

impl InFlight {
    /// Counts one more request for `claim`.
    ///
    /// Whoever serves a local replica must look it up in the routing table *after* this: then either the request is seen
    /// by [`Self::drained`], or it sees that the replica is gone.
    pub(crate) fn enter(self: &Arc<Self>, claim: ClaimId) -> Serving {
        *self.lock().entry(claim).or_insert(0) += 1;
        Serving { inflight: Arc::clone(self), claim }
    }

    /// As [`Self::enter`], unless `claim` has `limit` requests: two that saw room for one do not both get it.
    pub(crate) fn enter_within(self: &Arc<Self>, claim: ClaimId, limit: u32) -> Option<Serving> {
        {
            let mut counts = self.lock();
            if counts.get(&claim).copied().unwrap_or(0) >= limit {
                return None;
            }
            *counts.entry(claim).or_insert(0) += 1;
        }
        Some(Serving { inflight: Arc::clone(self), claim })
    }

    /// Requests that `claim` has now.
    pub(crate) fn count(&self, claim: ClaimId) -> u32 {
        self.lock().get(&claim).copied().unwrap_or(0)
    }

    /// Requests of all replicas. Nothing is counted while it is held.
    pub(crate) fn counts(&self) -> Counts<'_> {
        Counts(self.lock())
    }

    /// Until `claim` has no request. Cancel safe.
    pub(crate) async fn drained(&self, claim: ClaimId) {
        self.until(|counts| !counts.contains_key(&claim)).await;
    }

    /// Until no replica has a request. Cancel safe.
    pub(crate) async fn all_drained(&self) {
        self.until(Map::is_empty).await;
    }

    async fn until(&self, reached: impl Fn(&Map<ClaimId, u32>) -> bool) {
        loop {
            // Registered before looking, so that a drop in between is not missed.
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            if reached(&self.lock()) {
                return;
            }
            drained.await;
        }
    }

    fn leave(&self, claim: ClaimId) {
        {
            let mut counts = self.lock();
            if let Some(count) = counts.get_mut(&claim) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&claim);
                    self.drained.notify_waiters();
                }
            }
        }
        self.bell.freed();
    }

    fn lock(&self) -> MutexGuard<'_, Map<ClaimId, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests of all replicas at one moment.
#[derive(Debug)]
pub(crate) struct Counts<'a>(MutexGuard<'a, Map<ClaimId, u32>>);

impl Counts<'_> {
    /// Those of `claim`.
    pub(crate) fn of(&self, claim: ClaimId) -> u32 {
        self.0.get(&claim).copied().unwrap_or(0)
    }
}

impl Serving {
    /// The replica that serves.
    pub(crate) const fn claim(&self) -> ClaimId {
        self.claim
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.inflight.leave(self.claim);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use shoal_types::{NodeId, UnixMillis};

    use super::*;

    fn claim(counter: u32) -> ClaimId {
        ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter }
    }

    #[tokio::test]
    async fn a_replica_is_drained_when_its_last_request_ends() {
        let inflight = Arc::new(InFlight::default());
        inflight.drained(claim(1)).await;
        let (first, second, other) = (inflight.enter(claim(1)), inflight.enter(claim(1)), inflight.enter(claim(2)));
        assert_eq!(inflight.count(claim(1)), 2);
        let mut drained = std::pin::pin!(inflight.drained(claim(1)));
        drop(first);
        assert!(drained.as_mut().now_or_never().is_none());
        drop(second);
        drained.await;
        assert!(inflight.all_drained().now_or_never().is_none());
        drop(other);
        inflight.all_drained().await;
    }

    #[tokio::test]
    async fn no_more_enter_than_there_is_room_for_and_the_bell_rings_when_one_leaves() {
        let inflight = Arc::new(InFlight::default());
        assert!(inflight.enter_within(claim(1), 0).is_none());
        let first = inflight.enter_within(claim(1), 1).unwrap();
        assert!(inflight.enter_within(claim(1), 1).is_none());
        assert_eq!(inflight.count(claim(1)), 1);
        drop(first);
        assert!(inflight.bell.rung().now_or_never().is_none(), "nobody waits");
        assert!(inflight.bell.enter(1));
        drop(inflight.enter(claim(1)));
        inflight.bell.rung().await;
        inflight.all_drained().await;
    }
}
