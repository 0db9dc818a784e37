//! Loads that came with answers, which is faster than gossip for a busy ingress.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shoal_types::{ClaimId, Load};
use tokio::time::Instant;

/// How long a load that came with an answer is taken for newer than the gossiped one.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// The latest load that each replica sent along with an answer.
#[derive(Debug, Default)]
pub(crate) struct FreshLoads {
    loads: Mutex<HashMap<ClaimId, (Load, Instant)>>,
}

impl FreshLoads {
    /// Notes what `claim` said at `now`.
    pub(crate) fn note(&self, claim: ClaimId, load: Load, now: Instant) {
        self.lock().insert(claim, (load, now));
    }

    /// What `claim` said, unless that is too long ago.
    pub(crate) fn get(&self, claim: ClaimId, now: Instant) -> Option<Load> {
        let loads = self.lock();
        loads.get(&claim).filter(|(_, at)| now < *at + FRESH_FOR).map(|(load, _)| *load)
    }

    /// Forgets all but `claims`.
    pub(crate) fn retain(&self, claims: &HashSet<ClaimId>) {
        self.lock().retain(|claim, _| claims.contains(claim));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimId, (Load, Instant)>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many requests `load` stands for: those that shoal counts, or those that the engine counts if that is more.
pub(crate) fn requests(load: &Load) -> u32 {
    let engine = load.running.unwrap_or(0).saturating_add(load.waiting.unwrap_or(0));
    load.inflight.max(engine)
}

#[cfg(test)]
mod tests {
    use shoal_types::{NodeId, UnixMillis};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_load_is_fresh_for_a_while_and_gone_with_its_claim() {
        let claim = ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter: 1 };
        let (loads, now) = (FreshLoads::default(), Instant::now());
        loads.note(claim, Load { inflight: 3, ..Load::default() }, now);
        assert_eq!(loads.get(claim, now).map(|load| load.inflight), Some(3));
        assert_eq!(loads.get(claim, now + FRESH_FOR), None);
        loads.retain(&HashSet::new());
        assert_eq!(loads.get(claim, now), None);
    }

    #[test]
    fn the_larger_of_both_counts_is_the_load() {
        assert_eq!(requests(&Load { inflight: 3, running: Some(1), waiting: None, kv_cache: None }), 3);
        assert_eq!(requests(&Load { inflight: 0, running: Some(4), waiting: Some(2), kv_cache: None }), 6);
    }
}
