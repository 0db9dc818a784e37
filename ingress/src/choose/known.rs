//! What this ingress knows of one replica by its own requests.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use shoal_types::{ClaimId, Load};
use tokio::time::Instant;

use super::{
    Burden,
    belief::Belief,
    cost::{Cost, prefill},
    hash::seed,
    heard::{Heard, burden, own_burden},
};
use crate::{
    inflight::{Count, InFlight, Serving},
    routes::{Place, Replica},
};

/// What this ingress knows of one replica; it stays while routes come and go.
///
/// Every choice reads that of every replica, and writes that of one, without a lock for those of this node. What is written each time
/// comes first, beside the number of references.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Known {
    /// Bytes of prompts that it was sent from here and that it has not begun to answer.
    computing: AtomicUsize,
    /// When it will have computed them, if it computes as fast as is usual: in nanoseconds after `since`, 0 if it has none.
    busy_until: AtomicU64,
    since: Instant,
    key: u64,
    count: Arc<Count>,
    belief: Belief,
    said: Mutex<Said>,
}

/// What a replica has to do, and how much of a prompt.
#[derive(Debug)]
pub(super) struct Outlook {
    pub(super) burden: Burden,
    /// How long it will be busy with prompts from here.
    pub(super) backlog: Cost,
    /// How many of the prompt's blocks it is believed to have.
    pub(super) held: usize,
}

/// What a replica of another node said of its load.
#[derive(Debug, Default, Clone, Copy)]
struct Said {
    /// What came with its latest answer.
    rode: Option<Heard>,
    gossip: Option<Heard>,
}

impl Known {
    pub(super) fn new(claim: ClaimId, inflight: &InFlight) -> Self {
        let ClaimId { node, generation, counter } = claim;
        let key = seed(&[node.as_bytes(), &generation.as_millis().to_le_bytes(), &counter.to_le_bytes()]);
        Self {
            computing: AtomicUsize::new(0),
            busy_until: AtomicU64::new(0),
            since: Instant::now(),
            key,
            count: inflight.of(claim),
            belief: Belief::default(),
            said: Mutex::default(),
        }
    }

    /// By which it is a prompt's home or not: the same on all nodes.
    pub(super) const fn key(&self) -> u64 {
        self.key
    }

    /// Requests that it has from here.
    pub(super) fn own(&self) -> u32 {
        self.count.get()
    }

    /// One more request for it, unless it has `limit`.
    pub(super) fn enter_within(&self, limit: u32) -> Option<Serving> {
        self.count.enter_within(limit)
    }

    /// Notes the `load` that came with an answer: what it has beside that request, which is still counted here.
    pub(crate) fn note(&self, load: Load, now: Instant) {
        let rode = Heard::new(load, self.own().saturating_sub(1), now);
        self.said().rode = Some(rode);
    }

    /// Notes what gossip says of it. What it has said before is as old as it was.
    pub(super) fn hear(&self, load: Option<Load>, now: Instant) {
        let (own, mut said) = (self.own(), self.said());
        let is_news = |load: &Load| !said.gossip.is_some_and(|heard| heard.says(*load));
        if let Some(load) = load.filter(is_news) {
            said.gossip = Some(Heard::new(load, own, now));
        }
    }

    /// Locked no longer than to copy it.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has to do; `own` requests it has from here.
    pub(super) fn burden(&self, replica: &Replica, own: u32, now: Instant) -> Burden {
        match replica.place {
            Place::Local(_) => own_burden(replica.load.as_ref(), own),
            Place::Remote => {
                let Said { rode, gossip } = *self.said();
                burden(rode, gossip, own, now)
            }
        }
    }

    /// The same, and what it is to a prompt of these `blocks`.
    pub(super) fn outlook(&self, replica: &Replica, own: u32, blocks: &[u64], now: Instant) -> Outlook {
        Outlook { burden: self.burden(replica, own, now), backlog: self.backlog(now), held: self.belief.held(blocks) }
    }

    /// How long it will be busy with prompts from here. By what it has not begun to answer, which is too much where answers
    /// come whole; and by the time that has passed, which is wrong where an engine is slower or faster than is usual.
    fn backlog(&self, now: Instant) -> Cost {
        match self.busy_until.load(Ordering::Relaxed) {
            0 => Cost::ZERO,
            until => {
                let left = until.saturating_sub(self.age(now));
                Cost::from_nanos(left).min(prefill(self.computing.load(Ordering::Relaxed)))
            }
        }
    }

    /// Notes that it is sent a prompt of these `blocks`, of which `uncached` bytes are not in its cache; it has them before
    /// it until what is returned is dropped.
    pub(super) fn give(self: &Arc<Self>, blocks: &[u64], uncached: usize, now: Instant) -> Computing {
        self.belief.enter(blocks);
        // In this order, see `Computing`.
        self.computing.fetch_add(uncached, Ordering::AcqRel);
        let (now, takes) = (self.age(now), prefill(uncached).as_nanos());
        let later = |until: u64| Some(until.max(now).saturating_add(takes));
        let _ = self.busy_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
        Computing { known: Arc::clone(self), bytes: uncached }
    }

    fn age(&self, now: Instant) -> u64 {
        Cost::from(now.saturating_duration_since(self.since)).as_nanos()
    }
}

/// A prompt that a replica has before it. Dropped when the answer begins, or when there is none.
#[derive(Debug)]
pub(crate) struct Computing {
    known: Arc<Known>,
    bytes: usize,
}

impl Drop for Computing {
    fn drop(&mut self) {
        let Known { computing, busy_until, .. } = &*self.known;
        let until = busy_until.load(Ordering::Acquire);
        if computing.fetch_sub(self.bytes, Ordering::AcqRel) == self.bytes {
            // It has none left. Whoever gives it one meanwhile has either been counted before, or writes another time here; then
            // what is left of the old one is taken for some that it has, for no longer than it would have been.
            let _ = busy_until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_types::{NodeId, UnixMillis};

    use super::*;

    fn known() -> Arc<Known> {
        let claim = ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter: 1 };
        Arc::new(Known::new(claim, &InFlight::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_busy_until_it_has_computed_or_answered() {
        let (known, now) = (known(), Instant::now());
        let (first, second) = (known.give(&[1], 10_000, now), known.give(&[1, 2], 30_000, now));
        assert_eq!(known.backlog(now), prefill(40_000));
        assert_eq!(known.backlog(now + Duration::from_nanos(prefill(15_000).as_nanos())), prefill(25_000));
        drop(first);
        assert_eq!(known.backlog(now), prefill(30_000));
        drop(second);
        assert_eq!(known.backlog(now), Cost::ZERO);
        assert_eq!(known.belief.held(&[1, 2, 3]), 2);
    }

    #[test]
    fn prompts_that_come_and_go_at_once_leave_nothing() {
        let (known, now) = (known(), Instant::now());
        std::thread::scope(|threads| {
            for thread in 0..4_u64 {
                let known = &known;
                threads.spawn(move || {
                    for prompt in 0..2_000 {
                        let blocks = [thread, prompt].map(|block| block + 1);
                        let computing = known.give(&blocks, 1_000, now);
                        assert!(known.backlog(now) <= prefill(4_000) && known.belief.held(&blocks) <= 2);
                        drop(computing);
                    }
                });
            }
        });
        assert_eq!(known.backlog(now), Cost::ZERO);
        assert_eq!(known.belief.held(&[4, 2_000]), 2);
    }

    /// Rule 1: what a replica has said is as old as it is, however often it is repeated.
    #[tokio::test(start_paused = true)]
    async fn rule_1_gossip_grows_old() {
        let (known, now) = (known(), Instant::now());
        let later = now + Duration::from_secs(1);
        let load = Load { inflight: 3, ..Load::default() };
        known.hear(Some(load), now);
        known.hear(Some(load), later);
        known.hear(None, later);
        let age = |known: &Known| match burden(None, known.said().gossip, 0, later) {
            Burden::Stale(_, age) => age,
            other => panic!("{other:?}"),
        };
        assert_eq!(age(&known), Duration::from_secs(1));
        known.hear(Some(Load { inflight: 4, ..load }), later);
        assert_eq!(age(&known), Duration::ZERO);
    }
}
