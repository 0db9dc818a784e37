//! One node that is the steward of endpoint `a`, and holds all its replicas.

use std::{sync::Arc, time::Duration};

use shoal_types::{
    ClaimId, Demand, EndpointRecord, EndpointSpec, Load, Mandate, Outcome, PastRevision, Refusal, ReplicaState,
    Revision, RolloutPhase,
};

use crate::{
    Memory, RolloutStatus, Scene, Steward, rollout_status,
    tests::fleet::{Fleet, at, id, name},
};

/// A node, what it remembers, and the time in seconds.
pub(super) struct Stage {
    pub(super) fleet: Fleet,
    pub(super) memory: Memory,
    pub(super) now: u64,
    steward: Steward,
}

impl Stage {
    /// Endpoint `a` with a spec changed by `change`.
    pub(super) fn new(change: impl FnOnce(&mut EndpointSpec)) -> Self {
        let fleet = Fleet::new().node(1, 8).endpoint("a", 0, 1).spec("a", change);
        Self { fleet, memory: Memory::default(), now: 0, steward: Steward::new(id(1)) }
    }

    /// One step of the steward, published.
    pub(super) fn say(&mut self) -> Mandate {
        self.memory.observe(&self.fleet.view, at(self.now));
        let scene = Scene { view: &self.fleet.view, memory: &self.memory, now: at(self.now) };
        let mandate = self.steward.step(&scene).mandates.remove(0);
        self.fleet.node_mut(1).mandates.insert(name("a"), mandate.clone());
        mandate
    }

    /// Steps once a second for `seconds`; the last word.
    pub(super) fn run(&mut self, seconds: u64) -> Mandate {
        for _ in 0..seconds {
            self.now += 1;
            self.say();
        }
        self.say()
    }

    /// Steps only when the steward asks for it, for `seconds`; the last word, and how many steps that took.
    pub(super) fn sleep(&mut self, seconds: u64) -> (Mandate, usize) {
        let (end, mut steps) = (at(self.now + seconds), 0);
        loop {
            self.memory.observe(&self.fleet.view, at(self.now));
            let scene = Scene { view: &self.fleet.view, memory: &self.memory, now: at(self.now) };
            let mut word = self.steward.step(&scene);
            let mandate = word.mandates.remove(0);
            self.fleet.node_mut(1).mandates.insert(name("a"), mandate.clone());
            match word.wake {
                Some(wake) if wake <= end => self.now = wake.since(at(0)).as_millis().div_ceil(1_000) as u64,
                _ => {
                    self.now = end.since(at(0)).as_secs();
                    return (mandate, steps);
                }
            }
            steps += 1;
        }
    }

    pub(super) fn record(&self) -> &EndpointRecord {
        self.fleet.record("a")
    }

    /// Changes the spec, as a write that needs no new processes does.
    pub(super) fn write(&mut self, change: impl FnOnce(&mut EndpointSpec)) {
        let now = at(self.now);
        let record = self.record_mut();
        record.version.counter += 1;
        record.version.time = now;
        change(&mut record.endpoint.spec);
    }

    /// Applies a new revision, and keeps the one before.
    pub(super) fn apply(&mut self) -> Revision {
        let record = self.record();
        let past = PastRevision { revision: record.revision, spec: record.endpoint.spec.clone() };
        self.record_mut().previous.insert(0, past);
        self.write(|_| {});
        let record = self.record_mut();
        record.revision = Revision(record.version);
        record.revision
    }

    /// Goes back to the revision before, and keeps the present one.
    pub(super) fn undo(&mut self) -> Revision {
        let present = self.apply();
        let record = self.record_mut();
        let (left, back) = (record.previous.remove(0), record.previous.remove(0));
        record.previous = vec![left];
        record.revision = back.revision;
        assert_ne!(present, back.revision);
        back.revision
    }

    pub(super) fn record_mut(&mut self) -> &mut EndpointRecord {
        Arc::make_mut(self.fleet.view.endpoints.get_mut(&name("a")).unwrap())
    }

    /// Adds a replica of `revision`.
    pub(super) fn replica(&mut self, revision: Revision, state: ReplicaState) -> ClaimId {
        let claim = self.fleet.claim(1, "a", state, self.now);
        self.fleet.node_mut(1).claims.get_mut(&claim).unwrap().revision = revision;
        claim
    }

    /// Makes the replicas of `revision` so many that serve.
    pub(super) fn ready(&mut self, revision: Revision, count: usize) {
        self.fleet.node_mut(1).claims.retain(|_, claim| claim.revision != revision);
        for _ in 0..count {
            self.replica(revision, ReplicaState::Ready);
        }
    }

    /// What the mandate wants comes to be at once.
    pub(super) fn follow(&mut self) -> Mandate {
        let mandate = self.say();
        self.fleet.node_mut(1).claims.clear();
        mandate.shares.iter().for_each(|share| self.ready(share.revision, share.replicas as usize));
        self.say()
    }

    pub(super) fn load(&mut self, claim: ClaimId, load: Load) {
        self.fleet.node_mut(1).loads.insert(claim, load);
    }

    pub(super) fn crash(&mut self, claim: ClaimId, crashes: u32) {
        self.fleet.node_mut(1).claims.get_mut(&claim).unwrap().crashes = crashes;
    }

    pub(super) fn refuse(&mut self, revision: Revision) {
        let refusal = Refusal {
            cause: shoal_types::RefusalCause::Unfit,
            endpoint: name("a"),
            revision,
            until: at(self.now + 3_600),
            reason: String::new(),
        };
        self.fleet.node_mut(1).refusals.push(refusal);
    }

    pub(super) fn demand(&mut self, change: impl FnOnce(&mut Demand)) {
        let demands = &mut self.fleet.node_mut(1).demands;
        change(demands.entry(name("a")).or_insert_with(nothing));
    }

    pub(super) fn inflight(&mut self, inflight: u32) {
        self.demand(|demand| (demand.inflight, demand.arrivals) = (inflight, inflight));
    }

    /// Says how requests of `revision` went, `slow` milliseconds to each first token.
    pub(super) fn outcome(&mut self, revision: Revision, requests: u32, failed: u32, slow: u64) {
        let mut outcome = Outcome { requests, failed, ..Outcome::none(revision) };
        (0..requests).for_each(|_| outcome.ttft.record(Duration::from_millis(slow)));
        self.demand(|demand| {
            demand.outcomes.retain(|outcome| outcome.revision != revision);
            demand.outcomes.push(outcome);
        });
    }

    pub(super) fn status(&self) -> RolloutStatus {
        let scene = Scene { view: &self.fleet.view, memory: &self.memory, now: at(self.now) };
        rollout_status(&scene, self.record())
    }
}

pub(super) fn nothing() -> Demand {
    Demand { endpoint: name("a"), inflight: 0, held: 0, arrivals: 0, tokens: 0, hourly: 0, outcomes: Vec::new() }
}

/// Replicas of each share.
pub(super) fn counts(mandate: &Mandate) -> Vec<u32> {
    mandate.shares.iter().map(|share| share.replicas).collect()
}

/// Percent of the requests of each share.
pub(super) fn weights(mandate: &Mandate) -> Vec<u8> {
    mandate.shares.iter().map(|share| share.weight).collect()
}

/// Without the time.
pub(super) fn phase(mandate: &Mandate) -> (&'static str, u8) {
    match mandate.rollout {
        RolloutPhase::Complete => ("complete", 0),
        RolloutPhase::Progressing { step, ready: None } => ("progressing", step),
        RolloutPhase::Progressing { step, ready: Some(_) } => ("ready", step),
        RolloutPhase::Paused { step } => ("paused", step),
        RolloutPhase::RolledBack => ("rolled back", 0),
    }
}
