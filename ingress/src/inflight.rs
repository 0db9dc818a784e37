//! How many requests each replica has from here. A replica may be stopped when it has none.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering, fence},
};

use shoal_types::ClaimId;
use tokio::sync::Notify;

use crate::{bell::Bell, map::Map};

/// Requests by replica.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    counts: Mutex<Map<ClaimId, Arc<Count>>>,
    ends: Arc<Ends>,
    /// Rung when one ends, if others wait for that.
    pub(crate) bell: Arc<Bell>,
}

/// Requests of one replica. All workers count them, without a lock: beside the number of references, which they write as well.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Count {
    requests: AtomicU32,
    ends: Arc<Ends>,
    bell: Arc<Bell>,
}

/// Told when a replica has no request any more.
#[derive(Debug, Default)]
struct Ends(Notify);

/// One request that is being served; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Count>);

impl InFlight {
    /// The count of `claim`.
    pub(crate) fn of(&self, claim: ClaimId) -> Arc<Count> {
        let count =
            || Count { requests: AtomicU32::new(0), ends: Arc::clone(&self.ends), bell: Arc::clone(&self.bell) };
        Arc::clone(self.lock().entry(claim).or_insert_with(|| Arc::new(count())))
    }

    /// Requests that `claim` has now.
    pub(crate) fn count(&self, claim: ClaimId) -> u32 {
        self.lock().get(&claim).map_or(0, |count| count.get())
    }

    /// Forgets the counts that nobody has any more.
    pub(crate) fn tidy(&self) {
        self.lock().retain(|_, count| Arc::strong_count(count) > 1);
    }

    /// Until `claim` has no request. Cancel safe.
    pub(crate) async fn drained(&self, claim: ClaimId) {
        self.until(|counts| counts.get(&claim).is_none_or(|count| count.get() == 0)).await;
    }

    /// Until no replica has a request. Cancel safe.
    pub(crate) async fn all_drained(&self) {
        self.until(|counts| counts.values().all(|count| count.get() == 0)).await;
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    async fn until(&self, reached: impl Fn(&Map<ClaimId, Arc<Count>>) -> bool) {
        loop {
            // Registered before looking, so that a drop in between is not missed.
            let mut ended = std::pin::pin!(self.ends.0.notified());
            ended.as_mut().enable();
            // After the routes have changed, see `Count::enter`.
            fence(Ordering::SeqCst);
            if reached(&self.lock()) {
                return;
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Map<ClaimId, Arc<Count>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Requests that there are now.
    pub(crate) fn get(&self) -> u32 {
        self.requests.load(Ordering::Acquire)
    }

    /// Counts one more.
    ///
    /// Whoever serves a local replica must look it up in the routing table *after* this: then either the request is seen
    /// by [`InFlight::drained`], or it sees that the replica is gone.
    pub(crate) fn enter(self: &Arc<Self>) -> Serving {
        self.requests.fetch_add(1, Ordering::AcqRel);
        // One of the two looks after the other has written: neither may look first.
        fence(Ordering::SeqCst);
        Serving(Arc::clone(self))
    }

    /// As [`Self::enter`], unless there are `limit`: two that saw room for one do not both get it.
    pub(crate) fn enter_within(self: &Arc<Self>, limit: u32) -> Option<Serving> {
        let one_more = |requests: u32| (requests < limit).then(|| requests.saturating_add(1));
        self.requests.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).ok()?;
        fence(Ordering::SeqCst);
        Some(Serving(Arc::clone(self)))
    }
}

impl Serving {
    /// The requests that it has, this one included.
    pub(crate) fn requests(&self) -> u32 {
        self.0.get()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let count = &self.0;
        if count.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            count.ends.0.notify_waiters();
        }
        count.bell.freed();
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
        let (first, second, other) =
            (inflight.of(claim(1)).enter(), inflight.of(claim(1)).enter(), inflight.of(claim(2)).enter());
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
        assert!(inflight.of(claim(1)).enter_within(0).is_none());
        let first = inflight.of(claim(1)).enter_within(1).unwrap();
        assert!(inflight.of(claim(1)).enter_within(1).is_none());
        assert_eq!(inflight.count(claim(1)), 1);
        drop(first);
        assert!(inflight.bell.rung().now_or_never().is_none(), "nobody waits");
        assert!(inflight.bell.enter(1));
        drop(inflight.of(claim(1)).enter());
        inflight.bell.rung().await;
        inflight.all_drained().await;
    }

    /// Rule 9: a limit holds however many look for room at once.
    #[tokio::test]
    async fn rule_9_of_those_that_enter_at_once_no_more_get_in_than_may() {
        let inflight = InFlight::default();
        let count = inflight.of(claim(1));
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..10_000 {
                        let serving = count.enter_within(3);
                        assert!(count.get() <= 3);
                        drop(serving);
                    }
                });
            }
        });
        inflight.drained(claim(1)).await;
        inflight.tidy();
        assert_eq!(inflight.lock().len(), 1, "it is still used");
        drop(count);
        inflight.tidy();
        assert!(inflight.is_empty());
    }
}
