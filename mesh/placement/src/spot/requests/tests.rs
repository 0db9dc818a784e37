use shoal_types::{CapacityType, DepartureReason, Liveness, PastDeparture, ReplicaState, Spot, UnixMillis};

use super::*;
use crate::{
    Memory,
    tests::fleet::{Fleet, at, id, name},
};

fn requests(fleet: &Fleet) -> Vec<CapacityRequest> {
    requests_at(fleet, at(1))
}

fn requests_at(fleet: &Fleet, now: UnixMillis) -> Vec<CapacityRequest> {
    told(fleet, &heard(fleet, now), &Asked::default(), now)
}

fn told(fleet: &Fleet, memory: &Memory, asked: &Asked, now: UnixMillis) -> Vec<CapacityRequest> {
    capacity_requests(&Scene { view: &fleet.view, memory, now }, asked)
}

fn heard(fleet: &Fleet, now: UnixMillis) -> Memory {
    let mut memory = Memory::default();
    memory.observe(&fleet.view, now);
    memory
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
    fleet.claim(1, "a", ReplicaState::Ready, 0);
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
    let fleet = hedge(fleet, 1, 2);
    let [firm, spot] = &requests(&fleet)[..] else { panic!("two requests") };
    assert_eq!((firm.replicas, firm.capacity, rented(firm)), (1, CapacityClass::OnDemand, vec![("dear", 1)]));
    assert_eq!(
        (spot.replicas, spot.capacity),
        (1, CapacityClass::SpotOrOnDemand),
        "one and a spare, of which one fits"
    );
    assert_eq!(rented(spot), [("cheap", 1), ("dear", 0)]);
}

/// Endpoint `a` runs on spot capacity with so many spares at most, and with so many replicas that stay.
fn hedge(fleet: Fleet, overprovision: u32, on_demand_base: u32) -> Fleet {
    fleet.spec("a", |spec| {
        spec.placement.spot = Some(Spot { overprovision, on_demand_fallback: true, on_demand_base });
    })
}

/// How much is to be rented in each zone.
fn rented(request: &CapacityRequest) -> Vec<(&str, u32)> {
    request.places.iter().filter_map(|place| Some((place.zone.as_deref()?, place.replicas))).collect()
}

/// Spot nodes 1 to 4 in zones `w`, `x`, `y` and `z` that cost the same, node 5 on demand, all of one GPU that something else
/// has; endpoint `a` wants `replicas`.
fn zones_of_four(replicas: u32, overprovision: u32) -> Fleet {
    let mut fleet = (1..=5).fold(Fleet::new(), |fleet, node| fleet.node(node, 1)).endpoint("other", 1, 5);
    fleet = fleet.spec("other", |spec| spec.placement.priority = 9);
    for (node, zone) in (1..).zip(["w", "x", "y", "z"]) {
        fleet = priced(fleet, node, zone, CapacityType::Spot, 2.0);
    }
    fleet = priced(fleet, 5, "firm", CapacityType::OnDemand, 9.0);
    for node in 1..=5 {
        fleet.claim(node, "other", ReplicaState::Ready, 0);
    }
    hedge(fleet.endpoint("a", 1, replicas), overprovision, 0)
}

const HOURS: u64 = 3_600;

fn lose(fleet: &mut Fleet, node: u8, times: std::ops::Range<u64>) {
    let past = |hour| PastDeparture { at: at(hour * HOURS), reason: DepartureReason::Reclaim };
    fleet.node_mut(node).departures.extend(times.map(past));
}

#[test]
fn what_is_missing_is_spread_as_the_policy_does() {
    let [request] = &requests(&zones_of_four(3, 1))[..] else { panic!("one request") };
    assert_eq!((request.replicas, request.capacity), (4, CapacityClass::SpotOrOnDemand));
    let mut all = rented(request);
    all.sort_unstable();
    assert_eq!(all, [("firm", 0), ("w", 1), ("x", 1), ("y", 1), ("z", 1)]);
}

#[test]
fn zones_that_lose_nodes_are_left_out_even_when_their_nodes_are_gone() {
    let mut fleet = zones_of_four(3, 0);
    lose(&mut fleet, 1, 30..40);
    let now = at(41 * HOURS);
    let memory = heard(&fleet, now);
    for gone in [false, true] {
        if gone {
            fleet.view.nodes.retain(|node, _| *node == id(5));
        }
        let requests = told(&fleet, &memory, &Asked::default(), now);
        let request = requests.iter().find(|request| request.endpoint == name("a")).unwrap();
        let wild = request.places.iter().find(|place| place.zone.as_deref() == Some("w")).unwrap();
        assert_eq!((wild.replicas, wild.price), (0, Some(2.0)), "gone: {gone}, {:?}", request.places);
        assert!(wild.losses_per_day > 4.0 * request.places[0].losses_per_day, "{:?}", request.places);
        assert_eq!(rented(request).iter().map(|(_, count)| count).sum::<u32>(), 3);
    }
}

#[test]
fn drains_and_stops_say_nothing_of_a_zone() {
    let mut fleet = zones_of_four(1, 0);
    let before = requests(&fleet);
    let past = |second| PastDeparture { at: at(second), reason: DepartureReason::Terminate };
    fleet.node_mut(1).departures = (0..100).map(past).collect();
    assert_eq!(requests(&fleet), before);
}

#[test]
fn spares_are_rented_only_as_far_as_they_are_needed() {
    // Ten hosts that were never lost in two weeks: one cold start without a spare is safe enough.
    let mut fleet = hedge(Fleet::new().endpoint("a", 1, 4), 2, 0);
    for node in 1..=3 {
        fleet = priced(fleet.node(node, 1), node, &format!("z{node}"), CapacityType::Spot, 2.0);
        fleet.claim(node, "a", ReplicaState::Ready, 0);
    }
    let mut memory = Memory::default();
    let spares = |memory: &Memory, now| told(&fleet, memory, &Asked::default(), now)[0].replicas - 1;
    memory.observe(&fleet.view, at(1));
    assert_eq!(spares(&memory, at(1)), 2, "little is known");
    for hour in (0..13 * 24).step_by(40) {
        memory.observe(&fleet.view, at(hour * HOURS));
    }
    assert!(spares(&memory, at(13 * 24 * HOURS)) < 2);
}

#[test]
fn a_place_that_does_not_deliver_is_left_alone_and_demand_stands_in() {
    let fleet = zones_of_four(1, 0);
    let memory = heard(&fleet, at(1));
    let mut asked = Asked::default();
    let ask = |asked: &mut Asked, now| {
        asked.observe(&fleet.view, at(now));
        let request = told(&fleet, &memory, asked, at(now)).remove(0);
        asked.note(&request, at(now));
        request
    };
    let first = rented(&ask(&mut asked, 1))[0].0.to_owned();
    assert_eq!(rented(&ask(&mut asked, 300))[0], (first.as_str(), 1), "it may still come");
    let later = ask(&mut asked, 602);
    let now: Vec<_> = rented(&later).into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(now.len(), 2, "another zone, and on demand meanwhile: {now:?}");
    assert!(now.contains(&("firm", 1)) && now.iter().all(|(zone, _)| *zone != first), "{now:?}");
    // What came is trusted as before.
    let mut came = fleet.clone().node(6, 0);
    came = priced(came, 6, &first, CapacityType::Spot, 2.0);
    came.node_mut(6).facts.started = at(100);
    let mut asked = Asked::default();
    asked.note(&requests(&fleet)[0], at(1));
    asked.observe(&came.view, at(700));
    assert_eq!(rented(&told(&came, &memory, &asked, at(700))[0])[0], (first.as_str(), 1));
}

#[test]
fn an_endpoint_that_does_not_speak_of_spot_gets_all_in_one_place() {
    let fleet = Fleet::new().node(1, 8).node(2, 8);
    let fleet = priced(fleet, 1, "calm", CapacityType::Spot, 2.01);
    let mut fleet = priced(fleet, 2, "wild", CapacityType::Spot, 2.0).endpoint("a", 8, 4);
    assert_eq!(rented(&requests(&fleet)[0]), [("wild", 2), ("calm", 0)]);
    lose(&mut fleet, 2, 20..30);
    assert_eq!(rented(&requests_at(&fleet, at(31 * HOURS))[0]), [("calm", 2), ("wild", 0)]);
}

#[test]
fn room_that_is_being_made_is_not_asked_for() {
    let fleet = || Fleet::new().node(1, 2).endpoint("low", 1, 1).endpoint("high", 1, 1);
    let fleet = || fleet().spec("high", |spec| spec.placement.priority = 1);
    let mut fleet = fleet().spec("low", |spec| spec.replicas.max = Some(2));
    let revision = fleet.record("low").revision;
    fleet = fleet.mandate("low", 1, &[(revision, 2)]);
    fleet.claim(1, "low", ReplicaState::Ready, 0);
    let young = fleet.claim(1, "low", ReplicaState::Ready, 5);
    let missing = |fleet: &Fleet| -> Vec<(String, u32)> {
        requests(fleet).into_iter().map(|request| (request.endpoint.to_string(), request.replicas)).collect()
    };
    let of_low = [("low".to_owned(), 1)];
    assert_eq!(missing(&fleet), of_low, "the other one takes its place");
    fleet.set_state(young, ReplicaState::Draining);
    assert_eq!(missing(&fleet), of_low, "and is about to");
}

#[test]
fn small_replicas_do_not_ask_for_what_they_would_take_from_large_ones() {
    let fleet = Fleet::new().node(1, 8).node(2, 4).endpoint("small", 4, 1).endpoint("large", 8, 1);
    assert_eq!(requests(&fleet.spec("small", |spec| spec.placement.priority = 1)), []);
}

#[test]
fn rule_3_all_nodes_ask_for_the_same() {
    let fleet = zones_of_four(3, 2);
    let mut other = fleet.clone();
    other.view.me = id(4);
    assert_eq!(requests(&fleet), requests(&other));
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
