use proptest::prelude::*;
use shoal_types::{Departure, Liveness, PastDeparture};

use super::*;
use crate::{
    Memory,
    tests::fleet::{Fleet, at, id},
};

const HOURS: u64 = 3_600;

/// Spot nodes 1 to `nodes` in zone `z`.
fn zone_of(nodes: u8) -> Fleet {
    (1..=nodes).fold(Fleet::new(), |fleet, node| fleet.node(node, 8).zone(node, "z").spot(node))
}

fn departed(mut fleet: Fleet, node: u8, seconds: u64, reason: DepartureReason) -> Fleet {
    fleet.node_mut(node).departures.push(PastDeparture { at: at(seconds), reason });
    fleet
}

fn heard(fleet: &Fleet, now: u64) -> Memory {
    let mut memory = Memory::default();
    memory.observe(&fleet.view, at(now));
    memory
}

#[test]
fn only_what_is_taken_back_counts_for_the_zone() {
    for reason in [DepartureReason::Drain, DepartureReason::Shutdown, DepartureReason::Terminate] {
        assert_eq!(heard(&departed(zone_of(2), 1, 60, reason), 100).preemption_rate("z", at(100)), 0.0, "{reason:?}");
    }
    let reclaimed = heard(&departed(zone_of(2), 1, 60, DepartureReason::Reclaim), 100);
    // One loss, in two node-hours and the six that are taken for granted.
    assert_eq!(reclaimed.preemption_rate("z", at(100)), 0.125);
    assert_eq!(reclaimed.preemption_rate("y", at(100)), 0.0);

    let ill = departed(zone_of(2), 1, 60, DepartureReason::GpuFault);
    let memory = heard(&ill, 100);
    assert_eq!(memory.preemption_rate("z", at(100)), 0.0);
    let risks = memory.risks(at(100));
    assert_eq!([1, 2].map(|node| risks.of_node(&ill.view.nodes[&id(node)])), [0.0625, 0.0], "the node's own");
}

#[test]
fn on_demand_capacity_is_not_preempted() {
    let firm = Fleet::new().node(1, 8).zone(1, "z").node(2, 8).zone(2, "z").spot(2);
    let fleet = departed(departed(firm, 1, 60, DepartureReason::Reclaim), 2, 60, DepartureReason::Reclaim);
    let memory = heard(&fleet, 100);
    let risks = memory.risks(at(100));
    assert_eq!([1, 2].map(|node| risks.of_node(&fleet.view.nodes[&id(node)])), [0.0, 0.125]);
}

#[test]
fn a_loss_is_heard_once_and_outlives_its_node() {
    let mut fleet = zone_of(1);
    let notice = Departure { reason: DepartureReason::Reclaim, detail: None, since: at(60), deadline: None };
    fleet.node_mut(1).departure = Some(notice);
    let mut memory = Memory::default();
    assert!(memory.observe(&fleet.view, at(61)));
    assert!(!memory.observe(&fleet.view, at(62)), "nothing new");
    let before = memory.preemption_rate("z", at(62));
    assert!(before > 0.0);

    // It comes back and tells the same of its past.
    fleet.node_mut(1).departure = None;
    let fleet = departed(fleet, 1, 60, DepartureReason::Reclaim);
    assert!(!memory.observe(&fleet.view, at(63)));
    assert!(!memory.observe(&fleet.liveness(1, Liveness::Left).view, at(64)));
    assert!(!memory.observe(&Fleet::new().view, at(65)));
    assert_eq!(memory.preemption_rate("z", at(65)), before);
}

#[test]
fn losses_fade() {
    let memory = heard(&departed(zone_of(1), 1, 0, DepartureReason::Reclaim), 1);
    let rates = [0, 6, 12, 24, 47].map(|hours| memory.preemption_rate("z", at(hours * HOURS)));
    assert_eq!(rates, [0.125, 0.0625, 0.03125, 0.0078125, 0.0]);
    assert_eq!(memory.preemption_rate("z", at(49 * HOURS)), 0.0, "forgotten");
}

#[test]
fn large_zones_are_told_from_small_ones() {
    let rate = |nodes| {
        let fleet = departed(zone_of(nodes), 1, 5 * HOURS, DepartureReason::Reclaim);
        heard(&fleet, 6 * HOURS).preemption_rate("z", at(6 * HOURS))
    };
    // The nodes have been there for six hours: their daemons say so, though this memory has just begun.
    assert!(rate(1) >= 4.0 * rate(30), "{} {}", rate(1), rate(30));
}

#[test]
fn the_memory_is_bounded_and_quiet_when_full() {
    let mut fleet = zone_of(1);
    fleet.node_mut(1).departures =
        (0..1_200).map(|second| PastDeparture { at: at(second), reason: DepartureReason::Reclaim }).collect();
    let mut memory = Memory::default();
    assert!(memory.observe(&fleet.view, at(2_000)));
    assert_eq!(memory, heard(&fleet, 2_000));
    assert!(!memory.observe(&fleet.view, at(2_001)), "what is too old for a full memory is not news every time");
    assert_eq!(serde_json::to_value(&memory).unwrap()["losses"]["losses"].as_array().unwrap().len(), LOSSES_MAX);
}

#[test]
fn nobody_is_lost_in_the_future() {
    let fleet = departed(zone_of(1), 1, 10 * HOURS, DepartureReason::Reclaim);
    assert_eq!(heard(&fleet, 0).preemption_rate("z", at(0)), 0.0);
}

#[test]
fn memories_survive_the_disk_and_those_of_before() {
    let memory = heard(&departed(zone_of(2), 1, 60, DepartureReason::Reclaim), 100);
    let text = serde_json::to_string(&memory).unwrap();
    assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
    assert_eq!(serde_json::from_str::<Memory>(r#"{"mandates":{}}"#).unwrap(), Memory::default());
}

proptest! {
    /// What was heard in another order, or by another name, is the same.
    #[test]
    fn rule_3_memories_that_heard_the_same_agree(
        losses in prop::collection::vec((1u8..=6, 0u64..40 * HOURS), 0..40),
        order in Just((0..4usize).collect::<Vec<_>>()).prop_shuffle(),
        shift in 0u8..6,
    ) {
        let views = |shift: u8| -> Vec<Fleet> {
            let parts = losses.chunks(10).chain(std::iter::repeat(&[][..])).take(4);
            let name = |node: u8| (node + shift) % 6 + 1;
            parts.map(|part| part.iter().fold(zone_of(6), |fleet, &(node, at)| {
                departed(fleet, name(node), at, DepartureReason::Reclaim)
            })).collect()
        };
        let now = at(40 * HOURS);
        let tell = |views: Vec<Fleet>, order: &[usize]| {
            let mut memory = Memory::default();
            order.iter().for_each(|&part| { memory.observe(&views[part].view, now); });
            memory
        };
        let one = tell(views(0), &[0, 1, 2, 3]);
        prop_assert_eq!(&one, &tell(views(0), &order));
        let renamed = tell(views(shift), &[0, 1, 2, 3]);
        prop_assert_eq!(one.preemption_rate("z", now), renamed.preemption_rate("z", now));
    }
}
