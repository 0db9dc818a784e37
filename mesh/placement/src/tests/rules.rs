//! The rules on small examples, each told as a story.

use std::time::Duration;

use shoal_types::{
    Claim, ClaimId, Departure, DepartureReason, GpuUse, Liveness, NodeId, ReplicaState, Spread, UnixMillis,
};

use super::{
    fleet::{Fleet, at, id, name},
    lockstep::Lockstep,
};
use crate::{Action, Decision, DrainReason, Elector, Memory, Timing, WithdrawReason, candidates};

/// What node 1 decides at `now`, its elector having run since 0 without any endpoint.
fn decide(fleet: &Fleet, now: u64) -> Decision {
    let mut elector = Elector::new(id(1), Timing::default(), Memory::default());
    let mut before = fleet.view.clone();
    before.endpoints.clear();
    elector.step(&before, at(0));
    elector.step(&fleet.view, at(now))
}

/// What node 1 decides at `now`, having seen the same view since `since`.
fn decide_after(fleet: &Fleet, since: u64, now: u64) -> Decision {
    let mut elector = Elector::new(id(1), Timing::default(), Memory::default());
    elector.step(&fleet.view, at(since));
    elector.step(&fleet.view, at(now))
}

fn claim_of(endpoint: &str, fleet: &Fleet) -> Action {
    let record = fleet.record(endpoint);
    Action::Claim { endpoint: name(endpoint), revision: record.revision, gpus: record.endpoint.spec.resources.gpus }
}

fn withdraw(claim: ClaimId, reason: WithdrawReason) -> Action {
    Action::Withdraw { claim, reason }
}

fn drain(claim: ClaimId, reason: DrainReason, confirm: &[ClaimId]) -> Action {
    Action::Drain { claim, reason, confirm: confirm.iter().map(|&id| (id.node, id)).collect() }
}

fn departing(mut fleet: Fleet, node: u8, deadline: Option<u64>) -> Fleet {
    let departure =
        Departure { reason: DepartureReason::Drain, detail: None, since: at(0), deadline: deadline.map(at) };
    fleet.node_mut(node).departure = Some(departure);
    fleet
}

fn ranked(fleet: &Fleet, endpoint: &str) -> Vec<NodeId> {
    candidates(&fleet.view, fleet.record(endpoint), at(0)).ranked
}

#[test]
fn rule_3_a_claim_settles_and_starts() {
    let mut fleet = Fleet::new().node(1, 8).endpoint("a", 8, 1);
    assert_eq!(decide(&fleet, 10).actions, [claim_of("a", &fleet)]);
    let claim = fleet.claim(1, "a", ReplicaState::Claimed, 10);
    assert_eq!(decide(&fleet, 12), Decision { actions: vec![], wake: Some(at(13)) });
    assert_eq!(decide(&fleet, 13).actions, [Action::Start(claim)]);
}

#[test]
fn rule_3_of_two_claims_the_younger_withdraws_after_settling() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 8, 1);
    fleet.claim(2, "a", ReplicaState::Claimed, 9);
    let younger = fleet.claim(1, "a", ReplicaState::Claimed, 10);
    assert!(decide(&fleet, 12).actions.is_empty());
    assert_eq!(decide(&fleet, 13).actions, [withdraw(younger, WithdrawReason::Surplus)]);
}

#[test]
fn rule_3_what_has_started_is_given_up_only_for_what_is_as_far() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 8, 1);
    let older = fleet.claim(2, "a", ReplicaState::Claimed, 9);
    let started = fleet.claim(1, "a", ReplicaState::Starting, 10);
    assert!(decide(&fleet, 20).actions.is_empty());
    fleet.set_state(older, ReplicaState::Starting);
    assert_eq!(decide(&fleet, 20).actions, [withdraw(started, WithdrawReason::Surplus)]);
    let quiet = fleet.liveness(2, Liveness::Suspect { since: at(19) });
    assert!(decide(&quiet, 20).actions.is_empty(), "nor for what may be gone");
}

/// Node 1 is the last of `nodes` candidates for endpoint `a`, because a replica leaves most over there.
fn last_of(nodes: u8) -> Fleet {
    (2..=nodes).fold(Fleet::new().node(1, 8), |fleet, node| fleet.node(node, 2)).endpoint("a", 2, 1)
}

#[test]
fn rule_3_candidates_take_turns() {
    let step = Timing::default().step;
    let fleet = last_of(3);
    let mut elector = Elector::new(id(1), Timing::default(), Memory::default());
    elector.step(&last_of(3).spec("a", |spec| spec.replicas.min = 0).view, at(0));
    let turn = at(10).plus(2 * step);
    assert_eq!(elector.step(&fleet.view, at(10)), Decision { actions: vec![], wake: Some(turn) });
    assert_eq!(elector.step(&fleet.view, at(12)), Decision { actions: vec![], wake: Some(turn) });
    assert_eq!(elector.step(&fleet.view, turn).actions, [claim_of("a", &fleet)]);
    // With two missing it is only one behind, and that one must have the time to be heard.
    let fleet = fleet.spec("a", |spec| spec.replicas.min = 2);
    let more = elector.step(&fleet.view, turn);
    assert_eq!(more, Decision { actions: vec![], wake: Some(turn.plus(step)) });
}

#[test]
fn rule_3_who_becomes_a_candidate_later_waits_from_then_on() {
    let mut fleet = last_of(2);
    let mut elector = Elector::new(id(1), Timing::default(), Memory::default());
    elector.step(&Fleet::new().node(1, 8).view, at(0));
    fleet.node_mut(1).gpus.iter_mut().for_each(|gpu| gpu.used_by = GpuUse::Unknown);
    assert_eq!(elector.step(&fleet.view, at(10)), Decision::default());
    fleet.node_mut(1).gpus.iter_mut().for_each(|gpu| gpu.used_by = GpuUse::Free);
    let turn = at(60).plus(Timing::default().step);
    assert_eq!(elector.step(&fleet.view, at(60)), Decision { actions: vec![], wake: Some(turn) });
}

#[test]
fn rule_3_far_candidates_wait_together_behind_the_near_ones() {
    let wake = |nodes| decide(&last_of(nodes), 10).wake;
    assert_eq!(wake(17), Some(at(10).plus(16 * Timing::default().step)));
    assert_eq!(wake(60), Some(at(10).plus(17 * Timing::default().step)));
}

#[test]
fn rule_3_larger_replicas_go_first() {
    let fleet = Fleet::new().node(1, 9).endpoint("large", 8, 1).endpoint("small", 1, 1);
    let first = decide(&fleet, 10);
    assert_eq!(first.actions, [claim_of("large", &fleet)]);
    assert_eq!(first.wake, Some(at(10).plus(Timing::default().step)));
    let alone = Fleet::new().node(1, 4).endpoint("large", 8, 1).endpoint("small", 1, 1);
    assert_eq!(decide(&alone, 10).actions, [claim_of("small", &alone)], "nobody could run the large one");
}

#[test]
fn rule_3_a_fresh_elector_listens_first() {
    let fleet = Fleet::new().node(1, 8).endpoint("a", 1, 1);
    let mut elector = Elector::new(id(1), Timing::default(), Memory::default());
    assert_eq!(elector.step(&fleet.view, at(0)), Decision { actions: vec![], wake: Some(at(3)) });
    assert_eq!(elector.step(&fleet.view, at(3)).actions, [claim_of("a", &fleet)]);
}

#[test]
fn rule_3_small_replicas_fill_broken_hosts_and_the_home_cluster_comes_first() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).node(3, 8).endpoint("a", 2, 1).endpoint("b", 4, 1);
    fleet.claim(2, "b", ReplicaState::Ready, 0);
    assert_eq!(ranked(&fleet, "a")[0], id(2));
    let home = |spec: &mut shoal_types::EndpointSpec| spec.placement.home = Some("home".to_owned());
    let fleet = fleet.cluster(3, "home").spec("a", home);
    assert_eq!(ranked(&fleet, "a")[..2], [id(3), id(2)]);
}

#[test]
fn rule_3_replicas_spread_over_zones_and_nodes() {
    let mut fleet = Fleet::new().node(1, 2).node(2, 8).node(3, 8).zone(1, "x").zone(2, "x").zone(3, "y");
    fleet = fleet.endpoint("a", 1, 2);
    fleet.claim(1, "a", ReplicaState::Ready, 0);
    assert_eq!(ranked(&fleet, "a")[2], id(1), "even though it fits best");
    let fleet = fleet.spec("a", |spec| spec.placement.spread = Some(Spread::Zone));
    assert_eq!(ranked(&fleet, "a")[0], id(3));
}

#[test]
fn rule_3_replicas_without_gpus_go_where_there_are_fewest() {
    for empty in 1..=3 {
        let mut fleet = Fleet::new().node(1, 0).node(2, 0).node(3, 0).endpoint("a", 0, 8);
        for node in (1..=3).filter(|&node| node != empty) {
            fleet.claim(node, "a", ReplicaState::Ready, 0);
        }
        assert_eq!(ranked(&fleet, "a")[0], id(empty));
    }
}

#[test]
fn rule_3_many_small_replicas_fill_hosts_up_to_a_quarter_each() {
    let mut mesh = Lockstep::new((1..=12).fold(Fleet::new(), |fleet, node| fleet.node(node, 8)).endpoint("a", 1, 12));
    mesh.run_until(150);
    let held: Vec<usize> = mesh.fleet.view.nodes.values().map(|node| node.claims.len()).filter(|&n| n > 0).collect();
    assert_eq!(held, [3; 4]);
}

#[test]
fn rule_3_what_is_missing_together_is_planned_together() {
    let fleet = (1..=4).fold(Fleet::new(), |fleet, node| fleet.node(node, 8));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let fleet = names.iter().fold(fleet, |fleet, endpoint| fleet.endpoint(endpoint, 1, 1));
    let claims = |node| {
        let mut elector = Elector::new(id(node), Timing::default(), Memory::default());
        elector.step(&Fleet::new().node(node, 8).view, at(0));
        elector.step(&fleet.view, at(10)).actions.len()
    };
    let claiming: Vec<u8> = (1..=4).filter(|&node| claims(node) > 0).collect();
    assert_eq!(claiming.len(), 1, "they break one host, and leave three whole: {claiming:?}");
}

#[test]
fn rule_3_a_node_takes_several_replicas_if_it_is_alone_two_at_a_time() {
    let mut mesh = Lockstep::new(Fleet::new().node(1, 8).endpoint("a", 2, 3).endpoint("cpu", 0, 3));
    let log = mesh.run_until(91);
    let claims =
        |now| log.iter().filter(|(at, _, action)| *at == now && matches!(action, Action::Claim { .. })).count();
    assert_eq!(claims(at(90)), 2);
    mesh.run_until(120);
    let ready = |endpoint: &str| {
        mesh.fleet.view.claims_of(&name(endpoint)).filter(|(_, claim)| claim.state == ReplicaState::Ready).count()
    };
    assert_eq!((ready("a"), ready("cpu")), (3, 3));
}

#[test]
fn rule_4_surplus_drains_after_settling_and_names_who_stays() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 8, 1);
    let surplus = fleet.claim(1, "a", ReplicaState::Ready, 10);
    let kept = fleet.claim(2, "a", ReplicaState::Ready, 0);
    assert_eq!(decide(&fleet, 20), Decision { actions: vec![], wake: Some(at(23)) });
    let again = decide_after(&fleet, 20, 23);
    assert_eq!(again.actions, [drain(surplus, DrainReason::Surplus, &[kept])]);
    assert_eq!(again.wake, Some(at(26)), "asked again later, not at once");
    fleet.set_state(kept, ReplicaState::Warming);
    assert!(decide_after(&fleet, 20, 60).actions.is_empty());
}

#[test]
fn rule_4_a_rollout_replaces_one_by_one_and_waits_in_a_full_fleet() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).node(3, 8).endpoint("a", 8, 2);
    let old_1 = fleet.claim(1, "a", ReplicaState::Ready, 5);
    let old_2 = fleet.claim(2, "a", ReplicaState::Ready, 0);
    let mut fleet = fleet.revise("a");
    assert!(decide_after(&fleet, 10, 60).actions.is_empty());
    let new = fleet.claim(3, "a", ReplicaState::Warming, 10);
    assert!(decide_after(&fleet, 10, 60).actions.is_empty());
    fleet.set_state(new, ReplicaState::Ready);
    let drained = drain(old_1, DrainReason::Superseded, &[new, old_2]);
    assert_eq!(decide_after(&fleet, 10, 60).actions, [drained]);

    let mut full = Lockstep::new(fleet);
    full.run_until(150);
    let revision = full.fleet.record("a").revision;
    let claims: Vec<&Claim> = full.fleet.view.claims().map(|(_, claim)| claim).collect();
    assert_eq!(claims.len(), 2);
    assert!(claims.iter().all(|claim| claim.revision == revision && claim.state == ReplicaState::Ready));
}

#[test]
fn rule_4_an_old_revision_that_does_not_serve_is_given_up() {
    let mut fleet = Fleet::new().node(1, 8).endpoint("a", 8, 1);
    let old = fleet.claim(1, "a", ReplicaState::Warming, 0);
    let fleet = fleet.revise("a");
    assert_eq!(decide(&fleet, 10).actions, [withdraw(old, WithdrawReason::Superseded)]);
}

#[test]
fn rule_4_a_deleted_or_unwanted_endpoint_needs_no_confirmation() {
    let mut fleet = Fleet::new().node(1, 8).endpoint("a", 1, 2);
    let ready = fleet.claim(1, "a", ReplicaState::Ready, 0);
    let starting = fleet.claim(1, "a", ReplicaState::Starting, 0);
    let expected = [drain(ready, DrainReason::Unwanted, &[]), withdraw(starting, WithdrawReason::Unwanted)];
    let zero = fleet.clone().spec("a", |spec| spec.replicas.min = 0);
    assert_eq!(decide(&zero, 10).actions, expected);
    fleet.view.endpoints.clear();
    assert_eq!(decide(&fleet, 10).actions, expected);
}

#[test]
fn rule_4_a_departing_node_serves_until_it_is_replaced_or_must_go() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 4, 1).endpoint("b", 1, 1);
    let leaving = fleet.claim(1, "a", ReplicaState::Ready, 0);
    let claimed = fleet.claim(1, "b", ReplicaState::Claimed, 9);
    let mut fleet = departing(fleet, 1, Some(100));
    assert_eq!(decide(&fleet, 10).actions, [withdraw(claimed, WithdrawReason::Departing)]);
    let replacement = fleet.claim(2, "a", ReplicaState::Ready, 20);
    let drained = drain(leaving, DrainReason::Departing, &[replacement]);
    assert!(decide_after(&fleet, 30, 33).actions.contains(&drained));
    fleet.set_state(replacement, ReplicaState::Starting);
    fleet.node_mut(1).claims.remove(&claimed);
    assert_eq!(decide_after(&fleet, 30, 90), Decision { actions: vec![], wake: Some(at(100)) });
    assert_eq!(decide(&fleet, 100).actions, [drain(leaving, DrainReason::Deadline, &[])]);
}

#[test]
fn rule_4_departures_that_meet_wait_for_replacements() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).node(3, 8).endpoint("a", 8, 2);
    fleet.claim(1, "a", ReplicaState::Ready, 0);
    fleet.claim(2, "a", ReplicaState::Ready, 0);
    fleet.claim(3, "a", ReplicaState::Ready, 0);
    let fleet = departing(departing(fleet, 1, None), 2, None);
    assert!(decide_after(&fleet, 10, 60).actions.is_empty(), "two are wanted, and only one of those that serve stays");
}

#[test]
fn rule_6_replacement_waits_for_replace_after() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).node(3, 8).endpoint("a", 8, 2);
    fleet.claim(2, "a", ReplicaState::Ready, 0);
    fleet.claim(3, "a", ReplicaState::Ready, 0);
    let one = fleet.clone().liveness(3, Liveness::Suspect { since: at(50) });
    assert_eq!(decide(&one, 59), Decision { actions: vec![], wake: Some(at(60)) });
    assert_eq!(decide(&one, 60).actions, [claim_of("a", &one)]);
    let both = one.liveness(2, Liveness::Suspect { since: at(50) });
    assert_eq!(decide(&both, 50).actions, [claim_of("a", &both)], "nobody serves: at once");
    assert_eq!(decide(&fleet.liveness(3, Liveness::Left), 50).actions, [claim_of("a", &both)], "it said goodbye");
}

#[test]
fn rule_6_a_node_that_is_cut_off_replaces_only_what_nobody_serves() {
    let fleet = (1..=7).fold(Fleet::new(), |fleet, node| fleet.node(node, 8));
    let mut fleet = fleet.endpoint("half", 2, 2).endpoint("gone", 2, 2);
    for (node, endpoint) in [(1, "half"), (4, "half"), (5, "gone"), (6, "gone")] {
        fleet.claim(node, endpoint, ReplicaState::Ready, 0);
    }
    let mut mesh = Lockstep::new(fleet);
    assert!(mesh.run_until(100).is_empty());
    for node in 4..=7 {
        mesh.fleet = mesh.fleet.clone().liveness(node, Liveness::Suspect { since: at(100) });
    }
    let claimed = |log: &[(UnixMillis, NodeId, Action)], endpoint: &str| {
        log.iter()
            .filter(|(_, _, action)| matches!(action, Action::Claim { endpoint: e, .. } if *e == name(endpoint)))
            .count()
    };
    let cut_off = mesh.run_until(400);
    assert_eq!((claimed(&cut_off, "half"), claimed(&cut_off, "gone")), (0, 1));
    let later = mesh.run_until(430);
    assert_eq!((claimed(&later, "half"), claimed(&later, "gone")), (1, 1));
}

#[test]
fn a_node_whose_store_is_behind_elects_nothing() {
    let fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 8, 1);
    let mut newer = fleet.clone().revise("a");
    newer.claim(2, "a", ReplicaState::Starting, 0);
    newer.view.endpoints = fleet.view.endpoints;
    assert!(decide_after(&newer, 10, 60).actions.is_empty());
}

#[test]
fn a_refusal_ends_in_another_try() {
    let mut fleet = Fleet::new().node(1, 8).endpoint("a", 8, 1);
    let revision = fleet.record("a").revision;
    let refusal = shoal_types::Refusal {
        cause: shoal_types::RefusalCause::Unfit,
        endpoint: name("a"),
        revision,
        until: at(40),
        reason: "no disk".to_owned(),
    };
    fleet.node_mut(1).refusals.push(refusal);
    let refused = decide(&fleet, 10);
    assert_eq!(refused, Decision { actions: vec![], wake: Some(at(40)) });
    assert_eq!(decide(&fleet, 40).actions, [claim_of("a", &fleet)]);
}

#[test]
fn the_settle_time_is_longer_than_two_turns_apart() {
    let timing = Timing::default();
    assert!(timing.step < timing.settle && timing.settle >= Duration::from_millis(2_650));
}
