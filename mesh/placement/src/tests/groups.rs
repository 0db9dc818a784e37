//! Endpoints that want several kinds of replicas: of two revisions, on spot and on firm capacity.

use shoal_types::{
    CapacityType, ClaimId, Hlc, Liveness, PastRevision, Percent,
    ReplicaState::{Backoff, Claimed, Loading, Ready, Starting},
    Revision, Spot,
};

use super::{
    fleet::{Fleet, at, id, name},
    lockstep::Lockstep,
};
use crate::{
    Action, Decision, DrainReason, Elector, Memory, Scene, Timing, WithdrawReason, agenda::take_censuses,
    presence::Patience, want::Class,
};

/// What node `me` decides once it has watched the same view for a while, up to `now`.
fn decide(fleet: &Fleet, me: u8, now: u64) -> Decision {
    let mut elector = Elector::new(id(me), Timing::default(), Memory::default());
    elector.step(&fleet.view, at(0));
    elector.step(&fleet.view, at(now.saturating_sub(9)));
    elector.step(&fleet.view, at(now))
}

/// How many of each class endpoint `a` wants.
fn wanted(fleet: &Fleet) -> Vec<(Class, usize)> {
    let mut memory = Memory::default();
    memory.observe(&fleet.view, at(50));
    let scene = Scene { view: &fleet.view, memory: &memory, now: at(50) };
    let censuses = take_censuses(&scene, &Patience { now: at(50), guard: None });
    censuses[0].groups.iter().map(|group| (group.want.class, group.want.count)).collect()
}

/// Nodes 1 to 6 are spot, 7 to 9 are on demand; endpoint `a` wants `replicas` with `spot`.
fn hedged(replicas: u32, spot: Spot) -> Fleet {
    let fleet = (1..=9).fold(Fleet::new(), |fleet, node| fleet.node(node, 1));
    let fleet = (1..=6).fold(fleet, |fleet, node| fleet.capacity(node, CapacityType::Spot));
    fleet.endpoint("a", 1, replicas).spec("a", |spec| spec.placement.spot = Some(spot))
}

/// An endpoint `a` of `min` replicas with a revision before the present one, which is returned.
fn revised(fleet: Fleet, min: u32) -> (Fleet, Revision) {
    let fleet = fleet.endpoint("a", 1, min);
    let past = fleet.record("a").clone();
    let fleet = fleet.revise("a").past("a", PastRevision { revision: past.revision, spec: past.endpoint.spec });
    (fleet, past.revision)
}

fn claims_of(decision: &Decision) -> Vec<Revision> {
    let claim = |action: &Action| match action {
        Action::Claim { revision, .. } => Some(*revision),
        Action::Start(_) | Action::Wake(_) | Action::Withdraw { .. } | Action::Drain { .. } | Action::Move { .. } => {
            None
        }
    };
    decision.actions.iter().filter_map(claim).collect()
}

fn drained(decision: &Decision) -> Vec<(ClaimId, DrainReason)> {
    let drain = |action: &Action| match action {
        Action::Drain { claim, reason, .. } => Some((*claim, reason.clone())),
        Action::Claim { .. } | Action::Start(_) | Action::Wake(_) | Action::Withdraw { .. } | Action::Move { .. } => {
            None
        }
    };
    decision.actions.iter().filter_map(drain).collect()
}

#[test]
fn rule_3_spot_overprovision_and_base_are_elected_apart() {
    let spot = Spot { overprovision: 1, on_demand_fallback: false, on_demand_base: 1 };
    assert_eq!(wanted(&hedged(4, spot.clone())), [(Class::Spot, 4), (Class::Firm, 1)]);
    let mut mesh = Lockstep::new(hedged(4, spot));
    mesh.run_until(140);
    let ready = |class: Class| {
        let claims = mesh.fleet.view.claims();
        claims.filter(|(node, claim)| class.contains(node) && claim.state == Ready).count()
    };
    assert_eq!((ready(Class::Spot), ready(Class::Firm)), (4, 1));
}

#[test]
fn rule_3_without_spot_in_the_spec_all_capacity_is_one() {
    let fleet = hedged(4, Spot::default()).spec("a", |spec| spec.placement.spot = None);
    assert_eq!(wanted(&fleet), [(Class::Any, 4)]);
}

#[test]
fn rule_3_one_preemption_that_leaves_enough_starts_nothing_on_demand() {
    let mut fleet = hedged(3, Spot::default());
    let spots: Vec<ClaimId> = (1..=4).map(|node| fleet.claim(node, "a", Ready, 0)).collect();
    assert_eq!(wanted(&fleet), [(Class::Spot, 4), (Class::Firm, 0)]);
    fleet.node_mut(1).claims.remove(&spots[0]);
    assert_eq!(wanted(&fleet), [(Class::Spot, 4), (Class::Firm, 0)], "the overprovision carries it");
    fleet.node_mut(2).claims.remove(&spots[1]);
    assert_eq!(wanted(&fleet), [(Class::Spot, 4), (Class::Firm, 1)]);
}

#[test]
fn rule_3_who_serves_soonest_fills_the_gap() {
    let mut fleet = hedged(3, Spot::default());
    fleet.claim(1, "a", Ready, 0);
    fleet.claim(2, "a", Ready, 0);
    let spot = fleet.claim(3, "a", Loading, 20);
    assert_eq!(wanted(&fleet)[1], (Class::Firm, 0), "what starts now on demand would be ready after it");
    fleet.set_state(spot, Backoff);
    assert_eq!(wanted(&fleet)[1], (Class::Firm, 1), "what crashed may never serve");
    fleet.set_state(spot, Loading);
    let standin = fleet.claim(7, "a", Loading, 10);
    assert_eq!(wanted(&fleet)[1], (Class::Firm, 1), "what has loaded longer goes on");
    fleet.set_state(standin, Ready);
    assert_eq!(wanted(&fleet)[1], (Class::Firm, 1));
    fleet.set_state(spot, Ready);
    assert_eq!(wanted(&fleet)[1], (Class::Firm, 0), "and is surplus once spot capacity carries all again");
    assert_eq!(drained(&decide(&fleet, 7, 60)), [(standin, DrainReason::Surplus)]);
}

#[test]
fn rule_3_stand_ins_wait_for_spot_nodes_and_come_where_there_are_none() {
    let mut mesh = Lockstep::new(hedged(3, Spot::default()));
    let log = mesh.run_until(140);
    let on_demand = |fleet: &Fleet| fleet.view.claims().filter(|(node, _)| Class::Firm.contains(node)).count();
    assert!(log.iter().all(|(_, node, _)| node.as_bytes()[0] <= 6), "spot nodes claimed first: {log:?}");
    for node in 1..=5 {
        mesh.fleet.node_mut(node).claims.clear();
        mesh.fleet = mesh.fleet.clone().liveness(node, Liveness::Left);
    }
    mesh.run_until(190);
    assert_eq!(on_demand(&mesh.fleet), 2, "one spot node is left, and three are wanted");
    for node in 1..=5 {
        mesh.fleet = mesh.fleet.clone().liveness(node, Liveness::Alive);
    }
    mesh.run_until(240);
    assert_eq!(on_demand(&mesh.fleet), 0);
    assert_eq!(mesh.fleet.view.claims().filter(|(_, claim)| claim.state == Ready).count(), 4);
}

#[test]
fn rule_3_the_base_and_the_hedge_are_shared_by_two_revisions() {
    let fleet = (1..=9).fold(Fleet::new(), |fleet, node| fleet.node(node, 1));
    let (fleet, old) = revised(fleet, 4);
    let new = fleet.record("a").revision;
    let spot = Spot { overprovision: 1, on_demand_fallback: false, on_demand_base: 2 };
    let fleet = fleet.spec("a", |spec| spec.placement.spot = Some(spot));
    let at_step = |new_share, old_share| wanted(&fleet.clone().mandate("a", 1, &[(new, new_share), (old, old_share)]));
    assert_eq!(at_step(1, 3), [(Class::Spot, 1), (Class::Firm, 0), (Class::Spot, 2), (Class::Firm, 2)]);
    assert_eq!(at_step(2, 2), [(Class::Spot, 1), (Class::Firm, 1), (Class::Spot, 2), (Class::Firm, 1)]);
    assert_eq!(at_step(4, 0), [(Class::Spot, 3), (Class::Firm, 2)]);
    for share in 0..=4 {
        let sum = |class| at_step(share, 4 - share).into_iter().filter(|(of, _)| *of == class).map(|(_, n)| n).sum();
        let (spot, firm): (usize, usize) = (sum(Class::Spot), sum(Class::Firm));
        assert_eq!((spot, firm), (3, 2), "share {share}");
    }
}

#[test]
fn rule_4_a_rollout_claims_no_more_than_the_surge_allows() {
    let fleet = (1..=12).fold(Fleet::new(), |fleet, node| fleet.node(node, 1));
    let (mut fleet, old) = revised(fleet, 4);
    let new = fleet.record("a").revision;
    for node in 1..=4 {
        fleet.claim_of(node, "a", old, Ready, u64::from(node));
    }
    let fleet = fleet.mandate("a", 1, &[(new, 4)]).spec("a", |spec| spec.rollout.max_surge = Percent::from_whole(50));
    let mut mesh = Lockstep::new(fleet);
    let mut most = 0;
    for second in 91..220 {
        mesh.run_until(second);
        most = most.max(mesh.fleet.view.claims().count());
        let ready = mesh.fleet.view.claims().filter(|(_, claim)| claim.state == Ready).count();
        assert!(ready >= 4, "{ready} at {second}");
    }
    assert_eq!(most, 6);
    assert!(mesh.fleet.view.claims().all(|(_, claim)| claim.revision == new && claim.state == Ready));
    assert_eq!(mesh.fleet.view.claims().count(), 4);
}

#[test]
fn rule_5_a_canary_stands_as_the_steward_says() {
    let fleet = (1..=12).fold(Fleet::new(), |fleet, node| fleet.node(node, 1));
    let (mut fleet, old) = revised(fleet, 4);
    let new = fleet.record("a").revision;
    for node in 1..=4 {
        fleet.claim_of(node, "a", old, Ready, u64::from(node));
    }
    let mut mesh = Lockstep::new(fleet.mandate("a", 1, &[(new, 1), (old, 3)]));
    let log = mesh.run_until(200);
    let of = |mesh: &Lockstep, revision| {
        mesh.fleet.view.claims().filter(|(_, claim)| claim.revision == revision && claim.state == Ready).count()
    };
    assert_eq!((of(&mesh, new), of(&mesh, old)), (1, 3));
    let reasons: Vec<_> = log
        .iter()
        .filter_map(|(_, _, action)| match action {
            Action::Drain { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [DrainReason::Superseded]);
    // Rolled back: the new one goes, the old one comes back.
    mesh.fleet = mesh.fleet.clone().mandate("a", 2, &[(old, 4)]);
    mesh.run_until(260);
    assert_eq!((of(&mesh, new), of(&mesh, old)), (0, 4));
}

#[test]
fn rule_4_the_cover_prefers_what_is_kept() {
    let fleet = (1..=4).fold(Fleet::new(), |fleet, node| fleet.node(node, 1));
    let (mut fleet, old) = revised(fleet, 2);
    let new = fleet.record("a").revision;
    let surplus = fleet.claim_of(1, "a", old, Ready, 5);
    let kept_old = fleet.claim_of(2, "a", old, Ready, 0);
    let kept_new = fleet.claim_of(3, "a", new, Ready, 9);
    let fleet = fleet.mandate("a", 1, &[(new, 1), (old, 1)]);
    let confirm = vec![(id(3), kept_new), (id(2), kept_old)];
    let drain = Action::Drain { claim: surplus, reason: DrainReason::Superseded, confirm };
    assert_eq!(decide(&fleet, 1, 60).actions, [drain]);
    assert_eq!(decide(&fleet, 2, 60).actions, []);
    assert_eq!(decide(&fleet, 3, 60).actions, []);
}

#[test]
fn rule_4_what_is_kept_beyond_the_desired_does_not_drain() {
    let mut fleet = hedged(2, Spot::default());
    for node in 1..=3 {
        fleet.claim(node, "a", Ready, u64::from(node));
    }
    for node in 1..=3 {
        assert_eq!(decide(&fleet, node, 60).actions, [], "two others serve, but three are wanted");
    }
}

#[test]
fn rule_4_a_full_fleet_breaks_before_it_makes_where_the_spec_allows_it() {
    let fleet = (1..=2).fold(Fleet::new(), |fleet, node| fleet.node(node, 1));
    let (mut fleet, old) = revised(fleet, 2);
    let new = fleet.record("a").revision;
    let first = fleet.claim_of(1, "a", old, Ready, 0);
    let second = fleet.claim_of(2, "a", old, Ready, 5);
    let fleet = fleet.mandate("a", 1, &[(new, 2)]);
    assert_eq!(decide(&fleet, 2, 60).actions, [], "no room, and none may be missing");
    let fleet = fleet.spec("a", |spec| spec.rollout.max_unavailable = 1);
    let drain = Action::Drain { claim: second, reason: DrainReason::Superseded, confirm: vec![(id(1), first)] };
    assert_eq!(decide(&fleet, 2, 60).actions, [drain]);
    assert_eq!(decide(&fleet, 1, 60).actions, [], "one at a time");
    let with_room = fleet.clone().node(3, 1);
    assert_eq!(decide(&with_room, 2, 60).actions, [], "there is room: nothing needs to break");
    let mut refused = fleet.clone();
    for node in [1, 2] {
        let refusal = shoal_types::Refusal {
            cause: shoal_types::RefusalCause::Unfit,
            endpoint: name("a"),
            revision: new,
            until: at(900),
            reason: "no disk".to_owned(),
        };
        refused.node_mut(node).refusals.push(refusal);
    }
    assert_eq!(decide(&refused, 2, 60).actions, [], "the new revision would not run there either");

    let mut mesh = Lockstep::new(fleet);
    for until in 91..160 {
        mesh.run_until(until);
        assert!(mesh.fleet.view.claims().any(|(_, claim)| claim.state == Ready));
    }
    assert!(mesh.fleet.view.claims().all(|(_, claim)| claim.revision == new && claim.state == Ready));
}

#[test]
fn rule_5_after_an_undo_an_older_revision_is_the_present_one() {
    let fleet = (1..=3).fold(Fleet::new(), |fleet, node| fleet.node(node, 1)).endpoint("a", 1, 1);
    let before = fleet.record("a").clone();
    let later = Revision(Hlc { time: at(7), counter: 0, node: id(2) });
    let mut fleet = fleet.past("a", PastRevision { revision: later, spec: before.endpoint.spec.clone() });
    let undone = fleet.claim_of(2, "a", later, Ready, 0);
    let fleet = fleet.mandate("a", 1, &[(before.revision, 1)]);
    let claimed = [1, 3].map(|node| claims_of(&decide(&fleet, node, 60)));
    assert!(claimed.iter().flatten().all(|&revision| revision == before.revision) && !claimed.concat().is_empty());
    let mut mesh = Lockstep::new(fleet);
    mesh.run_until(130);
    let claims: Vec<_> = mesh.fleet.view.claims().map(|(_, claim)| (claim.revision, claim.state)).collect();
    assert_eq!(claims, [(before.revision, Ready)]);
    assert!(mesh.fleet.view.claims().all(|(_, claim)| claim.id != undone));
}

#[test]
fn rule_5_a_mandate_of_a_revision_that_the_store_does_not_know_elects_nothing() {
    let fleet = Fleet::new().node(1, 8).endpoint("a", 1, 2);
    let unknown = Revision(Hlc { time: at(7), counter: 0, node: id(2) });
    let known = fleet.record("a").revision;
    assert_eq!(claims_of(&decide(&fleet.clone().mandate("a", 1, &[(known, 2)]), 1, 60)), [known, known]);
    let behind = fleet.mandate("a", 1, &[(unknown, 1), (known, 1)]);
    assert_eq!(decide(&behind, 1, 60).actions, []);
}

#[test]
fn rule_5_at_zero_a_replica_ends_for_want_of_requests_and_a_sleeper_sleeps_on() {
    let mut fleet = Fleet::new().node(1, 8).endpoint("a", 1, 0).spec("a", |spec| spec.replicas.max = Some(3));
    let revision = fleet.record("a").revision;
    let ready = fleet.claim(1, "a", Ready, 0);
    fleet.claim(1, "a", shoal_types::ReplicaState::Asleep, 0);
    let claimed = fleet.claim(1, "a", Claimed, 0);
    let fleet = fleet.mandate("a", 1, &[(revision, 0)]);
    let drain = Action::Drain { claim: ready, reason: DrainReason::Idle, confirm: vec![] };
    let withdraw = Action::Withdraw { claim: claimed, reason: WithdrawReason::Unwanted };
    assert_eq!(decide(&fleet, 1, 60).actions, [drain, withdraw]);
}

#[test]
fn rule_6_a_cluster_of_two_of_five_that_is_lost_is_replaced_at_once() {
    let mut fleet = (1..=5).fold(Fleet::new(), |fleet, node| fleet.node(node, 4)).endpoint("a", 1, 4);
    fleet = fleet.spec("a", |spec| spec.placement.replace_after = shoal_types::HumanDuration::from_secs(0));
    for node in 1..=4 {
        fleet.claim(node, "a", Ready, u64::from(node));
    }
    let mut mesh = Lockstep::new(fleet);
    assert_eq!(mesh.run_until(100), []);
    for node in [1, 2] {
        mesh.fleet = mesh.fleet.clone().liveness(node, Liveness::Suspect { since: at(100) });
    }
    let log = mesh.run_until(108);
    let times = |wanted: fn(&Action) -> bool| -> Vec<_> {
        log.iter().filter(|(_, _, action)| wanted(action)).map(|(time, ..)| *time).collect()
    };
    assert_eq!(times(|action| matches!(action, Action::Claim { .. })), [at(100); 2]);
    let started = times(|action| matches!(action, Action::Start(_)));
    assert_eq!(started, [at(103); 2], "the settle time, and nothing else");
}

#[test]
fn rule_6_losing_three_of_five_is_a_partition() {
    let mut fleet = (1..=5).fold(Fleet::new(), |fleet, node| fleet.node(node, 4)).endpoint("a", 1, 4);
    fleet = fleet.spec("a", |spec| spec.placement.replace_after = shoal_types::HumanDuration::from_secs(0));
    for node in 1..=4 {
        fleet.claim(node, "a", Ready, u64::from(node));
    }
    let mut mesh = Lockstep::new(fleet);
    mesh.run_until(100);
    for node in [1, 2, 3] {
        mesh.fleet = mesh.fleet.clone().liveness(node, Liveness::Suspect { since: at(100) });
    }
    assert_eq!(mesh.run_until(395), [], "one still serves");
    assert!(!mesh.run_until(410).is_empty());
}

#[test]
fn what_stands_in_starts_only_when_spot_has_had_its_turn() {
    let mut fleet = hedged(1, Spot { overprovision: 0, ..Spot::default() });
    for node in 1..=6 {
        fleet.node_mut(node).gpus.clear();
    }
    let mut elector = Elector::new(id(7), Timing::default(), Memory::default());
    elector.step(&Fleet::new().node(7, 1).view, at(0));
    let first = elector.step(&fleet.view, at(10));
    assert_eq!((claims_of(&first).len(), first.wake), (0, Some(at(13))), "it is first in line, and waits");
    assert_eq!(claims_of(&elector.step(&fleet.view, at(13))).len(), 1);
    fleet.node_mut(1).gpus.push(super::fleet::gpu(0));
    fleet.claim(1, "a", Starting, 11);
    assert_eq!(claims_of(&elector.step(&fleet.view, at(14))).len(), 0);
}

#[test]
fn what_stands_in_waits_for_spot_though_the_base_is_missing_with_it() {
    let mut fleet = hedged(2, Spot { overprovision: 0, on_demand_base: 1, ..Spot::default() });
    for node in 1..=6 {
        fleet.node_mut(node).gpus.clear();
    }
    for node in 7..=8 {
        fleet = fleet.node(node, 8).called(node, "firm");
    }
    fleet.view.nodes.remove(&id(9));
    assert_eq!(wanted(&fleet), [(Class::Spot, 1), (Class::Firm, 2)], "the base and a stand-in");
    let mut electors = [7, 8].map(|node| Elector::new(id(node), Timing::default(), Memory::default()));
    let claimed = |electors: &mut [Elector; 2], now| -> Vec<usize> {
        electors.iter_mut().map(|elector| claims_of(&elector.step(&fleet.view, at(now))).len()).collect()
    };
    for elector in &mut electors {
        elector.step(&Fleet::new().node(7, 8).node(8, 8).view, at(0));
    }
    assert_eq!(claimed(&mut electors, 10).iter().sum::<usize>(), 1, "the base at once, what stands in not");
    let first = fleet.claim(7, "a", Claimed, 10);
    let claimed = |electors: &mut [Elector; 2], now| -> usize {
        electors.iter_mut().map(|elector| claims_of(&elector.step(&fleet.view, at(now))).len()).sum()
    };
    assert_eq!(claimed(&mut electors, 11), 0);
    assert_eq!(claimed(&mut electors, 12), 0);
    assert_eq!(claimed(&mut electors, 13), 1, "{first:?} is the base; spot has had its turn");
}
