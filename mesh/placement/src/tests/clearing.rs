//! What goes so that others find room goes neither too early nor with those that count on it.

use shoal_types::{
    ClaimId, Departure, DepartureReason, PastRevision,
    ReplicaState::{Loading, Ready},
};

use super::fleet::{Fleet, at, id, name};
use crate::{Action, Decision, DrainReason, Elector, Memory, MoveReason, Timing, WithdrawReason};

/// What node `me` decides at `now`, having seen the same view since `since`.
fn decide(fleet: &Fleet, me: u8, since: u64, now: u64) -> Decision {
    let mut elector = Elector::new(id(me), Timing::default(), Memory::default());
    let mut before = fleet.view.clone();
    before.endpoints.clear();
    elector.step(&before, at(0));
    elector.step(&fleet.view, at(since));
    elector.step(&fleet.view, at(now))
}

/// `low` may have replicas above its `min`, and wants `desired`; `high` wants one of `gpus` GPUs.
fn contested(fleet: Fleet, desired: u32, gpus: u32) -> Fleet {
    let fleet = fleet.endpoint("low", 1, 1).spec("low", |spec| spec.replicas.max = Some(9));
    let revision = fleet.record("low").revision;
    let fleet = fleet.mandate("low", 1, &[(revision, desired)]).endpoint("high", gpus, 1);
    fleet.spec("high", |spec| spec.placement.priority = 100)
}

/// Whoever seems to find no place may have one that has not been heard of yet.
#[test]
fn rule_3_nobody_makes_room_before_the_settle_time() {
    let mut fleet = contested(Fleet::new().node(1, 2), 2, 1);
    fleet.claim(1, "low", Ready, 0);
    let loading = fleet.claim(1, "low", Loading, 0);
    assert_eq!(decide(&fleet, 1, 20, 22), Decision { actions: vec![], wake: Some(at(23)) });
    let withdraw = Action::Withdraw { claim: loading, reason: WithdrawReason::Preempted { by: name("high") } };
    assert_eq!(decide(&fleet, 1, 20, 23).actions, [withdraw]);
}

#[test]
fn rule_7_no_move_begins_before_the_settle_time() {
    let (fleet, mover) = crowded();
    assert_eq!(decide(&fleet, 1, 20, 22), Decision { actions: vec![], wake: Some(at(23)) });
    let reason = MoveReason::Defragment { for_endpoint: name("large") };
    assert_eq!(decide(&fleet, 1, 20, 23).actions, [Action::Move { claim: mover, reason }]);
}

/// A host of four GPUs with one of `small`, which could go to another of two; `large` needs four.
fn crowded() -> (Fleet, ClaimId) {
    let fleet = Fleet::new().node(1, 4).node(2, 2).endpoint("small", 1, 1).endpoint("large", 4, 1);
    let mut fleet = fleet.spec("small", |spec| spec.placement.defragment = true);
    let mover = fleet.claim(1, "small", Ready, 0);
    (fleet, mover)
}

/// It would be one short twice.
#[test]
fn rule_7_nothing_moves_of_an_endpoint_that_misses_something() {
    let (mut fleet, mover) = crowded();
    fleet = fleet.spec("small", |spec| spec.replicas.min = 2);
    let second = fleet.claim(2, "small", Loading, 0);
    assert_eq!(decide(&fleet, 1, 20, 30).actions, []);
    fleet.set_state(second, Ready);
    assert!(matches!(decide(&fleet, 1, 20, 30).actions[..], [Action::Move { claim, .. }] if claim == mover));
}

/// The first of two has no room for the larger one yet. However long that takes, a small one that finds no other place
/// does not come there in between.
#[test]
fn rule_7_a_place_that_is_being_cleared_is_nobody_elses() {
    let (fleet, _) = crowded();
    let mut fleet = fleet.endpoint("waiting", 1, 1).endpoint("filler", 1, 1);
    fleet.claim(2, "filler", Ready, 0);
    fleet =
        fleet.spec("waiting", |spec| spec.placement.require = [("cluster".to_owned(), vec!["x".to_owned()])].into());
    fleet = fleet.cluster(1, "x");
    let claims = |decision: Decision| {
        decision.actions.into_iter().filter(|action| matches!(action, Action::Claim { .. })).count()
    };
    assert_eq!(claims(decide(&fleet, 1, 20, 120)), 0);
    let alone = fleet.spec("large", |spec| spec.replicas.min = 0);
    assert_eq!(claims(decide(&alone, 1, 20, 120)), 1);
}

/// Of two that go, one as surplus and one for another endpoint, neither may take the other for one that stays.
#[test]
fn rule_4_nobody_counts_on_a_replica_whose_place_is_taken() {
    let fleet = Fleet::new().node(1, 1).node(2, 2).node(3, 2);
    let mut fleet = contested(fleet, 2, 2).spec("low", |spec| spec.replicas.min = 1);
    let departing = fleet.claim(1, "low", Ready, 0);
    let kept = fleet.claim(2, "low", Ready, 1);
    let victim = fleet.claim(3, "low", Ready, 2);
    fleet = fleet.endpoint("fixed", 1, 1).spec("fixed", |spec| spec.placement.priority = 100);
    fleet.claim(2, "fixed", Ready, 0);
    fleet.node_mut(1).departure =
        Some(Departure { reason: DepartureReason::Drain, detail: None, since: at(0), deadline: None });
    let reason = DrainReason::Preempted { by: name("high") };
    let preempted = Action::Drain { claim: victim, reason, confirm: vec![(id(2), kept)] };
    assert_eq!(decide(&fleet, 3, 20, 30).actions, [preempted]);
    assert_eq!(decide(&fleet, 1, 20, 30).actions, [], "two are wanted, and only one of the others stays");
    let without_high = fleet.spec("high", |spec| spec.replicas.min = 0);
    let drain = Action::Drain {
        claim: departing,
        reason: DrainReason::Departing,
        confirm: vec![(id(2), kept), (id(3), victim)],
    };
    assert_eq!(decide(&without_high, 1, 20, 30).actions, [drain]);
}

/// One of the new revision departs, one of the old could make room for another: only the first may go, and only if the
/// second stays.
#[test]
fn rule_4_nothing_breaks_while_another_counts_on_it() {
    let fleet = Fleet::new().node(1, 4).node(2, 4).endpoint("a", 4, 1);
    let past = fleet.record("a").clone();
    let old = past.revision;
    let fleet = fleet.revise("a").past("a", PastRevision { revision: old, spec: past.endpoint.spec });
    let mut fleet = fleet.spec("a", |spec| spec.rollout.max_unavailable = 1);
    let departing = fleet.claim(1, "a", Ready, 5);
    let superseded = fleet.claim_of(2, "a", old, Ready, 0);
    fleet.node_mut(1).departure =
        Some(Departure { reason: DepartureReason::Drain, detail: None, since: at(0), deadline: None });
    let drain = Action::Drain { claim: departing, reason: DrainReason::Departing, confirm: vec![(id(2), superseded)] };
    assert_eq!(decide(&fleet, 1, 20, 30).actions, [drain]);
    assert_eq!(decide(&fleet, 2, 20, 30).actions, []);
    fleet.node_mut(1).claims.clear();
    let alone = Action::Drain { claim: superseded, reason: DrainReason::Superseded, confirm: vec![] };
    assert_eq!(decide(&fleet, 2, 20, 30).actions, [alone], "then the spec lets it be missing");
}
