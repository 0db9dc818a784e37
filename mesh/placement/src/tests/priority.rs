//! Endpoints of higher priority in a full fleet.

use shoal_types::{
    ClaimId, GpuUse, Refusal,
    ReplicaState::{self, Loading, Ready},
};

use super::{
    fleet::{Fleet, at, id, name},
    lockstep::Lockstep,
};
use crate::{Action, DrainReason, Elector, Memory, Scene, Timing, WithdrawReason, explain, making_room};

/// What node `me` decides once it has watched the same view for longer than a settle time.
fn decide(fleet: &Fleet, me: u8) -> Vec<Action> {
    let mut elector = Elector::new(id(me), Timing::default(), Memory::default());
    for now in [0, 50, 60] {
        elector.step(&fleet.view, at(now));
    }
    elector.step(&fleet.view, at(64)).actions
}

/// Whose place is taken, as everybody sees it.
fn victims(fleet: &Fleet) -> Vec<ClaimId> {
    let mut memory = Memory::default();
    memory.observe(&fleet.view, at(60));
    let making = making_room(&Scene { view: &fleet.view, memory: &memory, now: at(60) });
    let is_draining = |claim: &ClaimId| fleet.view.nodes[&claim.node].claims[claim].state == ReplicaState::Draining;
    making.into_iter().flat_map(|room| room.going).filter(|claim| !is_draining(claim)).collect()
}

fn preempted(claim: ClaimId, confirm: &[ClaimId]) -> Action {
    let reason = DrainReason::Preempted { by: name("high") };
    Action::Drain { claim, reason, confirm: confirm.iter().map(|&id| (id.node, id)).collect() }
}

/// `nodes` hosts with two GPUs; `low` may have one to three replicas of one GPU, and its steward asks for `desired`.
fn fleet(nodes: u8, desired: u32) -> Fleet {
    let fleet = (1..=nodes).fold(Fleet::new(), |fleet, node| fleet.node(node, 2)).endpoint("low", 1, 1);
    let revision = fleet.record("low").revision;
    fleet.spec("low", |spec| spec.replicas.max = Some(9)).mandate("low", 1, &[(revision, desired)])
}

fn with_high(fleet: Fleet, gpus: u32) -> Fleet {
    fleet.endpoint("high", gpus, 1).spec("high", |spec| spec.placement.priority = 100)
}

#[test]
fn rule_3_a_higher_priority_takes_the_place_of_replicas_above_min() {
    let mut fleet = fleet(1, 2);
    let old = fleet.claim(1, "low", Ready, 0);
    let young = fleet.claim(1, "low", Ready, 5);
    let fleet = with_high(fleet, 1);
    assert_eq!(decide(&fleet, 1), [preempted(young, &[old])]);
    let equal = fleet.clone().spec("low", |spec| spec.placement.priority = 100);
    assert_eq!(decide(&equal, 1), []);
    let at_min = fleet.clone().spec("low", |spec| spec.replicas.min = 2);
    assert_eq!(decide(&at_min, 1), []);
    let larger = fleet.spec("high", |spec| spec.resources.gpus = 2);
    assert_eq!(decide(&larger, 1), [], "that would take both");
}

#[test]
fn rule_3_surplus_goes_first_then_what_does_not_serve_then_what_does() {
    // Three hosts, each with a replica of one kind and something that nobody may touch.
    let mut fleet = fleet(3, 3).endpoint("fixed", 1, 3).spec("fixed", |spec| spec.placement.priority = 100);
    for node in 1..=3 {
        fleet.claim(node, "fixed", Ready, 0);
    }
    let [oldest, younger] = [1, 2].map(|node| fleet.claim(node, "low", Ready, u64::from(node)));
    let loading = fleet.claim(3, "low", Loading, 0);
    let mut fleet = with_high(fleet, 1);
    let withdraw = Action::Withdraw { claim: loading, reason: WithdrawReason::Preempted { by: name("high") } };
    assert_eq!(decide(&fleet, 3), [withdraw]);
    assert_eq!((decide(&fleet, 1), decide(&fleet, 2)), (vec![], vec![]));
    fleet.set_state(loading, Ready);
    assert_eq!(victims(&fleet), [younger], "of those that serve, the youngest; `loading` was claimed first");
    let revised = fleet.revise("low");
    let mut revised = revised.spec("low", |spec| spec.replicas.max = Some(1));
    let wanted = revised.record("low").revision;
    revised.node_mut(2).claims.entry(younger).and_modify(|claim| claim.revision = wanted);
    revised.set_state(loading, ReplicaState::Draining);
    revised.node_mut(3).gpus.truncate(1);
    assert_eq!(victims(&revised), [oldest], "its revision should have nothing");
}

#[test]
fn rule_3_the_node_where_least_is_lost_is_chosen() {
    let mut fleet = fleet(2, 9).endpoint("pair", 2, 0).spec("pair", |spec| spec.replicas.max = Some(1));
    let revision = fleet.record("pair").revision;
    fleet = fleet.mandate("pair", 1, &[(revision, 1)]);
    for age in 0..2 {
        fleet.claim(1, "low", Ready, age);
    }
    let pair = fleet.claim(2, "pair", Ready, 0);
    fleet = fleet.endpoint("spare", 1, 1).node(3, 1);
    fleet.claim(3, "low", Ready, 0);
    let fleet = with_high(fleet, 2);
    assert_eq!(victims(&fleet), [pair], "one replica, not two");
    let dearer = fleet.spec("pair", |spec| spec.placement.priority = 50);
    assert_eq!(victims(&dearer), [pair], "fewest replicas come before the lowest priority");
    let protected = dearer.spec("pair", |spec| spec.replicas.min = 1);
    assert_eq!(victims(&protected).len(), 2);
}

#[test]
fn rule_3_a_node_that_is_excluded_for_another_reason_is_left_alone() {
    let mut fleet = fleet(1, 2);
    for age in 0..2 {
        fleet.claim(1, "low", Ready, age);
    }
    let mut fleet = with_high(fleet, 1);
    assert_eq!(victims(&fleet).len(), 1);
    let revision = fleet.record("high").revision;
    let refusal = Refusal {
        cause: shoal_types::RefusalCause::Unfit,
        endpoint: name("high"),
        revision,
        until: at(900),
        reason: "no disk".to_owned(),
    };
    fleet.node_mut(1).refusals.push(refusal);
    assert_eq!(victims(&fleet), []);
}

#[test]
fn rule_3_while_one_drains_nobody_else_goes_for_the_same_replica() {
    let mut fleet = fleet(1, 2);
    fleet.claim(1, "low", Ready, 0);
    let young = fleet.claim(1, "low", Ready, 5);
    fleet.node_mut(1).gpus[0].used_by = GpuUse::Replica(young);
    fleet = with_high(fleet, 1).spec("low", |spec| spec.replicas.min = 0);
    assert_eq!(victims(&fleet), [young]);
    fleet.set_state(young, ReplicaState::Draining);
    assert_eq!(victims(&fleet), []);
    let two = fleet.spec("high", |spec| spec.replicas.min = 2);
    assert_eq!(victims(&two).len(), 1, "a second replica of it needs another one");
}

#[test]
fn rule_3_it_comes_in_their_place_and_they_do_not_come_back() {
    let mut fleet = fleet(2, 4);
    for node in [1, 1, 2, 2] {
        fleet.claim(node, "low", Ready, u64::from(node));
    }
    let mut mesh = Lockstep::new(with_high(fleet, 2));
    let mut log = mesh.run_until(160);
    log.retain(|(_, _, action)| !matches!(action, Action::Start(_)));
    let drains = log.iter().filter(|(_, _, action)| matches!(action, Action::Drain { .. })).count();
    let claims = log.iter().filter(|(_, _, action)| matches!(action, Action::Claim { .. })).count();
    assert_eq!((drains, claims), (2, 1), "{log:?}");
    let ready =
        |endpoint: &str| mesh.fleet.view.claims_of(&name(endpoint)).filter(|(_, claim)| claim.state == Ready).count();
    assert_eq!((ready("high"), ready("low")), (1, 2));
}

#[test]
fn rule_3_a_surge_takes_nobodys_place() {
    let mut fleet = with_high(fleet(2, 2), 2);
    fleet.claim(2, "high", Ready, 0);
    for age in 0..2 {
        fleet.claim(1, "low", Ready, age);
    }
    assert_eq!(victims(&fleet.revise("high")), []);
}

#[test]
fn both_sides_say_why() {
    let mut fleet = fleet(1, 2);
    fleet.claim(1, "low", Ready, 0);
    let young = fleet.claim(1, "low", Ready, 5);
    fleet.node_mut(1).gpus[0].used_by = GpuUse::Replica(young);
    let mut fleet = with_high(fleet, 1).called(1, "n1");
    let name_of = young.replica_name(&name("low"));
    let says = |fleet: &Fleet, endpoint: &str| {
        let mut memory = Memory::default();
        memory.observe(&fleet.view, at(60));
        let scene = Scene { view: &fleet.view, memory: &memory, now: at(60) };
        explain(&scene, fleet.record(endpoint), &making_room(&scene)).to_string()
    };
    let leaving = DrainReason::Preempted { by: name("high") }.to_string();
    for state in [Ready, ReplicaState::Draining] {
        fleet.set_state(young, state);
        let claim = fleet.node_mut(1).claims.get_mut(&young).unwrap();
        claim.leaving = (state == ReplicaState::Draining).then(|| leaving.clone());
        let high = says(&fleet, "high");
        assert!(high.contains(&format!("room is being made:\n  on n1: {name_of} gives way\n")), "{high}");
        assert!(!high.contains("without room") && !high.contains("would change that"), "{high}");
        let low = says(&fleet, "low");
        assert!(low.contains(&format!("{name_of} on n1: {state}")), "{low}");
        assert!(low.contains("; makes room for `high`"), "{low}");
    }
    assert!(says(&fleet, "low").contains("leaving: `high` has a higher priority and takes its place"));
}
