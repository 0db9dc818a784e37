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

use shoal_types::{Backend, ClaimId};
use tokio::time::Instant;

use crate::{
    Ingress, loads,
    routes::{Place, Replica, Route},
};

/// How long a replica that said that it is full is believed. Then it is asked again.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// Of a load that was gossiped, one in so many may be rounding (`Load::round_count`).
const ROUNDING: u32 = 8;

/// What is known of what a replica has to do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Burden {
    /// Requests that it has from here.
    pub(crate) own: u32,
    /// Requests that it has at least, as it has said; `None` if it has not.
    pub(crate) told: Option<u32>,
    /// How many it had when it said a moment ago that this was all it takes.
    pub(crate) at_most: Option<u32>,
}

impl Burden {
    /// How many more it may be given, of at most `limit`. `mean` is what others have, and stands for what is not known:
    /// that is never zero.
    pub(crate) fn room(&self, limit: Option<u32>, mean: u32) -> u32 {
        let limit = limit.unwrap_or(u32::MAX).min(self.at_most.unwrap_or(u32::MAX));
        limit.saturating_sub(self.own.max(self.told.unwrap_or(mean)))
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
    fn at_most(&self, claim: ClaimId, now: Instant) -> Option<u32> {
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
    #[cfg(test)]
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

impl Ingress {
    /// What is known of what `replica` has to do.
    pub(crate) fn burden(&self, replica: &Replica, now: Instant) -> Burden {
        let own = self.inflight.count(replica.claim);
        let told = match replica.place {
            // All requests of an engine pass its node.
            Place::Local(Backend::Engine(_)) => Some(0),
            Place::Local(Backend::Gateway(_)) | Place::Remote => {
                let fresh = self.loads.get(replica.claim, now).as_ref().map(loads::requests);
                let gossiped = || replica.load.as_ref().map(loads::requests);
                fresh.or_else(|| gossiped().map(|requests| requests - requests / ROUNDING))
            }
        };
        Burden { own, told, at_most: self.said_full.at_most(replica.claim, now) }
    }

    /// What the replicas of `route` have to do on average, as far as they have said.
    pub(crate) fn mean_burden(&self, route: &Route, now: Instant) -> u32 {
        let loads = route.replicas.iter().filter_map(|replica| {
            let Burden { own, told, .. } = self.burden(replica, now);
            told.map(|told| u64::from(own.max(told)))
        });
        let (count, sum) = loads.fold((0, 0), |(count, sum), load| (count + 1, sum + load));
        u32::try_from(sum.checked_div(count).unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The room of all replicas of `route`.
    pub(crate) fn rooms(&self, route: &Route, now: Instant) -> Rooms {
        let mean = self.mean_burden(route, now);
        let room = |replica: &Replica| (replica.claim, self.burden(replica, now).room(route.max_inflight, mean));
        Rooms(route.replicas.iter().map(room).collect())
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{NodeId, UnixMillis};

    use super::*;
    use crate::inflight::InFlight;

    #[test]
    fn room_is_what_is_left_of_the_limit_and_unknown_is_the_mean() {
        let burden = Burden { own: 3, told: Some(5), at_most: None };
        assert_eq!(burden.room(Some(8), 0), 3);
        assert_eq!(burden.room(None, 0), u32::MAX - 5);
        assert_eq!(Burden { told: None, ..burden }.room(Some(8), 6), 2);
        assert_eq!(Burden { told: None, ..burden }.room(Some(8), 1), 5, "its own are known");
        assert_eq!(Burden { own: 9, ..burden }.room(Some(8), 0), 0);
    }

    /// What admission costs a request where nobody waits and replicas have room. Prints it: `cargo test --release -p
    /// shoal-ingress --lib cost_of -- --ignored --nocapture`.
    #[test]
    #[ignore = "measures, and asserts nothing"]
    fn cost_of_admission_where_nobody_waits() {
        const TIMES: u32 = 1_000_000;
        let claim = ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter: 1 };
        let (inflight, full) = (std::sync::Arc::new(InFlight::default()), SaidFull::default());
        let start = Instant::now();
        for _ in 0..TIMES {
            // The look for others that wait, the room of the replica, and the look for others when it is over.
            std::hint::black_box(inflight.bell.anybody_waits());
            let at_most = full.at_most(claim, start);
            std::hint::black_box(Burden { own: 3, told: Some(5), at_most }.room(Some(256), 0));
            inflight.bell.freed();
        }
        println!("admission: {:?} per request", start.elapsed() / TIMES);
        let start = Instant::now();
        for _ in 0..TIMES {
            drop(std::hint::black_box(inflight.enter_within(claim, 256)));
        }
        println!("a place at a replica, taken and given back: {:?}", start.elapsed() / TIMES);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_that_it_is_full_gets_no_more_than_it_had_for_a_while() {
        let claim = ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter: 1 };
        let (full, now) = (SaidFull::default(), Instant::now());
        assert_eq!(full.at_most(claim, now), None);
        full.note(claim, 4, now);
        let room = |own, now| Burden { own, told: Some(0), at_most: full.at_most(claim, now) }.room(Some(64), 0);
        assert_eq!((room(4, now), room(3, now)), (0, 1));
        assert_eq!(room(4, now + BELIEVED_FOR), 60);
        assert!(!full.is_any.load(Ordering::Relaxed));
    }
}
