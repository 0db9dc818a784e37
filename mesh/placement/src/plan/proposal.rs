//! The mesh as it would be: the same nodes, other endpoints.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shoal_types::{
    Claim, Endpoint, EndpointName, EndpointRecord, Hlc, NodeView, PastRevision, Revision, UnixMillis, View,
};

use super::{Change, placing::Bid};
use crate::{
    desired::Desired,
    muster::{fill, wants, wants_of},
    scene::Scene,
};

/// Endpoints as they would be.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) view: View,
    changes: BTreeMap<EndpointName, Changed>,
}

/// What changes of one endpoint.
#[derive(Debug, Clone, Copy)]
struct Changed {
    change: Change,
    /// Replicas of the new revision, once all others have gone; none if the revision stays.
    replicas: Option<u32>,
}

impl Proposal {
    pub(super) fn new(scene: &Scene<'_>, proposed: &[Endpoint]) -> Self {
        let mut proposal = Self { view: scene.view.clone(), changes: BTreeMap::new() };
        for endpoint in proposed {
            let before = scene.view.endpoints.get(&endpoint.metadata.name);
            let version = next_version(scene, before.map(|record| record.version.time));
            let record = before.map_or_else(|| create(endpoint, version), |before| succeed(before, endpoint, version));
            let changed = changed(scene, before.map(Arc::as_ref), &record);
            proposal.changes.insert(endpoint.metadata.name.clone(), changed);
            proposal.view.endpoints.insert(endpoint.metadata.name.clone(), Arc::new(record));
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
            let changed = self.changes.get(name);
            let wants = match changed.and_then(|changed| changed.replicas) {
                Some(replicas) => wants_of(&[(record.revision, replicas)], record),
                None => wants(future, record),
            };
            let muster = fill(wants, future, record, claims.remove(name).unwrap_or_default());
            Bid { record, change: changed.map(|changed| changed.change), muster }
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

/// A rollout ends with as many replicas as there should be now, within the new bounds.
fn changed(scene: &Scene<'_>, before: Option<&EndpointRecord>, record: &EndpointRecord) -> Changed {
    let bounds = &record.endpoint.spec.replicas;
    match before {
        None => Changed { change: Change::Created, replicas: Some(bounds.clamp(0)) },
        Some(before) if before.revision != record.revision => {
            let replicas = bounds.clamp(Desired::of(scene, before).total());
            Changed { change: Change::Revised, replicas: Some(replicas) }
        }
        Some(before) if before.endpoint == record.endpoint => Changed { change: Change::Unchanged, replicas: None },
        Some(_) => Changed { change: Change::Adjusted, replicas: None },
    }
}
