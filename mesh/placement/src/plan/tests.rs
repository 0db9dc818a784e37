use shoal_types::{EndpointSpec, GpuUse, ReplicaState};

use super::*;
use crate::{
    memory::NOTHING,
    muster::Standing,
    tests::fleet::{Fleet, at, record},
};

fn planned(fleet: &Fleet, proposed: &[Endpoint]) -> Plan {
    plan(&Scene { view: &fleet.view, memory: &NOTHING, now: at(10) }, proposed)
}

fn new(endpoint: &str, gpus: u32, replicas: u32) -> Endpoint {
    record(endpoint, gpus, replicas).endpoint
}

/// Endpoint `name` of `fleet`, changed.
fn changed(fleet: &Fleet, name: &str, change: impl FnOnce(&mut EndpointSpec)) -> Endpoint {
    let mut endpoint = fleet.record(name).endpoint.clone();
    change(&mut endpoint.spec);
    endpoint
}

fn other_model(spec: &mut EndpointSpec) {
    "test/other".clone_into(&mut spec.model);
}

/// Nodes of eight GPUs.
fn hosts(nodes: u8) -> Fleet {
    (1..=nodes).fold(Fleet::new(), |fleet, node| fleet.node(node, 8))
}

fn starts(plan: &Plan, endpoint: usize) -> usize {
    plan.endpoints[endpoint].starts.iter().map(|start| start.replicas).sum()
}

#[test]
fn what_is_new_gets_its_places() {
    let plan = planned(&hosts(2), &[new("a", 4, 3)]);
    assert_eq!(plan.outcome(), PlanOutcome::Changes);
    assert_eq!((plan.endpoints[0].change, starts(&plan, 0)), (Change::Created, 3));
}

#[test]
fn what_is_the_same_changes_nothing() {
    let mut fleet = hosts(1).endpoint("a", 4, 1);
    fleet.claim(1, "a", ReplicaState::Ready, 0);
    let plan = planned(&fleet, &[new("a", 4, 1)]);
    assert_eq!(plan.outcome(), PlanOutcome::Nothing);
    assert_eq!((&plan.endpoints[0].starts[..], &plan.endpoints[0].ends[..]), (&[][..], &[][..]));
}

#[test]
fn settings_restart_nothing_and_surplus_ends() {
    let mut fleet = hosts(1).endpoint("a", 2, 3);
    let claims = [0, 1, 2].map(|age| fleet.claim(1, "a", ReplicaState::Ready, age));
    let fewer = changed(&fleet, "a", |spec| spec.replicas.min = 2);
    let plan = planned(&fleet, &[fewer, new("b", 4, 1)]);
    let a = &plan.endpoints[0];
    assert_eq!((a.change, a.starts.len(), a.replicas), (Change::Adjusted, 0, 2));
    assert_eq!(
        a.ends.iter().map(|end| (end.claim, end.standing)).collect::<Vec<_>>(),
        [(claims[2], Standing::Surplus)]
    );
    assert_eq!(starts(&plan, 1), 1, "in its room");
}

#[test]
fn a_new_revision_replaces_all_and_goes_on_in_their_room() {
    let mut fleet = hosts(1).endpoint("a", 2, 3);
    let claims = [0, 1, 2].map(|age| fleet.claim(1, "a", ReplicaState::Ready, age));
    let plan = planned(&fleet, &[changed(&fleet, "a", other_model)]);
    let a = &plan.endpoints[0];
    assert_eq!((a.change, starts(&plan, 0), a.unplaced), (Change::Revised, 3, 0));
    let ends: Vec<_> = a.ends.iter().map(|end| (end.claim, end.standing)).collect();
    assert_eq!(ends, claims.map(|claim| (claim, Standing::Superseded)));
}

#[test]
fn a_rollout_without_room_for_the_first_one_cannot_begin() {
    let mut fleet = hosts(1).endpoint("a", 8, 1);
    fleet.claim(1, "a", ReplicaState::Ready, 0);
    let stuck = planned(&fleet, &[changed(&fleet, "a", other_model)]);
    assert_eq!(stuck.outcome(), PlanOutcome::CannotBePlaced);
    assert_eq!(stuck.endpoints[0].ends, []);
    let breaks_first = changed(&fleet, "a", |spec| {
        other_model(spec);
        spec.rollout.max_unavailable = 1;
    });
    assert_eq!(planned(&fleet, &[breaks_first]).outcome(), PlanOutcome::Changes);
}

#[test]
fn a_rollout_keeps_the_number_that_there_is() {
    let mut fleet = hosts(2).endpoint("a", 1, 1).spec("a", |spec| spec.replicas.max = Some(9));
    for age in 0..5 {
        fleet.claim(1, "a", ReplicaState::Ready, age);
    }
    assert_eq!(starts(&planned(&fleet, &[changed(&fleet, "a", other_model)]), 0), 5);
}

#[test]
fn what_cannot_be_placed_is_explained() {
    let plan = planned(&hosts(2), &[new("a", 8, 3)]);
    assert_eq!(plan.outcome(), PlanOutcome::CannotBePlaced);
    let a = &plan.endpoints[0];
    assert_eq!((a.unplaced, starts(&plan, 0)), (1, 2));
    assert_eq!((a.why[0].missing, a.why[0].next.len(), a.why[0].unplaced()), (3, 2, 1));
    let text = plan.to_string();
    assert!(text.starts_with("endpoint a: new; replicas: 3\n  starts:\n    1 on "), "{text}");
    assert!(text.contains("\n  1 cannot be placed\n"), "{text}");
    assert!(text.contains("\n      add a node with 8 GPUs and the engine `sim`\n"), "{text}");
    assert!(text.ends_with("\nnot everything can be placed\n"), "{text}");
}

#[test]
fn of_many_that_cannot_be_placed_some_are_explained() {
    let endpoints: Vec<Endpoint> = (0..20).map(|number| new(&format!("e{number}"), 8, 1)).collect();
    let plan = planned(&Fleet::new().node(1, 1), &endpoints);
    assert_eq!(plan.endpoints.iter().filter(|endpoint| endpoint.unplaced == 1).count(), 20);
    assert_eq!(plan.endpoints.iter().filter(|endpoint| !endpoint.why.is_empty()).count(), 8);
}

#[test]
fn all_openings_of_the_mesh_are_placed_the_larger_first_and_priority_before_all() {
    // Eight GPUs are free; `big` waits for them already.
    let fleet = hosts(1).endpoint("big", 8, 1);
    assert_eq!(planned(&fleet, &[new("a", 1, 1)]).outcome(), PlanOutcome::CannotBePlaced);
    let mut urgent = new("a", 1, 1);
    urgent.spec.placement.priority = 1;
    assert_eq!(planned(&fleet, &[urgent]).outcome(), PlanOutcome::Changes);
}

#[test]
fn lower_priorities_give_way_down_to_their_min() {
    let mut fleet = hosts(1).endpoint("low", 4, 1).spec("low", |spec| spec.replicas.max = Some(2));
    fleet.claim(1, "low", ReplicaState::Ready, 0);
    fleet.claim(1, "low", ReplicaState::Ready, 1);
    let high = |replicas| {
        let mut high = new("high", 4, replicas);
        high.spec.placement.priority = 100;
        high
    };
    let plan = planned(&fleet, &[high(1)]);
    assert_eq!((plan.outcome(), starts(&plan, 0)), (PlanOutcome::Changes, 1));
    assert_eq!(plan.endpoints[0].evicts.len(), 1, "{plan}");
    assert!(plan.endpoints[0].evicts[0].name.starts_with("low-"));
    assert_eq!(planned(&fleet, &[high(2)]).endpoints[0].unplaced, 1, "never below");
    assert_eq!(planned(&fleet, &[new("same", 4, 1)]).outcome(), PlanOutcome::CannotBePlaced, "nor for an equal");
}

#[test]
fn a_sleeper_is_woken_before_anything_is_started() {
    let mut fleet = hosts(1).endpoint("a", 4, 1).endpoint("b", 8, 1);
    let claim = fleet.claim(1, "a", ReplicaState::Asleep, 0);
    fleet.node_mut(1).gpus[..4].iter_mut().for_each(|gpu| gpu.used_by = GpuUse::Replica(claim));
    let same = [fleet.record("a").endpoint.clone()];
    let plan = planned(&fleet, &same);
    assert_eq!((plan.outcome(), starts(&plan, 0)), (PlanOutcome::Nothing, 0));
}

#[test]
fn going_back_is_no_third_revision() {
    let mut fleet = hosts(1).endpoint("a", 2, 1);
    fleet.claim(1, "a", ReplicaState::Ready, 0);
    let (before, old) = (fleet.record("a").endpoint.clone(), fleet.record("a").revision);
    let spec = before.spec.clone();
    let fleet = fleet.revise("a").spec("a", other_model);
    let fleet = fleet.past("a", shoal_types::PastRevision { revision: old, spec });
    let plan = planned(&fleet, &[before]);
    assert_eq!((plan.endpoints[0].change, starts(&plan, 0)), (Change::Revised, 0), "it still runs");
}

#[test]
fn on_demand_capacity_stands_in_only_for_spot_capacity_that_is_not_there() {
    let spot = |replicas| {
        let mut endpoint = new("a", 8, replicas);
        endpoint.spec.placement.spot = Some(shoal_types::Spot { overprovision: 1, ..Default::default() });
        endpoint
    };
    let fleet = hosts(6).spot(1).spot(2).spot(3);
    let nodes = |replicas| -> Vec<_> {
        let plan = planned(&fleet, &[spot(replicas)]);
        assert_eq!(plan.outcome(), PlanOutcome::Changes);
        plan.endpoints[0].starts.iter().map(|start| start.id.as_bytes()[0]).collect()
    };
    assert_eq!(nodes(2), [1, 2, 3], "two and one more");
    assert_eq!(nodes(4).len(), 4, "three on spot, one on demand");
    assert_eq!(planned(&fleet, &[spot(7)]).endpoints[0].unplaced, 1);
}

#[test]
fn a_plan_survives_the_wire() {
    let plan = planned(&hosts(1).endpoint("b", 1, 1), &[new("a", 8, 2), new("b", 1, 1)]);
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}
