use shoal_types::{CapacityType, DepartureReason, Liveness, PastDeparture, Spot, UnixMillis};

use super::*;
use crate::{
    Memory,
    spot::Tuning,
    tests::fleet::{Fleet, at},
};

fn requests(fleet: &Fleet) -> Vec<CapacityRequest> {
    requests_at(fleet, at(1))
}

fn requests_at(fleet: &Fleet, now: UnixMillis) -> Vec<CapacityRequest> {
    capacity_requests(&Scene { view: &fleet.view, memory: &Memory::default(), now })
}

/// A fleet whose node costs so much in a zone of its own.
fn priced(mut fleet: Fleet, node: u8, zone: &str, capacity: CapacityType, price: f64) -> Fleet {
    fleet = fleet.zone(node, zone);
    let labels = &mut fleet.node_mut(node).facts.labels;
    (labels.capacity_type, labels.price) = (capacity, Some(price));
    fleet
}

fn zones(request: &CapacityRequest) -> Vec<&str> {
    request.places.iter().filter_map(|place| place.zone.as_deref()).collect()
}

#[test]
fn only_what_finds_no_room_is_asked_for() {
    let fleet = |wanted| Fleet::new().node(1, 8).endpoint("a", 4, wanted);
    assert_eq!(requests(&fleet(2)), []);
    let [request] = &requests(&fleet(5))[..] else { panic!("one request") };
    assert_eq!((request.replicas, request.gpus, request.capacity), (3, 4, CapacityClass::Any));
}

#[test]
fn room_is_given_once_to_the_dearest_wish() {
    let fleet = Fleet::new().node(1, 8).endpoint("a", 8, 1).endpoint("b", 8, 1);
    let of =
        |fleet: &Fleet| requests(fleet).into_iter().map(|request| request.endpoint.to_string()).collect::<Vec<_>>();
    assert_eq!(of(&fleet), ["b"]);
    assert_eq!(of(&fleet.spec("b", |spec| spec.placement.priority = 1)), ["a"]);
}

#[test]
fn a_node_that_leaves_has_to_be_replaced() {
    let mut fleet = Fleet::new().node(1, 8).endpoint("a", 8, 1);
    fleet.claim(1, "a", shoal_types::ReplicaState::Ready, 0);
    assert_eq!(requests(&fleet), []);
    let gone = fleet.liveness(1, Liveness::Left);
    assert_eq!(requests(&gone).len(), 1);
    assert_eq!(zones(&requests(&gone.zone(1, "x"))[0]), ["x"], "a node that left is still an example");
}

#[test]
fn spot_and_what_stays_are_asked_for_apart() {
    let fleet = Fleet::new().node(1, 0).node(2, 8).node(3, 8);
    let fleet = priced(fleet, 2, "dear", CapacityType::OnDemand, 10.0);
    let fleet = priced(fleet, 3, "cheap", CapacityType::Spot, 2.0).endpoint("a", 8, 3);
    let fleet = fleet.spec("a", |spec| {
        spec.placement.spot = Some(Spot { overprovision: 1, on_demand_fallback: true, on_demand_base: 2 });
    });
    let [firm, spot] = &requests(&fleet)[..] else { panic!("two requests") };
    assert_eq!((firm.replicas, firm.capacity, zones(firm)), (1, CapacityClass::OnDemand, vec!["dear"]));
    assert_eq!(
        (spot.replicas, spot.capacity),
        (1, CapacityClass::SpotOrOnDemand),
        "one and a spare, of which one fits"
    );
    assert_eq!(zones(spot), ["cheap", "dear"]);
}

#[test]
fn a_zone_that_loses_nodes_is_dearer_than_it_looks() {
    let fleet = Fleet::new().node(1, 8).node(2, 8);
    let fleet = priced(fleet, 1, "calm", CapacityType::Spot, 2.01);
    let mut fleet = priced(fleet, 2, "wild", CapacityType::Spot, 2.0).endpoint("a", 8, 3);
    assert_eq!(zones(&requests(&fleet)[0]), ["wild", "calm"]);
    let past = |second| PastDeparture { at: at(second), reason: DepartureReason::Reclaim };
    fleet.node_mut(2).departures = (0..100).map(past).collect();
    assert_eq!(zones(&requests_at(&fleet, at(100))[0]), ["calm", "wild"]);
    let later = at(100).plus(Tuning::default().half_life * 20);
    assert_eq!(zones(&requests_at(&fleet, later)[0]), ["wild", "calm"], "what is long ago is forgotten");
}

#[test]
fn what_is_too_dear_or_of_another_kind_is_no_place() {
    let fleet = Fleet::new().node(1, 8).node(2, 8);
    let fleet = priced(fleet, 1, "dear", CapacityType::Spot, 3.0);
    let fleet = priced(fleet, 2, "cheap", CapacityType::Spot, 2.0).endpoint("a", 8, 3);
    let capped = fleet.clone().spec("a", |spec| spec.placement.max_price = Decimal::from_f64(2.5));
    assert_eq!(zones(&requests(&capped)[0]), ["cheap"]);
    let other = fleet.spec("a", |spec| spec.resources.gpu_model = Some("B200".to_owned()));
    assert_eq!(zones(&requests(&other)[0]), Vec::<&str>::new());
}
