//! Which nodes may run a replica, and why the others may not.

use std::collections::BTreeMap;

use shoal_types::{EndpointRecord, NodeId, NodeView, UnixMillis, View};

use crate::{
    capacity::Room,
    catalog::Catalog,
    census::Census,
    exclusion::Exclusion,
    ground::{Ground, Site},
    memory::NOTHING,
    need::Need,
    presence::Patience,
    rank::Ranking,
    scene::Scene,
    want::Want,
};

/// Who could run one more replica of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates<'a> {
    /// Nodes that could, best first.
    pub ranked: Vec<NodeId>,
    /// All other nodes, each with the first reason found.
    pub excluded: BTreeMap<NodeId, Exclusion<'a>>,
}

/// Who could run one more replica of `record` at `now`, and why the others could not, as far as
/// that follows from the view alone; [`explain`](crate::explain()) says all of it. The same view gives the same answer on
/// every node.
pub fn candidates<'a>(view: &'a View, record: &'a EndpointRecord, now: UnixMillis) -> Candidates<'a> {
    let scene = Scene { view, memory: &NOTHING, now };
    let claims: Vec<_> = view.claims_of(&record.endpoint.metadata.name).collect();
    let census = Census::new(&scene, record, &claims, &Patience { now, guard: None });
    let (ground, want) = (Ground::new(&scene), census.want());
    let excluded = ground.need(&want).excluded(&ground);
    let ranking = Ranking::on(&ground, &want, census.kept_beside(&want));
    Candidates {
        ranked: ranking.ranked().into_iter().map(|ranked| ranked.node.id).collect(),
        excluded: excluded.into_iter().map(|(node, exclusion)| (node.id, exclusion)).collect(),
    }
}

/// The room that `node` has for a replica as `want` asks for.
pub(crate) fn admit<'a>(node: &'a NodeView, want: &Want<'a>, now: UnixMillis) -> Result<Room, Exclusion<'a>> {
    let mut catalog = Catalog::new([want.record]);
    let site = Site::new(node, &mut catalog);
    Need::new(want, &catalog, now).admit(&site)
}

#[cfg(test)]
mod tests {
    use shoal_types::{Decimal, Departure, DepartureReason, EngineOffer, Liveness, Refusal};

    use super::*;
    use crate::{
        tests::fleet::{Fleet, at, id},
        want::Class,
    };

    fn exclusion(fleet: &Fleet, now: UnixMillis) -> Option<Exclusion<'_>> {
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

        let dear = fleet().price(1, 4.5).spec("a", |spec| spec.placement.max_price = Some(Decimal::from_whole(4)));
        let price = Decimal::from_f64(4.5);
        assert_eq!(exclusion(&dear, at(0)), Some(Exclusion::Price { price, most: Decimal::from_whole(4) }));
        assert_eq!(exclusion(&dear.price(1, 4.0), at(0)), None);
        let untold = fleet().spec("a", |spec| spec.placement.max_price = Some(Decimal::from_whole(4)));
        assert!(matches!(exclusion(&untold, at(0)), Some(Exclusion::Price { price: None, .. })));

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
            cause: shoal_types::RefusalCause::Unfit,
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

    #[test]
    fn each_class_has_its_capacity() {
        let fleet = Fleet::new().node(1, 4).node(2, 4).spot(2).endpoint("a", 2, 1);
        let record = fleet.record("a");
        let admitted = |node: u8, class| {
            let spec = &record.endpoint.spec;
            let want = Want { record, spec, revision: record.revision, class, count: 1 };
            admit(&fleet.view.nodes[&id(node)], &want, at(0)).map(|room| room.fitting)
        };
        assert_eq!([Class::Any, Class::Firm].map(|class| admitted(1, class)), [Ok(4), Ok(4)]);
        assert_eq!([Class::Any, Class::Spot].map(|class| admitted(2, class)), [Ok(4), Ok(4)]);
        for (node, class) in [(1, Class::Spot), (2, Class::Firm)] {
            assert!(matches!(admitted(node, class), Err(Exclusion::CapacityType { .. })));
        }
    }
}
