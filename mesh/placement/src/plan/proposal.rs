//! The mesh as it would be: the same nodes, other endpoints.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shoal_types::{
    Claim, Endpoint, EndpointName, EndpointRecord, Hlc, Mandate, NodeView, PastRevision, Revision, RolloutPhase, Share,
    UnixMillis, View,
};

use super::{Change, placing::Bid};
use crate::{desired::Desired, memory::Memory, muster::muster, scene::Scene};

/// Endpoints as they would be.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) view: View,
    /// What stewards would have said once all rollouts are over.
    pub(super) memory: Memory,
    changes: BTreeMap<EndpointName, Change>,
}

impl Proposal {
    pub(super) fn new(scene: &Scene<'_>, proposed: &[Endpoint]) -> Self {
        let mut proposal = Self { view: scene.view.clone(), memory: scene.memory.clone(), changes: BTreeMap::new() };
        for endpoint in proposed {
            let name = &endpoint.metadata.name;
            let before = scene.view.endpoints.get(name);
            let version = next_version(scene, before.map(|record| record.version.time));
            let record = before.map_or_else(|| create(endpoint, version), |before| succeed(before, endpoint, version));
            if let Some(before) = before.filter(|before| before.revision != record.revision) {
                proposal.memory.suppose(scene.view.me, finished(scene, before, &record));
            }
            proposal.changes.insert(name.clone(), change(before, &record));
            proposal.view.endpoints.insert(name.clone(), Arc::new(record));
        }
        proposal
    }

    /// What every endpoint of the mesh wants and has.
    pub(super) fn bids<'a>(&'a self, future: &Scene<'a>) -> Vec<Bid<'a>> {
        let mut claims: BTreeMap<&EndpointName, Vec<(&'a NodeView, &'a Claim)>> = BTreeMap::new();
        for (node, claim) in self.view.claims() {
            claims.entry(&claim.endpoint).or_default().push((node, claim));
        }
        let bid = |(name, record): (&'a EndpointName, &'a Arc<EndpointRecord>)| {
            let muster = muster(future, record, &claims.remove(name).unwrap_or_default());
            Bid { record, change: self.changes.get(name).copied(), muster }
        };
        self.view.endpoints.iter().map(bid).collect()
    }
}

/// A version later than all that there are of the endpoint.
fn next_version(scene: &Scene<'_>, before: Option<UnixMillis>) -> Hlc {
    let time = before.map_or(scene.now, |before| scene.now.max(before.plus(Duration::from_millis(1))));
    Hlc { time, counter: 0, node: scene.view.me }
}

fn create(endpoint: &Endpoint, version: Hlc) -> EndpointRecord {
    EndpointRecord { endpoint: endpoint.clone(), revision: Revision(version), version, previous: Vec::new() }
}

/// The record once `endpoint` stands where `before` stood, as the store makes it: going back to what a remembered
/// revision ran is going back to that revision.
fn succeed(before: &EndpointRecord, endpoint: &Endpoint, version: Hlc) -> EndpointRecord {
    let mut record = EndpointRecord { endpoint: endpoint.clone(), version, ..before.clone() };
    if !before.endpoint.spec.needs_new_processes(&endpoint.spec) {
        return record;
    }
    let known = before.previous.iter().find(|past| !past.spec.needs_new_processes(&endpoint.spec));
    record.revision = known.map_or(Revision(version), |past| past.revision);
    record.previous.retain(|past| past.revision != record.revision);
    record.previous.insert(0, PastRevision { revision: before.revision, spec: before.endpoint.spec.clone() });
    record
}

fn change(before: Option<&Arc<EndpointRecord>>, record: &EndpointRecord) -> Change {
    match before {
        None => Change::Created,
        Some(before) if before.revision != record.revision => Change::Revised,
        Some(before) if before.endpoint != record.endpoint => Change::Adjusted,
        Some(_) => Change::Unchanged,
    }
}

/// What the steward says when the rollout of `record` is over: as many replicas as there should be now, all of them new.
fn finished(scene: &Scene<'_>, before: &EndpointRecord, record: &EndpointRecord) -> Mandate {
    let replicas = record.endpoint.spec.replicas.clamp(Desired::of(scene, before).total());
    let name = &record.endpoint.metadata.name;
    Mandate {
        endpoint: name.clone(),
        epoch: scene.memory.mandate(name).map_or(0, |heard| heard.mandate.epoch.saturating_add(1)),
        version: record.version,
        shares: vec![Share { revision: record.revision, replicas, weight: 100 }],
        rollout: RolloutPhase::Complete,
        reason: String::new(),
        since: scene.now,
    }
}
