//! The routing table that a view amounts to.

use std::{collections::BTreeMap, iter, time::Duration};

use shoal_engine_supervisor::{EnginePhase, EngineStatus};
use shoal_ingress::{Place, QueueBounds, Replica, Route, RouteRevision, RoutingTable, Site, StreamPolicy};
use shoal_placement::Memory;
use shoal_types::{
    Claim, ClaimId, EndpointName, EndpointRecord, EndpointSpec, EngineSpec, Mandate, NodeView, ReplicaState, Revision,
    View,
};

pub(super) type Engines = BTreeMap<ClaimId, EngineStatus>;

/// All endpoints with the replicas that can be given new requests.
pub(super) fn table(view: &View, memory: &Memory, engines: &Engines) -> RoutingTable {
    RoutingTable::new(view.endpoints.values().map(|record| route(view, memory, engines, record)))
}

fn route(view: &View, memory: &Memory, engines: &Engines, record: &EndpointRecord) -> Route {
    let spec = &record.endpoint.spec;
    let name = &record.endpoint.metadata.name;
    let replicas: Vec<Replica> =
        view.claims_of(name).filter_map(|(node, claim)| replica(view, engines, record, node, claim)).collect();
    let mandate = mandate(view, memory, name);
    let revisions = revisions(view, record, mandate).map(|(revision, spec)| RouteRevision {
        revision,
        model: spec.model.clone(),
        aliases: spec.aliases.clone(),
        continues_messages: continues_messages(&spec.engine),
        adapters: spec.adapters.keys().cloned().collect(),
        weight: mandate.map_or_else(|| weight_by_replicas(revision, &replicas), |mandate| weight(revision, mandate)),
    });
    Route {
        endpoint: name.clone(),
        created: record.version.time,
        timeout: spec.routing.timeout.0,
        may_wake: spec.replicas.most() > 0,
        revisions: revisions.collect(),
        replicas,
        policy: spec.routing.policy,
        streams: StreamPolicy { resume: spec.routing.resume, stall: spec.routing.stall.0, hedge: spec.routing.hedge },
        max_inflight: spec.max_inflight(),
        queue: QueueBounds {
            size: usize::try_from(spec.routing.queue.size).unwrap_or(usize::MAX),
            deadline: spec.routing.queue.deadline.0,
        },
    }
}

/// Whether engines of this kind go on with a last message of an assistant. Providers answer it, what a command does nobody
/// knows, and `trtllm-serve` has no such option.
const fn continues_messages(engine: &EngineSpec) -> bool {
    match engine {
        EngineSpec::Vllm(_) | EngineSpec::Sglang(_) | EngineSpec::Llamacpp(_) | EngineSpec::Sim(_) => true,
        EngineSpec::Trtllm(_) | EngineSpec::Command(_) | EngineSpec::Gateway(_) => false,
    }
}

fn replica(view: &View, engines: &Engines, record: &EndpointRecord, node: &NodeView, claim: &Claim) -> Option<Replica> {
    if !claim.state.serves() || !node.is_alive() {
        return None;
    }
    let place = if node.id == view.me {
        // Gossip may be behind an engine that has just died.
        let engine = engines.get(&claim.id).filter(|engine| engine.phase == EnginePhase::Ready)?;
        Place::Local(engine.backend.clone())
    } else {
        Place::Remote
    };
    let load = node.loads.get(&claim.id).copied();
    let site = site(view, record, node, claim);
    Some(Replica { claim: claim.id, revision: claim.revision, node: node.id, place, load, site })
}

/// Where `claim` of `node` is, seen from here.
fn site(view: &View, record: &EndpointRecord, node: &NodeView, claim: &Claim) -> Site {
    let (own, labels) = (view.nodes.get(&view.me), &node.facts.labels);
    let round_trip = own.and_then(|own| own.distances.get(&labels.cluster)).copied();
    let spec = record.spec_of(claim.revision);
    Site {
        round_trip: round_trip.map(|millis| Duration::from_millis(millis.into())),
        other_cluster: own.is_some_and(|own| own.facts.labels.cluster != labels.cluster),
        service: spec.is_some_and(|spec| matches!(spec.engine, EngineSpec::Gateway(_))),
        price: labels.price,
    }
}

/// The present revision of `record`, and those before it whose names are still known: they have a replica, ready or not,
/// or are to have one.
fn revisions<'a>(
    view: &'a View,
    record: &'a EndpointRecord,
    mandate: Option<&'a Mandate>,
) -> impl Iterator<Item = (Revision, &'a EndpointSpec)> {
    let name = &record.endpoint.metadata.name;
    let is_there = move |revision: Revision| {
        view.claims_of(name).any(|(_, claim)| claim.revision == revision && claim.state != ReplicaState::Failed)
    };
    let is_wanted = move |revision: Revision| {
        let mut shares = mandate.into_iter().flat_map(|mandate| &mandate.shares);
        shares.any(|share| share.revision == revision && (share.replicas > 0 || share.weight > 0))
    };
    let past = record.previous.iter().map(|past| (past.revision, &past.spec));
    let known = past.filter(move |(revision, _)| *revision != record.revision);
    let known = known.filter(move |(revision, _)| is_there(*revision) || is_wanted(*revision));
    iter::once((record.revision, &record.endpoint.spec)).chain(known)
}

/// What counts of all that the stewards of `endpoint` say: the highest epoch, then the greater node id (rule 5). What
/// was said before stands when nobody says it any more: else a revision that was rolled back would be given requests
/// whenever a steward is lost.
fn mandate<'a>(view: &'a View, memory: &'a Memory, endpoint: &EndpointName) -> Option<&'a Mandate> {
    let said = view.nodes.values().filter_map(|node| Some((node.id, node.mandates.get(endpoint)?)));
    let heard = memory.mandate(endpoint).map(|heard| (heard.by, &heard.mandate));
    said.chain(heard).max_by_key(|(node, mandate)| (mandate.epoch, *node)).map(|(_, mandate)| mandate)
}

/// What the steward gives `revision` of the requests.
fn weight(revision: Revision, mandate: &Mandate) -> u8 {
    mandate.shares.iter().find(|share| share.revision == revision).map_or(0, |share| share.weight)
}

/// What it gets where no steward has spoken: as much for each replica.
fn weight_by_replicas(revision: Revision, replicas: &[Replica]) -> u8 {
    let replicas = replicas.iter().filter(|replica| replica.revision == revision).count();
    u8::try_from(replicas).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
