//! What replicas say of their load, and what has happened here since.

use std::time::Duration;

use shoal_types::Load;
use tokio::time::Instant;

use super::{Burden, Requests};

/// How long a load that came with an answer is taken for newer than the gossiped one.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// What a replica said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    load: Load,
    at: Instant,
    /// Requests that it had from here then.
    own: u32,
}

impl Heard {
    pub(super) const fn new(load: Load, own: u32, at: Instant) -> Self {
        Self { load, at, own }
    }

    pub(super) fn says(&self, load: Load) -> bool {
        self.load == load
    }

    /// With those that it has been given from here since, `own` now, and without those that it has finished.
    fn requests(&self, own: u32) -> Requests {
        let said = requests(&self.load).saturating_add(own).saturating_sub(self.own);
        Requests { all: said.max(own), waiting: self.load.waiting.unwrap_or(0) }
    }
}

/// What a replica of another node has to do, by what it said along with an answer, and by gossip.
pub(super) fn burden(rode: Option<Heard>, gossip: Option<Heard>, own: u32, now: Instant) -> Burden {
    match (rode.filter(|heard| now < heard.at + FRESH_FOR), gossip) {
        (Some(rode), _) => Burden::Fresh(rode.requests(own)),
        (None, Some(gossip)) => Burden::Stale(gossip.requests(own), now.saturating_duration_since(gossip.at)),
        (None, None) => Burden::Unknown(own),
    }
}

/// The same of a replica of this node. Its requests are counted here, all of them; what its engine says of them is a
/// second old at most, and may be more than came through shoal.
pub(super) fn own_burden(load: Option<&Load>, own: u32) -> Burden {
    let engine = load.map_or_else(Load::default, |load| Load { inflight: 0, ..*load });
    Burden::Fresh(Requests { all: requests(&engine).max(own), waiting: engine.waiting.unwrap_or(0) })
}

/// How many requests `load` stands for: those that shoal counts, or those that the engine counts if that is more.
fn requests(load: &Load) -> u32 {
    let engine = load.running.unwrap_or(0).saturating_add(load.waiting.unwrap_or(0));
    load.inflight.max(engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(inflight: u32) -> Load {
        Load { inflight, ..Load::default() }
    }

    fn all(all: u32) -> Requests {
        Requests { all, waiting: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_with_an_answer_is_newer_than_gossip_for_a_while() {
        let now = Instant::now();
        let (rode, gossip) = (Some(Heard::new(load(3), 0, now)), Some(Heard::new(load(9), 0, now)));
        assert_eq!(burden(rode, gossip, 0, now), Burden::Fresh(all(3)));
        assert_eq!(burden(rode, gossip, 0, now + FRESH_FOR), Burden::Stale(all(9), FRESH_FOR));
        assert_eq!(burden(rode, None, 1, now + FRESH_FOR), Burden::Unknown(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_since_counts_and_what_was_finished_does_not() {
        let now = Instant::now();
        let at = |own| burden(None, Some(Heard::new(load(10), 4, now)), own, now);
        assert_eq!(at(7), Burden::Stale(all(13), Duration::ZERO));
        assert_eq!(at(1), Burden::Stale(all(7), Duration::ZERO));
        let wrong = burden(None, Some(Heard::new(load(0), 0, now)), 5, now);
        assert_eq!(wrong, Burden::Stale(all(5), Duration::ZERO));
    }

    #[test]
    fn the_own_count_of_an_own_replica_is_exact() {
        let engine = Load { inflight: 64, running: Some(4), waiting: Some(2), kv_cache: None };
        assert_eq!(own_burden(Some(&engine), 3), Burden::Fresh(Requests { all: 6, waiting: 2 }));
        assert_eq!(own_burden(Some(&load(64)), 3), Burden::Fresh(all(3)), "gossip rounds, and is late");
        assert_eq!(own_burden(None, 3), Burden::Fresh(all(3)));
    }

    #[test]
    fn the_larger_of_both_counts_is_the_load() {
        assert_eq!(requests(&Load { inflight: 3, running: Some(1), waiting: None, kv_cache: None }), 3);
        assert_eq!(requests(&Load { inflight: 0, running: Some(4), waiting: Some(2), kv_cache: None }), 6);
    }
}
