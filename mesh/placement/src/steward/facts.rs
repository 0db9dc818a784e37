//! What is known of one endpoint at one moment: what is asked of it, and how its replicas are.

use std::collections::BTreeMap;

use shoal_types::{
    Claim, EndpointName, EndpointRecord, Latencies, Load, NodeView, Outcome, RefusalCause, ReplicaState, Revision,
};

use crate::scene::Scene;

/// What is known of one endpoint at one moment.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Requests that replicas have.
    pub(super) inflight: u32,
    /// Requests that wait for a replica to serve.
    pub(super) held: u32,
    /// Requests that arrived in the last minute.
    pub(super) arrivals: u32,
    /// Requests that wait inside the engines; `None` if no engine has said anything.
    pub(super) waiting: Option<f64>,
    /// Shares of KV caches in use, added up: 2.4 is three at 80 %. `None` if no engine has said anything.
    pub(super) kv_cache: Option<f64>,
    strengths: BTreeMap<Revision, Strength>,
    outcomes: BTreeMap<Revision, Outcome>,
}

/// The replicas of one revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Strength {
    /// Those that serve and are not on their way out.
    pub(super) ready: u32,
    /// Those on their way to.
    pub(super) coming: u32,
    /// Crashes of its engines, and nodes that it does not fit.
    pub(super) crashes: u32,
}

impl Strength {
    /// Replicas that are there or will be.
    pub(super) const fn present(self) -> u32 {
        self.ready.saturating_add(self.coming)
    }
}

impl Facts {
    /// What `scene` tells of the endpoint of `record`.
    pub(super) fn of(scene: &Scene<'_>, record: &EndpointRecord) -> Self {
        let name = &record.endpoint.metadata.name;
        let mut facts = Self::default();
        for node in scene.view.nodes.values().filter(|node| node.is_alive()) {
            facts.count_demand(node, name);
        }
        let mut loads = Vec::new();
        for (node, claim) in scene.view.claims_of(name) {
            facts.count_claim(node, claim);
            if node.is_alive() && claim.state.serves() {
                loads.push(node.loads.get(&claim.id).copied());
            }
        }
        for refusal in scene.view.nodes.values().flat_map(|node| &node.refusals) {
            let counts = refusal.cause == RefusalCause::Unfit && refusal.until > scene.now;
            if refusal.endpoint == *name && counts {
                facts.strengths.entry(refusal.revision).or_default().crashes += 1;
            }
        }
        facts.waiting = whole(&loads, |load| load.waiting.map(f64::from));
        facts.kv_cache = whole(&loads, |load| load.kv_cache.map(|percent| f64::from(percent) / 100.0));
        facts
    }

    /// The replicas of `revision`.
    pub(super) fn strength(&self, revision: Revision) -> Strength {
        self.strengths.get(&revision).copied().unwrap_or_default()
    }

    /// How the requests of `revision` went.
    pub(super) fn outcome(&self, revision: Revision) -> Outcome {
        self.outcomes.get(&revision).cloned().unwrap_or_else(|| Outcome::none(revision))
    }

    /// Replicas of all revisions that serve.
    pub(super) fn ready(&self) -> u32 {
        self.strengths.values().map(|strength| strength.ready).sum()
    }

    /// Replicas of all revisions that serve or are on their way to.
    pub(super) fn present(&self) -> u32 {
        self.strengths.values().map(|strength| strength.present()).sum()
    }

    /// Times to first token, of the revisions that serve.
    pub(super) fn ttft(&self) -> Latencies {
        let mut all = Latencies::default();
        let serving = self.outcomes.values().filter(|outcome| self.strength(outcome.revision).ready > 0);
        serving.for_each(|outcome| all.merge(&outcome.ttft));
        all
    }

    /// Whether anybody asks for anything.
    pub(super) const fn is_asked(&self) -> bool {
        self.inflight > 0 || self.held > 0 || self.arrivals > 0
    }

    fn count_demand(&mut self, node: &NodeView, name: &EndpointName) {
        let Some(demand) = node.demands.get(name) else { return };
        self.inflight = self.inflight.saturating_add(demand.inflight);
        self.held = self.held.saturating_add(demand.held);
        self.arrivals = self.arrivals.saturating_add(demand.arrivals);
        for outcome in &demand.outcomes {
            self.outcomes.entry(outcome.revision).or_insert_with(|| Outcome::none(outcome.revision)).merge(outcome);
        }
    }

    fn count_claim(&mut self, node: &NodeView, claim: &Claim) {
        let strength = self.strengths.entry(claim.revision).or_default();
        strength.crashes = strength.crashes.saturating_add(claim.crashes);
        if !node.is_alive() || node.departure.is_some() || claim.leaving.is_some() {
            return;
        }
        match claim.state {
            ReplicaState::Ready => strength.ready += 1,
            ReplicaState::Claimed
            | ReplicaState::Preparing
            | ReplicaState::Starting
            | ReplicaState::Loading
            | ReplicaState::Warming
            | ReplicaState::Backoff => strength.coming += 1,
            ReplicaState::Draining | ReplicaState::Asleep | ReplicaState::Failed => {}
        }
    }
}

/// The sum of `value` over all replicas that serve. One that has said nothing counts as the mean of those that did, for
/// unknown is never zero; `None` if none did.
fn whole(loads: &[Option<Load>], value: impl Fn(&Load) -> Option<f64>) -> Option<f64> {
    let known: Vec<f64> = loads.iter().flatten().filter_map(value).collect();
    #[allow(clippy::cast_precision_loss)] // counts of replicas
    let scale = loads.len() as f64 / known.len() as f64;
    (!known.is_empty()).then(|| known.iter().sum::<f64>() * scale)
}
