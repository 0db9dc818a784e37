//! How much room replicas have. An engine that is given more than it runs queues by itself, and badly: first come, first
//! served, whoever asks. So it is given no more, and the rest waits where it can be told apart.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shoal_types::ClaimId;
use tokio::time::Instant;

use crate::routes::Replica;

/// How long a replica that said that it is full is believed. Then it is asked again.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// How full a replica is, as far as is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Occupancy {
    /// Requests that it has from here.
    pub(crate) own: u32,
    /// Requests that it has at least, as it has said; `None` if it has not.
    pub(crate) told: Option<u32>,
    /// How many it had when it said a moment ago that this was all it takes.
    pub(crate) at_most: Option<u32>,
}

impl Occupancy {
    /// How many more it may be given, of at most `limit`. `mean` is what others have, and stands for what is not known:
    /// that is never zero.
    pub(crate) fn room(&self, limit: Option<u32>, mean: impl FnOnce() -> u32) -> u32 {
        let limit = limit.unwrap_or(u32::MAX).min(self.at_most.unwrap_or(u32::MAX));
        limit.saturating_sub(self.own.max(self.told.unwrap_or_else(mean)))
    }
}

/// How many requests of other nodes a replica is given beyond its limit, before they are sent back: what they know of its
/// load is a moment old, and a round trip costs more than a short wait in the engine.
pub(crate) const fn slack(limit: u32) -> u32 {
    if limit < 8 { 1 } else { limit / 8 }
}

/// Replicas that said a moment ago that they have no room.
#[derive(Debug, Default)]
pub(crate) struct SaidFull {
    is_any: AtomicBool,
    claims: Mutex<HashMap<ClaimId, (u32, Instant)>>,
}

impl SaidFull {
    /// `claim`, which had `inflight` requests from here, took no more at `now`.
    pub(crate) fn note(&self, claim: ClaimId, inflight: u32, now: Instant) {
        self.lock().insert(claim, (inflight, now + BELIEVED_FOR));
        self.is_any.store(true, Ordering::Release);
    }

    /// How many it had when it said so, if that is not too long ago.
    pub(crate) fn at_most(&self, claim: ClaimId, now: Instant) -> Option<u32> {
        if !self.is_any.load(Ordering::Acquire) {
            return None;
        }
        let mut claims = self.lock();
        claims.retain(|_, (_, until)| *until > now);
        self.is_any.store(!claims.is_empty(), Ordering::Release);
        claims.get(&claim).map(|(inflight, _)| *inflight)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimId, (u32, Instant)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of the room of all replicas of a route, while it is given out.
#[derive(Debug)]
pub(crate) struct Rooms(HashMap<ClaimId, u32>);

impl Rooms {
    pub(crate) fn of(rooms: impl IntoIterator<Item = (ClaimId, u32)>) -> Self {
        Self(rooms.into_iter().collect())
    }

    /// Whether there is any.
    pub(crate) fn is_any(&self) -> bool {
        self.0.values().any(|room| *room > 0)
    }

    /// Whether one of `replicas` has some.
    pub(crate) fn has<'a>(&self, mut replicas: impl Iterator<Item = &'a Replica>) -> bool {
        replicas.any(|replica| self.0.get(&replica.claim).is_some_and(|room| *room > 0))
    }

    /// One place less at that of `replicas` which has most.
    pub(crate) fn take<'a>(&mut self, replicas: impl Iterator<Item = &'a Replica>) {
        let most = replicas.max_by_key(|replica| self.0.get(&replica.claim).copied());
        if let Some(room) = most.and_then(|replica| self.0.get_mut(&replica.claim)) {
            *room = room.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{NodeId, UnixMillis};

    use super::*;

    #[test]
    fn room_is_what_is_left_of_the_limit_and_unknown_is_the_mean() {
        let burden = Occupancy { own: 3, told: Some(5), at_most: None };
        assert_eq!(burden.room(Some(8), || 0), 3);
        assert_eq!(burden.room(None, || 0), u32::MAX - 5);
        assert_eq!(Occupancy { told: None, ..burden }.room(Some(8), || 6), 2);
        assert_eq!(Occupancy { told: None, ..burden }.room(Some(8), || 1), 5, "its own are known");
        assert_eq!(Occupancy { own: 9, ..burden }.room(Some(8), || 0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_that_it_is_full_gets_no_more_than_it_had_for_a_while() {
        let claim = ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter: 1 };
        let (full, now) = (SaidFull::default(), Instant::now());
        assert_eq!(full.at_most(claim, now), None);
        full.note(claim, 4, now);
        let room = |own, now| Occupancy { own, told: Some(0), at_most: full.at_most(claim, now) }.room(Some(64), || 0);
        assert_eq!((room(4, now), room(3, now)), (0, 1));
        assert_eq!(room(4, now + BELIEVED_FOR), 60);
        assert!(!full.is_any.load(Ordering::Relaxed));
    }
}
