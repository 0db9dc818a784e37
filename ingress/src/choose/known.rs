//! What this ingress knows of one replica by its own requests.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shoal_types::{ClaimId, Load};
use tokio::time::Instant;

use super::{
    Burden,
    belief::Belief,
    cost::prefill,
    hash::seed,
    heard::{Heard, burden, own_burden},
};
use crate::{
    inflight::InFlight,
    routes::{Place, Replica},
};

/// What this ingress knows of one replica; it stays while routes come and go.
#[derive(Debug)]
pub(crate) struct Known {
    claim: ClaimId,
    key: u64,
    inflight: Arc<InFlight>,
    state: Mutex<State>,
}

/// What a replica has to do, and how much of a prompt.
#[derive(Debug)]
pub(super) struct Outlook {
    pub(super) burden: Burden,
    /// How long it will be busy with prompts from here.
    pub(super) backlog: Duration,
    /// How many of the prompt's blocks it is believed to have.
    pub(super) held: usize,
}

#[derive(Debug, Default)]
struct State {
    /// What came with its latest answer.
    rode: Option<Heard>,
    gossip: Option<Heard>,
    /// Bytes of prompts that it was sent from here and that it has not begun to answer.
    computing: usize,
    /// When it will have computed them, if it computes as fast as is usual.
    busy_until: Option<Instant>,
    belief: Belief,
}

impl Known {
    pub(super) fn new(claim: ClaimId, inflight: Arc<InFlight>) -> Self {
        let ClaimId { node, generation, counter } = claim;
        let key = seed(&[node.as_bytes(), &generation.as_millis().to_le_bytes(), &counter.to_le_bytes()]);
        Self { claim, key, inflight, state: Mutex::default() }
    }

    /// By which it is a prompt's home or not: the same on all nodes.
    pub(super) const fn key(&self) -> u64 {
        self.key
    }

    /// Notes the `load` that came with an answer: what it has beside that request, which is still counted here.
    pub(crate) fn note(&self, load: Load, now: Instant) {
        let own = self.inflight.count(self.claim).saturating_sub(1);
        self.lock().rode = Some(Heard::new(load, own, now));
    }

    /// Notes what gossip says of it. What it has said before is as old as it was.
    pub(super) fn hear(&self, load: Option<Load>, now: Instant) {
        let own = self.inflight.count(self.claim);
        let mut state = self.lock();
        if let Some(load) = load.filter(|load| !state.gossip.is_some_and(|heard| heard.says(*load))) {
            state.gossip = Some(Heard::new(load, own, now));
        }
    }

    /// What it has to do; `own` requests it has from here.
    pub(super) fn burden(&self, replica: &Replica, own: u32, now: Instant) -> Burden {
        self.lock().burden(replica, own, now)
    }

    /// The same, and what it is to a prompt of these `blocks`.
    pub(super) fn outlook(&self, replica: &Replica, own: u32, blocks: &[u64], now: Instant) -> Outlook {
        let state = self.lock();
        Outlook {
            burden: state.burden(replica, own, now),
            backlog: state.backlog(now),
            held: state.belief.held(blocks),
        }
    }

    /// Notes that it is sent a prompt of these `blocks`, of which `uncached` bytes are not in its cache; it has them before
    /// it until what is returned is dropped.
    pub(super) fn give(self: &Arc<Self>, blocks: &[u64], uncached: usize, now: Instant) -> Computing {
        let mut state = self.lock();
        state.belief.enter(blocks);
        state.computing += uncached;
        state.busy_until = Some(state.busy_until.map_or(now, |until| until.max(now)) + prefill(uncached));
        Computing { known: Arc::clone(self), bytes: uncached }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn burden(&self, replica: &Replica, own: u32, now: Instant) -> Burden {
        match replica.place {
            Place::Local(_) => own_burden(replica.load.as_ref(), own),
            Place::Remote => burden(self.rode, self.gossip, own, now),
        }
    }

    /// How long it will be busy with prompts from here. By what it has not begun to answer, which is too much where answers
    /// come whole; and by the time that has passed, which is wrong where an engine is slower or faster than is usual.
    fn backlog(&self, now: Instant) -> Duration {
        let left = self.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        left.min(prefill(self.computing))
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
        let mut state = self.known.lock();
        state.computing -= self.bytes;
        if state.computing == 0 {
            state.busy_until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{NodeId, UnixMillis};

    use super::*;

    fn known() -> Arc<Known> {
        let claim = ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter: 1 };
        Arc::new(Known::new(claim, Arc::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_busy_until_it_has_computed_or_answered() {
        let (known, now) = (known(), Instant::now());
        let (first, second) = (known.give(&[1], 10_000, now), known.give(&[1, 2], 30_000, now));
        assert_eq!(known.lock().backlog(now), prefill(40_000));
        assert_eq!(known.lock().backlog(now + prefill(15_000)), prefill(25_000));
        drop(first);
        assert_eq!(known.lock().backlog(now), prefill(30_000));
        drop(second);
        assert_eq!(known.lock().backlog(now), Duration::ZERO);
        assert_eq!(known.lock().belief.held(&[1, 2, 3]), 2);
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
        let age = |known: &Known| match burden(None, known.lock().gossip, 0, later) {
            Burden::Stale(_, age) => age,
            other => panic!("{other:?}"),
        };
        assert_eq!(age(&known), Duration::from_secs(1));
        known.hear(Some(Load { inflight: 4, ..load }), later);
        assert_eq!(age(&known), Duration::ZERO);
    }
}
