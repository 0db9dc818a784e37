//! Rule 5: the word of the steward outlives it, and no disturbance shrinks a service.

use proptest::prelude::*;
use shoal_types::{Decimal, EndpointSpec, Replicas, Rollout, RolloutPhase, Strategy as RolloutStrategy, Targets};

use super::{
    mesh::{DOWN_DELAY, Mesh},
    stage::{Stage, counts},
};
use crate::{
    Desired, Memory, Scene, Steward, steward_of,
    tests::fleet::{Fleet, at, id, name},
};

const NODES: u8 = 5;

#[derive(Debug, Clone)]
enum Event {
    Load(u32),
    KillSteward,
    Kill(u8),
    Start(u8),
    Part(u8, u8),
    Heal,
    RestartAll,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0u32..250).prop_map(Event::Load),
        3 => (1u64..90).prop_map(Event::Wait),
        2 => Just(Event::KillSteward),
        1 => (1..=NODES).prop_map(Event::Kill),
        2 => (1..=NODES).prop_map(Event::Start),
        1 => (1..=NODES, 0u8..2).prop_map(|(node, side)| Event::Part(node, side)),
        1 => Just(Event::Heal),
        1 => Just(Event::RestartAll),
    ]
}

fn befall(mesh: &mut Mesh, event: &Event) {
    match *event {
        Event::Load(inflight) => mesh.inflight(inflight),
        Event::Wait(seconds) => mesh.run(seconds),
        Event::KillSteward => mesh.steward().into_iter().for_each(|node| mesh.kill(node)),
        Event::Kill(node) => mesh.kill(node),
        Event::Start(node) => mesh.start(node),
        Event::Part(node, side) => mesh.part(node, side),
        Event::Heal => mesh.heal(),
        Event::RestartAll => (1..=NODES).for_each(|node| mesh.start(node)),
    }
    mesh.run(3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The mesh itself asserts, at every step of every node, that nobody lowers what it has not watched long enough. In the
    /// end one node speaks, and all go by its word.
    #[test]
    fn rule_5_nothing_shrinks_before_a_steward_has_watched_the_whole_delay(events in prop::collection::vec(event(), 1..40)) {
        let mut mesh = Mesh::new(NODES);
        mesh.run(3);
        events.iter().for_each(|event| befall(&mut mesh, event));
        mesh.heal();
        (1..=NODES).for_each(|node| mesh.start(node));
        mesh.run(15);
        prop_assert_eq!(mesh.speakers(), vec![mesh.steward().unwrap()]);
        let standing = mesh.standing(1).cloned();
        prop_assert!((2..=NODES).all(|node| mesh.standing(node) == standing.as_ref()));
    }

    #[test]
    fn rule_5_a_steward_killed_mid_scale_is_followed_with_no_step_back(loads in prop::collection::vec(0u32..250, 1..6)) {
        let mut mesh = Mesh::new(NODES);
        let mut before = 0;
        for inflight in loads {
            mesh.inflight(inflight);
            mesh.run(8);
            let steward = mesh.steward().unwrap();
            let said = mesh.standing(steward).unwrap().clone();
            mesh.kill(steward);
            mesh.run(2);
            let next = mesh.steward().unwrap();
            prop_assert_ne!(next, steward);
            let standing = mesh.standing(next).unwrap();
            prop_assert!(standing.total() >= said.total().max(before), "{:?} after {:?}", standing, said);
            prop_assert!(standing.epoch > said.epoch);
            before = standing.total();
            mesh.start(steward);
        }
    }

    #[test]
    fn rule_5_a_heal_takes_the_larger_counts_of_both(sides in prop::collection::vec(0u8..2, NODES as usize), loads in [0u32..250, 0u32..250]) {
        let mut mesh = Mesh::new(NODES);
        mesh.run(3);
        for (node, side) in (1u8..).zip(&sides) {
            mesh.part(node, *side);
        }
        let halves: Vec<Vec<u8>> = (0..2).map(|side| (1..=NODES).filter(|node| sides[usize::from(*node - 1)] == side).collect()).collect();
        // One side sees one load, then the other side another one.
        for (half, inflight) in halves.iter().zip(loads) {
            half.iter().for_each(|node| mesh.start(*node));
            mesh.inflight(inflight);
            mesh.run(20);
        }
        let before: Vec<_> = (1..=NODES).map(|node| mesh.standing(node).unwrap().clone()).collect();
        mesh.heal();
        mesh.run(4);
        let standing = mesh.standing(1).unwrap();
        prop_assert!(before.iter().all(|side| standing.total() >= side.total() && standing.epoch >= side.epoch));
        prop_assert!((2..=NODES).all(|node| mesh.standing(node) == Some(standing)));
    }

    #[test]
    fn rule_5_a_restart_of_everything_shrinks_nothing(loads in prop::collection::vec(0u32..250, 1..5)) {
        let mut mesh = Mesh::new(NODES);
        for inflight in loads {
            mesh.inflight(inflight);
            mesh.run(10);
        }
        let stood = mesh.standing(1).unwrap().clone();
        mesh.inflight(0);
        (1..=NODES).for_each(|node| mesh.start(node));
        mesh.run(DOWN_DELAY - 5);
        prop_assert_eq!(mesh.standing(1).map(|mandate| mandate.total()), Some(stood.total()));
        mesh.run(10);
        prop_assert_eq!(mesh.standing(1).map(|mandate| mandate.total()), Some(1), "what was watched long enough is lowered");
    }

    /// Whatever the number of a node, it says the same of the same.
    #[test]
    fn rule_5_two_stewards_with_the_same_inputs_say_the_same(loads in prop::collection::vec((0u32..300, 1u64..40, prop::bool::weighted(0.1)), 1..30)) {
        let [one, other] = [1, 9].map(|node| monologue(node, &loads));
        prop_assert_eq!(one, other);
    }
}

/// What node `node` says alone, apart from epochs.
fn monologue(node: u8, loads: &[(u32, u64, bool)]) -> Vec<(Vec<u32>, RolloutPhase, String)> {
    let mut fleet = Fleet::new().node(node, 8).endpoint("a", 1, 1).spec("a", elastic);
    fleet.view.me = id(node);
    let (mut steward, mut memory, mut now, mut said) = (Steward::new(id(node)), Memory::default(), 0, Vec::new());
    for &(inflight, seconds, revise) in loads {
        if revise {
            fleet = fleet.revise("a");
        }
        let mut demand = super::stage::nothing();
        (demand.inflight, demand.arrivals) = (inflight, inflight);
        fleet.node_mut(node).demands.insert(name("a"), demand);
        for _ in 0..seconds {
            now += 1;
            memory.observe(&fleet.view, at(now));
            let mandate = steward.step(&Scene { view: &fleet.view, memory: &memory, now: at(now) }).mandates.remove(0);
            said.push((counts(&mandate), mandate.rollout, mandate.reason.clone()));
            fleet.node_mut(node).mandates.insert(name("a"), mandate);
        }
    }
    said
}

fn elastic(spec: &mut EndpointSpec) {
    spec.replicas = Replicas { min: 0, max: Some(20) };
    spec.scaling.targets = Targets { inflight: Some(Decimal::from_whole(10)), ..Targets::default() };
    spec.rollout = Rollout { strategy: RolloutStrategy::Canary, ..Rollout::default() };
}

#[test]
fn rule_5_an_idle_mesh_is_silent() {
    let mut mesh = Mesh::new(NODES);
    mesh.run(10);
    let said = mesh.standing(1).unwrap().clone();
    mesh.run(600);
    assert_eq!(mesh.standing(1), Some(&said));
    assert_eq!(said.epoch, 1);
}

#[test]
fn rule_5_a_partition_of_two_speaks_twice_and_then_once() {
    let mut mesh = Mesh::new(NODES);
    mesh.inflight(50);
    mesh.run(10);
    let steward = mesh.steward().unwrap();
    mesh.part(steward, 1);
    mesh.run(5);
    assert_eq!(mesh.speakers().len(), 2);
    let epochs = [steward, steward % NODES + 1].map(|node| mesh.standing(node).unwrap().epoch);
    mesh.heal();
    mesh.run(4);
    assert_eq!(mesh.speakers(), [steward]);
    assert_eq!(mesh.standing(steward).unwrap().epoch, epochs.into_iter().max().unwrap() + 1);
}

#[test]
fn rule_5_what_was_watched_of_half_the_mesh_lowers_nothing_after_the_heal() {
    let mut mesh = Mesh::new(NODES);
    mesh.inflight(90);
    mesh.run(10);
    let steward = mesh.steward().unwrap();
    mesh.part(steward, 1);
    mesh.inflight(0);
    mesh.run(DOWN_DELAY - 10);
    mesh.heal();
    mesh.run(DOWN_DELAY - 10);
    assert_eq!(mesh.standing(steward).unwrap().total(), 9);
    mesh.run(20);
    assert_eq!(mesh.standing(steward).unwrap().total(), 1);
}

#[test]
fn rule_5_a_steward_that_missed_what_was_said_is_told() {
    for last_speaker_lives in [true, false] {
        let mut mesh = Mesh::new(NODES);
        mesh.run(5);
        let first = mesh.steward().unwrap();
        mesh.kill(first);
        mesh.inflight(50);
        mesh.run(10);
        let second = mesh.steward().unwrap();
        if !last_speaker_lives {
            mesh.kill(second);
        }
        mesh.start(first);
        mesh.run(if last_speaker_lives { 4 } else { 15 });
        assert_eq!(mesh.speakers(), [first]);
        let node = (1..=NODES).find(|node| ![first, second].contains(node)).unwrap();
        assert_eq!(mesh.standing(first), mesh.standing(node));
        assert_eq!(mesh.standing(node).unwrap().total(), 5);
    }
}

#[test]
fn rule_5_a_steward_that_uses_an_epoch_twice_is_told() {
    let mut mesh = Mesh::new(NODES);
    mesh.run(5);
    let steward = mesh.steward().unwrap();
    mesh.inflight(50);
    while mesh.said(steward).epoch == 1 {
        mesh.tick();
    }
    // It dies before its disk has what all others hear.
    mesh.kill(steward);
    mesh.tick();
    mesh.start(steward);
    mesh.inflight(90);
    mesh.run(30);
    let node = steward % NODES + 1;
    assert_eq!(mesh.standing(steward), mesh.standing(node));
    assert_eq!(mesh.standing(node).unwrap().total(), 9);
}

#[test]
fn rule_5_what_is_claimed_stands_where_nobody_has_spoken() {
    let mut stage = Stage::new(|spec| {
        elastic(spec);
        spec.replicas.min = 1;
    });
    let revision = stage.record().revision;
    stage.ready(revision, 7);
    let mandate = stage.say();
    assert_eq!((counts(&mandate), mandate.epoch), (vec![7], 1));
}

#[test]
fn rule_5_the_greater_word_of_another_is_made_the_own_one() {
    let mut stage = Stage::new(elastic);
    let mut said = stage.say();
    (said.epoch, said.shares[0].replicas) = (8, 6);
    said.reason = "as it was".to_owned();
    stage.fleet = stage.fleet.clone().node(2, 8).liveness(2, shoal_types::Liveness::Left);
    stage.fleet.node_mut(2).mandates.insert(name("a"), said.clone());
    let mandate = stage.say();
    assert_eq!(
        (counts(&mandate), mandate.epoch, &mandate.reason, mandate.since),
        (vec![6], 9, &said.reason, said.since)
    );
    assert_eq!(stage.run(5), mandate, "once");
}

#[test]
fn rule_5_a_rollback_on_one_side_is_not_undone_by_the_other() {
    let mut stage = Stage::new(|spec| {
        elastic(spec);
        spec.replicas = Replicas { min: 10, max: None };
    });
    stage.follow();
    stage.apply();
    let mut said = stage.follow();
    said.shares.reverse();
    (said.shares[0].replicas, said.shares[1].replicas) = (12, 0);
    said.rollout = RolloutPhase::RolledBack;
    stage.write(|spec| spec.replicas = Replicas { min: 10, max: Some(20) });
    said.version = stage.record().version;
    let beside = |other: u8| stage.fleet.clone().node(other, 8);
    let other = (2..20).find(|other| steward_of(&beside(*other).view, &name("a")) == Some(id(1))).unwrap();
    stage.fleet = beside(other);
    stage.fleet.node_mut(other).mandates.insert(name("a"), said);
    let mandate = stage.say();
    assert_eq!((counts(&mandate), mandate.rollout), (vec![12, 0], RolloutPhase::RolledBack));
}

#[test]
fn rule_5_a_steward_whose_store_is_behind_repeats_what_stands() {
    let mut stage = Stage::new(elastic);
    stage.write(|spec| spec.replicas = Replicas { min: 4, max: Some(9) });
    stage.follow();
    let before = stage.record().clone();
    stage.apply();
    let said = stage.follow();
    *stage.record_mut() = before;
    stage.inflight(1_000);
    assert_eq!(stage.run(120), said);
}

#[test]
fn rule_5_a_deleted_endpoint_is_no_longer_spoken_of() {
    let fleet = Fleet::new().node(1, 8).endpoint("a", 1, 1);
    let (mut steward, mut memory, mut view) = (Steward::new(id(1)), Memory::default(), fleet.view);
    memory.observe(&view, at(0));
    assert_eq!(steward.step(&Scene { view: &view, memory: &memory, now: at(0) }).mandates.len(), 1);
    view.endpoints.clear();
    memory.observe(&view, at(1));
    assert!(steward.step(&Scene { view: &view, memory: &memory, now: at(1) }).mandates.is_empty());
}

#[test]
fn rule_5_all_read_what_the_steward_says() {
    let mut stage = Stage::new(elastic);
    stage.write(|spec| spec.replicas.min = 5);
    stage.say();
    stage.memory.observe(&stage.fleet.view, at(1));
    let scene = Scene { view: &stage.fleet.view, memory: &stage.memory, now: at(1) };
    assert_eq!(Desired::of(&scene, stage.record()).total(), 5);
}

#[test]
fn the_steward_is_not_a_node_that_leaves_unless_all_do() {
    let mut fleet = (1..=NODES).fold(Fleet::new(), |fleet, node| fleet.node(node, 8));
    let mut seen = Vec::new();
    for _ in 1..NODES {
        let steward = steward_of(&fleet.view, &name("a")).unwrap();
        assert!(!seen.contains(&steward));
        let node = (1..=NODES).find(|node| id(*node) == steward).unwrap();
        let departure = shoal_types::Departure {
            reason: shoal_types::DepartureReason::Drain,
            detail: None,
            since: at(0),
            deadline: None,
        };
        fleet.node_mut(node).departure = Some(departure);
        seen.push(steward);
    }
    let last = steward_of(&fleet.view, &name("a")).unwrap();
    let node = (1..=NODES).find(|node| id(*node) == last).unwrap();
    fleet = fleet.liveness(node, shoal_types::Liveness::Left);
    assert_eq!(steward_of(&fleet.view, &name("a")), Some(seen[0]), "all that are left are leaving");
}
