//! What failed a moment ago, here and now: faster than gossip, and told to nobody.

mod circuit;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use shoal_types::{ClaimId, NodeId};
use tokio::time::Instant;

pub(crate) use circuit::Blow;
use circuit::Circuit;

/// What can be avoided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Suspect {
    /// A node that did not answer, or broke a stream.
    Node(NodeId),
    /// A replica whose engine failed, or that its node no longer has.
    Replica(ClaimId),
}

/// The circuits of all replicas and nodes that failed lately. One that is not listed is closed.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    circuits: Mutex<HashMap<Suspect, Circuit>>,
    /// How many are listed, so that nothing is locked while nothing fails.
    listed: AtomicUsize,
}

impl Circuits {
    /// Notes that `suspect` failed at `now`; `random` spreads the times of those that failed together.
    pub(crate) fn failed(&self, suspect: Suspect, blow: Blow, now: Instant, random: u8) {
        self.change(|circuits| {
            // Only failures are entered, and each of them forgets what is well again: no larger than what is routed to.
            circuits.retain(|_, circuit| !circuit.is_forgotten(now));
            circuits.entry(suspect).or_insert_with(|| Circuit::new(now)).failed(blow, now, random);
        });
    }

    /// Notes that `claim` on `node` has begun to answer at `now`.
    pub(crate) fn succeeded(&self, node: NodeId, claim: ClaimId, now: Instant) {
        if self.is_quiet() {
            return;
        }
        self.change(|circuits| {
            for suspect in suspects(node, claim) {
                if let Some(circuit) = circuits.get_mut(&suspect) {
                    circuit.succeeded(now);
                }
            }
        });
    }

    /// Whether `claim` on `node` should be avoided at `now`.
    pub(crate) fn avoids(&self, node: NodeId, claim: ClaimId, now: Instant) -> bool {
        if self.is_quiet() {
            return false;
        }
        let circuits = self.lock();
        suspects(node, claim).iter().any(|suspect| circuits.get(suspect).is_some_and(|circuit| !circuit.admits(now)))
    }

    /// Takes the turn to find out at `now` whether `claim` on `node` is well again, if it is to be found out. Returns
    /// whether a request may go there: not where another one has just taken that turn.
    pub(crate) fn enter(&self, node: NodeId, claim: ClaimId, now: Instant) -> bool {
        if self.is_quiet() {
            return true;
        }
        let mut circuits = self.lock();
        let all_admit =
            suspects(node, claim).iter().all(|suspect| circuits.get(suspect).is_none_or(|circuit| circuit.admits(now)));
        if all_admit {
            for suspect in suspects(node, claim) {
                if let Some(circuit) = circuits.get_mut(&suspect) {
                    circuit.probe(now);
                }
            }
        }
        all_admit
    }

    /// Forgets all but `claims` and their nodes.
    pub(crate) fn retain(&self, claims: &HashSet<ClaimId>) {
        if self.is_quiet() {
            return;
        }
        let nodes: HashSet<NodeId> = claims.iter().map(|claim| claim.node).collect();
        self.change(|circuits| {
            circuits.retain(|suspect, _| match suspect {
                Suspect::Node(node) => nodes.contains(node),
                Suspect::Replica(claim) => claims.contains(claim),
            });
        });
    }

    fn is_quiet(&self) -> bool {
        self.listed.load(Ordering::Relaxed) == 0
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<Suspect, Circuit>)) {
        let mut circuits = self.lock();
        change(&mut circuits);
        self.listed.store(circuits.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Suspect, Circuit>> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn suspects(node: NodeId, claim: ClaimId) -> [Suspect; 2] {
    [Suspect::Node(node), Suspect::Replica(claim)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_types::UnixMillis;

    use super::*;

    fn claim(node: u8) -> ClaimId {
        ClaimId { node: NodeId::from_bytes([node; 16]), generation: UnixMillis::from_millis(1), counter: 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_avoided_and_nothing_else() {
        let circuits = Circuits::default();
        let (now, a, b) = (Instant::now(), claim(1), claim(2));
        circuits.failed(Suspect::Node(a.node), Blow::Hard, now, 0);
        circuits.failed(Suspect::Replica(b), Blow::Hard, now, 0);
        assert!(circuits.avoids(a.node, a, now) && circuits.avoids(b.node, b, now));
        assert!(!circuits.avoids(b.node, ClaimId { counter: 2, ..b }, now));
        assert!(!circuits.enter(a.node, a, now));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_finds_out_whether_a_replica_is_well_again() {
        let circuits = Circuits::default();
        let (now, a) = (Instant::now(), claim(1));
        circuits.failed(Suspect::Replica(a), Blow::Hard, now, 0);
        let later = now + Duration::from_secs(2);
        assert!(!circuits.avoids(a.node, a, later));
        assert_eq!([circuits.enter(a.node, a, later), circuits.enter(a.node, a, later)], [true, false]);
        assert!(circuits.avoids(a.node, a, later), "the others wait for what it finds");
        circuits.succeeded(a.node, a, later);
        assert!(!circuits.avoids(a.node, a, later) && circuits.enter(a.node, a, later));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_routed_to_is_forgotten() {
        let circuits = Circuits::default();
        let (now, a, b) = (Instant::now(), claim(1), claim(2));
        for suspect in [Suspect::Node(a.node), Suspect::Replica(a), Suspect::Replica(b)] {
            circuits.failed(suspect, Blow::Hard, now, 0);
        }
        circuits.retain(&HashSet::from([a]));
        assert_eq!(circuits.lock().len(), 2);
        circuits.retain(&HashSet::new());
        assert!(circuits.is_quiet());
    }
}
