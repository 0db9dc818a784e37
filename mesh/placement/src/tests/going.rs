//! Replicas that must go although their node stays, and replicas that sleep.

use shoal_types::{ClaimId, GpuFault, GpuUse, Liveness, PastRevision, ReplicaState};

use super::fleet::{Fleet, at, id, name};
use crate::{Action, Decision, DrainReason, Elector, Memory, Timing, WithdrawReason, candidates};

/// What node `me` decides once it has watched the same view for a while, up to `now`.
fn decide(fleet: &Fleet, me: u8, now: u64) -> Decision {
    let mut elector = Elector::new(id(me), Timing::default(), Memory::default());
    elector.step(&fleet.view, at(0));
    elector.step(&fleet.view, at(now.saturating_sub(3)));
    elector.step(&fleet.view, at(now))
}

fn leave(fleet: &mut Fleet, claim: ClaimId) {
    fleet.node_mut(claim.node.as_bytes()[0]).claims.get_mut(&claim).unwrap().leaving = Some("Xid 48".to_owned());
}

fn is_claim(decision: &Decision) -> bool {
    decision.actions.iter().any(|action| matches!(action, Action::Claim { endpoint, .. } if *endpoint == name("a")))
}

/// Rule 4 for a GPU that is ill: its replica is replaced, perhaps on the same node, and only then drains.
#[test]
fn rule_4_a_replica_that_must_leave_is_replaced_first() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 4, 1);
    let ill = fleet.claim(1, "a", ReplicaState::Ready, 0);
    assert_eq!(decide(&fleet, 1, 20).actions, []);
    leave(&mut fleet, ill);
    assert!(is_claim(&decide(&fleet, 1, 20)), "its own node is the best place: its other GPUs are well");
    let next = fleet.claim(1, "a", ReplicaState::Loading, 20);
    assert_eq!(decide(&fleet, 1, 30).actions, [], "nobody else serves yet");
    fleet.set_state(next, ReplicaState::Ready);
    let drain = Action::Drain { claim: ill, reason: DrainReason::Leaving, confirm: vec![(id(1), next)] };
    assert_eq!(decide(&fleet, 1, 40).actions, [drain]);
}

#[test]
fn what_must_leave_and_does_not_serve_is_given_up_at_once() {
    let mut fleet = Fleet::new().node(1, 8).endpoint("a", 4, 1);
    let ill = fleet.claim(1, "a", ReplicaState::Loading, 0);
    leave(&mut fleet, ill);
    let withdraw = Action::Withdraw { claim: ill, reason: WithdrawReason::Leaving };
    assert_eq!(decide(&fleet, 1, 10).actions[0], withdraw);
}

#[test]
fn a_gpu_with_a_fault_is_not_free() {
    let mut fleet = Fleet::new().node(1, 1).endpoint("a", 1, 1);
    assert_eq!(candidates(&fleet.view, fleet.record("a"), at(0)).ranked, [id(1)]);
    let fault = GpuFault { action: shoal_types::FaultAction::Cordon, reason: "Xid 63".to_owned(), since: at(0) };
    fleet.node_mut(1).gpus[0].fault = Some(fault);
    assert_eq!(candidates(&fleet.view, fleet.record("a"), at(0)).ranked, []);
}

#[test]
fn a_failed_claim_is_shown_and_counts_for_nothing() {
    let mut fleet = Fleet::new().node(1, 8).endpoint("a", 8, 1);
    let failed = fleet.claim(1, "a", ReplicaState::Failed, 0);
    fleet.node_mut(1).claims.get_mut(&failed).unwrap().gpus = 0;
    assert!(is_claim(&decide(&fleet, 1, 10)));
}

/// A replica that sleeps is woken before anybody loads a new one, the one that has been there longest first.
#[test]
fn a_sleeper_is_woken_before_anything_new_is_claimed() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).node(3, 8).endpoint("a", 1, 1);
    let awake = fleet.claim(3, "a", ReplicaState::Ready, 0);
    let first = fleet.claim(1, "a", ReplicaState::Asleep, 1);
    let second = fleet.claim(2, "a", ReplicaState::Asleep, 2);
    for node in [1, 2, 3] {
        assert_eq!(decide(&fleet, node, 20).actions, [], "enough serve");
    }
    fleet.set_state(awake, ReplicaState::Draining);
    assert_eq!(decide(&fleet, 1, 20).actions, [Action::Wake(first)]);
    assert_eq!(decide(&fleet, 2, 20).actions, []);
    assert_eq!(decide(&fleet, 3, 20).actions, []);
    let without_first = fleet.clone().liveness(1, Liveness::Suspect { since: at(10) });
    assert_eq!(decide(&without_first, 2, 20).actions, [Action::Wake(second)], "its node has gone quiet");
    let revised = fleet.revise("a");
    let withdraw = Action::Withdraw { claim: first, reason: WithdrawReason::Superseded };
    assert!(decide(&revised, 1, 20).actions.contains(&withdraw), "it sleeps with the wrong model");
}

#[test]
fn a_sleeper_makes_room_for_what_is_wanted() {
    let mut fleet = Fleet::new().node(1, 1).endpoint("a", 1, 0).endpoint("b", 1, 1);
    let asleep = fleet.claim(1, "a", ReplicaState::Asleep, 0);
    fleet.node_mut(1).gpus[0].used_by = GpuUse::Replica(asleep);
    assert_eq!(candidates(&fleet.view, fleet.record("b"), at(0)).ranked, [id(1)]);
    fleet.set_state(asleep, ReplicaState::Ready);
    assert_eq!(candidates(&fleet.view, fleet.record("b"), at(0)).ranked, []);
}

#[test]
fn a_sleeper_that_is_woken_gives_its_gpus_to_nobody() {
    let mut fleet = Fleet::new().node(1, 1).endpoint("a", 1, 1).endpoint("b", 1, 1);
    let asleep = fleet.claim(1, "a", ReplicaState::Asleep, 0);
    fleet.node_mut(1).gpus[0].used_by = GpuUse::Replica(asleep);
    assert_eq!(decide(&fleet, 1, 20).actions, [Action::Wake(asleep)]);
}

/// A later revision that the record knows was undone; only one that it does not know says that this store is behind.
#[test]
fn what_was_undone_is_replaced() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 8, 1);
    let mut undone = fleet.clone().revise("a");
    undone.claim(2, "a", ReplicaState::Ready, 0);
    let (revision, spec) = (undone.record("a").revision, undone.record("a").endpoint.spec.clone());
    undone.view.endpoints = std::mem::take(&mut fleet.view.endpoints);
    assert_eq!(decide(&undone, 1, 20).actions, []);
    assert!(is_claim(&decide(&undone.past("a", PastRevision { revision, spec }), 1, 20)));
}

#[test]
fn a_sleeper_whose_place_is_for_a_higher_priority_sleeps_on() {
    let mut fleet = Fleet::new().node(1, 1).endpoint("a", 1, 1).endpoint("b", 1, 1);
    let asleep = fleet.claim(1, "a", ReplicaState::Asleep, 0);
    fleet.node_mut(1).gpus[0].used_by = GpuUse::Replica(asleep);
    let fleet = fleet.spec("b", |spec| spec.placement.priority = 10);
    let revision = fleet.record("b").revision;
    assert_eq!(decide(&fleet, 1, 20).actions, [Action::Claim { endpoint: name("b"), revision, gpus: 1 }]);
}
