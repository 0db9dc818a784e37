//! Running replicas that move (DESIGN rule 7).

use shoal_types::{ClaimId, NodeId, ReplicaState::Ready};

use super::{
    fleet::{Fleet, at, id, name},
    lockstep::Lockstep,
};
use crate::{Action, Elector, Memory, MoveReason, Timing};

/// What node `me` decides once it has watched the same view for longer than a settle time, up to `now`.
fn decide(fleet: &Fleet, me: u8, now: u64) -> Vec<Action> {
    let mut elector = Elector::new(id(me), Timing::default(), Memory::default());
    for now in [0, now - 10, now - 4] {
        elector.step(&fleet.view, at(now));
    }
    elector.step(&fleet.view, at(now)).actions
}

fn moves(log: &[(shoal_types::UnixMillis, NodeId, Action)]) -> Vec<ClaimId> {
    let mut moved: Vec<ClaimId> = Vec::new();
    for (_, _, action) in log {
        if let Action::Move { claim, .. } = action
            && !moved.contains(claim)
        {
            moved.push(*claim);
        }
    }
    moved
}

fn ready(fleet: &Fleet, endpoint: &str) -> Vec<NodeId> {
    fleet.view.claims_of(&name(endpoint)).filter(|(_, claim)| claim.state == Ready).map(|(node, _)| node.id).collect()
}

/// Three hosts of four GPUs, on which small replicas leave two, three and two free; `large` needs four.
fn fragmented() -> Fleet {
    let mut fleet = (1..=3).fold(Fleet::new(), |fleet, node| fleet.node(node, 4)).endpoint("small", 1, 5);
    fleet = fleet.spec("small", |spec| spec.placement.defragment = true);
    for (claimed, node) in (0..).zip([1, 1, 2, 3, 3]) {
        fleet.claim(node, "small", Ready, claimed);
    }
    fleet.endpoint("large", 4, 1)
}

#[test]
fn rule_7_small_replicas_make_room_for_a_larger_one() {
    let mut mesh = Lockstep::new(fragmented());
    let alone = *mesh.fleet.view.nodes[&id(2)].claims.keys().next().unwrap();
    let mut log = Vec::new();
    for second in 91..180 {
        log.extend(mesh.run_until(second));
        assert!(ready(&mesh.fleet, "small").len() >= 5, "make before break");
    }
    assert_eq!(moves(&log), [alone], "where fewest have to move");
    assert_eq!(ready(&mesh.fleet, "large"), [id(2)]);
    assert!(mesh.fleet.view.claims().all(|(_, claim)| claim.leaving.is_none()));
}

#[test]
fn rule_7_nothing_moves_for_a_larger_one_where_the_spec_does_not_say_so() {
    let still = fragmented().spec("small", |spec| spec.placement.defragment = false);
    assert_eq!(Lockstep::new(still).run_until(150), []);
    let above = fragmented().spec("small", |spec| spec.placement.priority = 1);
    assert_eq!(Lockstep::new(above).run_until(150), [], "nor for one of a lower priority");
}

#[test]
fn rule_7_nothing_moves_that_has_no_other_place() {
    let mut fleet = fragmented().endpoint("filler", 1, 4);
    for node in [1, 1, 3, 3] {
        fleet.claim(node, "filler", Ready, 0);
    }
    assert_eq!(Lockstep::new(fleet).run_until(150), []);
}

#[test]
fn rule_7_one_at_a_time_moves_for_a_larger_one() {
    let mut fleet = (1..=3).fold(Fleet::new(), |fleet, node| fleet.node(node, 4));
    for (endpoint, node) in [("a", 1), ("b", 1), ("c", 2), ("d", 2), ("e", 3), ("f", 3)] {
        fleet = fleet.endpoint(endpoint, 1, 1).spec(endpoint, |spec| spec.placement.defragment = true);
        fleet.claim(node, endpoint, Ready, 0);
    }
    let mut mesh = Lockstep::new(fleet.endpoint("large", 4, 1));
    let mut log = Vec::new();
    for second in 91..220 {
        log.extend(mesh.run_until(second));
        assert!(mesh.fleet.view.claims().filter(|(_, claim)| claim.leaving.is_some()).count() <= 1);
    }
    let moved = moves(&log);
    assert_eq!(moved.len(), 2);
    assert_eq!(ready(&mesh.fleet, "large"), [moved[0].node], "both were of the node that it has now");
    assert_eq!(moved[0].node, moved[1].node);
}

#[test]
fn rule_7_a_move_ends_when_what_it_was_for_has_found_room() {
    let mut fleet = fragmented();
    let alone = *fleet.view.nodes[&id(2)].claims.keys().next().unwrap();
    let reason = MoveReason::Defragment { for_endpoint: name("large") };
    assert_eq!(decide(&fleet, 2, 60), [Action::Move { claim: alone, reason: reason.clone() }]);
    fleet.node_mut(2).claims.get_mut(&alone).unwrap().leaving = Some(reason.to_string());
    assert_eq!(decide(&fleet, 2, 60)[0], Action::Move { claim: alone, reason }, "it is repeated while it lasts");
    let roomy = fleet.node(4, 4);
    assert!(!decide(&roomy, 2, 60).iter().any(|action| matches!(action, Action::Move { .. })));
}

/// Two hosts at 4 USD with a replica each, and one at `price`.
fn priced(price: f64) -> (Fleet, [ClaimId; 2]) {
    let mut fleet = (1..=3).fold(Fleet::new(), |fleet, node| fleet.node(node, 1).price(node, 4.0)).endpoint("a", 1, 2);
    fleet = fleet.price(3, price).spec("a", |spec| spec.placement.rebalance = true);
    let claims = [1, 2].map(|node| fleet.claim(node, "a", Ready, u64::from(node)));
    (fleet, claims)
}

#[test]
fn rule_7_a_replica_moves_to_where_it_costs_clearly_less() {
    let (fleet, [older, _]) = priced(3.0);
    let reason = MoveReason::Rebalance { to: id(3) };
    assert_eq!(decide(&fleet, 1, 700), [Action::Move { claim: older, reason }]);
    assert_eq!(decide(&fleet, 2, 700), [], "one at a time");
    assert_eq!(decide(&fleet, 1, 500), [], "it has not been there for long");
    assert_eq!(decide(&priced(3.5).0, 1, 700), [], "that is not worth a load");
    let still = fleet.clone().spec("a", |spec| spec.placement.rebalance = false);
    assert_eq!(decide(&still, 1, 700), []);
    let homely = fleet.clone().cluster(1, "home").cluster(2, "home");
    let homely = homely.spec("a", |spec| spec.placement.home = Some("home".to_owned()));
    assert_eq!(decide(&homely, 1, 700), [], "home comes before price");
    let mut unsettled = fleet;
    unsettled.set_state(older, shoal_types::ReplicaState::Warming);
    assert_eq!(decide(&unsettled, 2, 700), [], "not all serve");
}

#[test]
fn rule_7_a_move_for_a_saving_is_replaced_first_and_goes_nowhere_dearer() {
    let (fleet, [older, younger]) = priced(3.0);
    // Cheaper still, but by less than is worth it from the third; and a dear one that fits as well.
    let fleet = fleet.node(4, 1).price(4, 9.0);
    let mut mesh = Lockstep::new(fleet);
    let mut log = Vec::new();
    for second in (91..760).step_by(3) {
        log.extend(mesh.run_until(second));
        assert!(ready(&mesh.fleet, "a").len() >= 2);
    }
    assert_eq!(moves(&log), [older]);
    assert_eq!(ready(&mesh.fleet, "a"), [younger.node, id(3)]);
    assert!(mesh.fleet.view.claims().all(|(_, claim)| claim.leaving.is_none()));
}
