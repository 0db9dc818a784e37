//! Which nodes may run a replica, and why the others may not.

use std::{borrow::Cow, collections::BTreeMap};

use shoal_types::{
    CapacityType, EndpointRecord, EndpointSpec, EngineSpec, Liveness, NodeId, NodeView, UnixMillis, View,
};

use crate::{
    capacity::Room,
    census::Census,
    exclusion::Exclusion,
    memory::Memory,
    opening::Planned,
    presence::Patience,
    rank::Ranking,
    scene::Scene,
    want::{Class, Want},
};

/// Who could run one more replica of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Nodes that could, best first.
    pub ranked: Vec<NodeId>,
    /// All other nodes, each with the first reason found.
    pub excluded: BTreeMap<NodeId, Exclusion>,
}

/// Who could run one more replica of `record` at `now`, and why the others could not: what an
/// [`Elector`](crate::Elector) sees, put for people. The same view gives the same answer on every node.
pub fn candidates(view: &View, record: &EndpointRecord, now: UnixMillis) -> Candidates {
    let claims: Vec<_> = view.claims_of(&record.endpoint.metadata.name).collect();
    let memory = Memory::default();
    let scene = Scene { view, memory: &memory, now };
    let census = Census::new(&scene, record, &claims, &Patience { now, guard: None });
    let want = census.want();
    let (ranking, excluded) = Ranking::new(&scene, &want, census.kept_beside(&want), &Planned::new());
    Candidates { ranked: ranking.nodes(), excluded }
}

/// The room that `node` has for a replica as `want` asks for.
pub(crate) fn admit(node: &NodeView, want: &Want<'_>, now: UnixMillis) -> Result<Room, Exclusion> {
    is_staying(node)?;
    offers_engine(node, &want.spec.engine)?;
    is_of_class(node, want.class)?;
    matches_labels(node, want.spec)?;
    let room = has_gpus(node, want.spec)?;
    is_willing(node, want, now)?;
    let needed = want.spec.resources.gpus;
    if room.fitting < needed as usize {
        return Err(Exclusion::GpusTaken { needed, free: room.fitting, matching: room.matching });
    }
    Ok(room)
}

fn is_staying(node: &NodeView) -> Result<(), Exclusion> {
    match (node.liveness, &node.departure) {
        (Liveness::Left, _) => Err(Exclusion::Left),
        (Liveness::Suspect { since }, _) => Err(Exclusion::Suspect { since }),
        (Liveness::Alive, Some(departure)) => Err(Exclusion::Departing(departure.reason)),
        (Liveness::Alive, None) => Ok(()),
    }
}

fn offers_engine(node: &NodeView, engine: &EngineSpec) -> Result<(), Exclusion> {
    let needed = match engine {
        EngineSpec::Command(command) => Cow::Owned(format!("{}/{}", engine.kind(), command.name)),
        EngineSpec::Vllm(_)
        | EngineSpec::Sglang(_)
        | EngineSpec::Trtllm(_)
        | EngineSpec::Llamacpp(_)
        | EngineSpec::Gateway(_)
        | EngineSpec::Sim(_) => Cow::Borrowed(engine.kind()),
    };
    if node.facts.engines.iter().any(|offer| offer.0 == needed) {
        return Ok(());
    }
    let offered = node.facts.engines.iter().map(|offer| offer.0.clone()).collect();
    Err(Exclusion::EngineNotOffered { needed: needed.into_owned(), offered })
}

fn is_of_class(node: &NodeView, class: Class) -> Result<(), Exclusion> {
    let types = [CapacityType::Reserved, CapacityType::OnDemand, CapacityType::Spot];
    let of = |capacity_type| class.contains_type(capacity_type);
    let own = node.facts.labels.capacity_type;
    if of(own) {
        return Ok(());
    }
    let allowed = types.into_iter().filter(|&allowed| of(allowed)).map(|allowed| allowed.to_string()).collect();
    Err(Exclusion::Label { key: "capacityType".to_owned(), value: Some(own.to_string()), allowed })
}

fn matches_labels(node: &NodeView, spec: &EndpointSpec) -> Result<(), Exclusion> {
    for (key, allowed) in &spec.placement.require {
        let value = node.facts.labels.get(key);
        if !value.as_ref().is_some_and(|value| allowed.iter().any(|allowed| allowed == value)) {
            let value = value.map(Cow::into_owned);
            return Err(Exclusion::Label { key: key.clone(), value, allowed: allowed.clone() });
        }
    }
    Ok(())
}

fn has_gpus(node: &NodeView, spec: &EndpointSpec) -> Result<Room, Exclusion> {
    let needed = &spec.resources;
    let room = Room::of(node, needed);
    if room.matching < needed.gpus as usize {
        return Err(Exclusion::TooFewGpus { needed: needed.clone(), matching: room.matching, all: node.gpus.len() });
    }
    Ok(room)
}

fn is_willing(node: &NodeView, want: &Want<'_>, now: UnixMillis) -> Result<(), Exclusion> {
    let refusal = node.refusals.iter().find(|refusal| {
        refusal.endpoint == want.record.endpoint.metadata.name
            && refusal.revision == want.revision
            && now < refusal.until
    });
    refusal.map_or(Ok(()), |refusal| Err(Exclusion::Refused { until: refusal.until, reason: refusal.reason.clone() }))
}

#[cfg(test)]
mod tests {
    use shoal_types::{Departure, DepartureReason, EngineOffer, Refusal};

    use super::*;
    use crate::tests::fleet::{Fleet, at, id};

    fn exclusion(fleet: &Fleet, now: UnixMillis) -> Option<Exclusion> {
        candidates(&fleet.view, fleet.record("a"), now).excluded.remove(&id(1))
    }

    #[test]
    fn each_reason_is_named() {
        let fleet = || Fleet::new().node(1, 4).endpoint("a", 2, 1);
        assert_eq!(exclusion(&fleet(), at(0)), None);

        let gone = fleet().liveness(1, Liveness::Suspect { since: at(7) });
        assert_eq!(exclusion(&gone, at(8)), Some(Exclusion::Suspect { since: at(7) }));
        assert_eq!(exclusion(&fleet().liveness(1, Liveness::Left), at(8)), Some(Exclusion::Left));

        let mut leaving = fleet();
        leaving.node_mut(1).departure =
            Some(Departure { reason: DepartureReason::Drain, detail: None, since: at(0), deadline: None });
        assert_eq!(exclusion(&leaving, at(0)), Some(Exclusion::Departing(DepartureReason::Drain)));

        let mut other_engine = fleet();
        other_engine.node_mut(1).facts.engines = vec![EngineOffer("vllm".to_owned())];
        assert!(matches!(exclusion(&other_engine, at(0)), Some(Exclusion::EngineNotOffered { .. })));

        let elsewhere = fleet().spec("a", |spec| {
            spec.placement.require = [("cluster".to_owned(), vec!["home".to_owned()])].into();
        });
        assert!(matches!(exclusion(&elsewhere, at(0)), Some(Exclusion::Label { .. })));

        let large = fleet().spec("a", |spec| spec.resources.gpus = 8);
        assert!(matches!(exclusion(&large, at(0)), Some(Exclusion::TooFewGpus { matching: 4, all: 4, .. })));

        let mut full = fleet().endpoint("b", 3, 1);
        full.claim(1, "b", shoal_types::ReplicaState::Ready, 0);
        assert_eq!(exclusion(&full, at(0)), Some(Exclusion::GpusTaken { needed: 2, free: 1, matching: 4 }));
    }

    #[test]
    fn a_refusal_ends_and_binds_one_revision() {
        let mut fleet = Fleet::new().node(1, 4).endpoint("a", 2, 1);
        let refusal = Refusal {
            endpoint: fleet.record("a").endpoint.metadata.name.clone(),
            revision: fleet.record("a").revision,
            until: at(30),
            reason: "out of memory".to_owned(),
        };
        fleet.node_mut(1).refusals.push(refusal);
        assert!(matches!(exclusion(&fleet, at(29)), Some(Exclusion::Refused { .. })));
        assert_eq!(exclusion(&fleet, at(30)), None);
        assert_eq!(exclusion(&fleet.revise("a"), at(1)), None);
    }
}
