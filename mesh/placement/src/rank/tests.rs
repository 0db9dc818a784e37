use proptest::prelude::*;
use shoal_types::{EngineOffer, EngineSpec, ReplicaState, Spread, VllmEngine};

use super::*;
use crate::{
    Scene,
    memory::{Memory, NOTHING},
    muster::muster,
    tests::fleet::{Fleet, at, id},
};

/// The nodes that could run endpoint `a`, best first.
fn ranked_with(fleet: &Fleet, memory: &Memory, now: u64) -> Vec<NodeId> {
    let scene = Scene { view: &fleet.view, memory, now: at(now) };
    let record = fleet.record("a");
    let claims: Vec<_> = fleet.view.claims_of(&record.endpoint.metadata.name).collect();
    let post = muster(&scene, record, &claims).posts.remove(0);
    let ranking = Ranking::on(&Ground::new(&scene), &post.want, post.nodes());
    ranking.ranked().into_iter().map(|ranked| ranked.node.id).collect()
}

fn ranked(fleet: &Fleet) -> Vec<NodeId> {
    ranked_with(fleet, &NOTHING, 0)
}

/// Two like nodes, of which endpoint `a` by itself prefers the first; the second is to be made better.
fn twins() -> (Fleet, u8, u8) {
    let fleet = Fleet::new().node(1, 8).node(2, 8).endpoint("a", 1, 1);
    let first = if ranked(&fleet)[0] == id(1) { 1 } else { 2 };
    (fleet, first, 3 - first)
}

#[test]
fn the_cheaper_one_is_better() {
    let (fleet, first, second) = twins();
    assert_eq!(ranked(&fleet.price(first, 3.0).price(second, 2.99))[0], id(second));
}

#[test]
fn a_price_that_is_not_told_is_no_bargain() {
    let (fleet, first, second) = twins();
    let fleet = fleet.price(second, 2.0);
    assert_eq!(ranked(&fleet)[0], id(first), "as dear as the dearest that is known, which is the same here");
    let third = fleet.node(3, 8).price(3, 2.01);
    assert_eq!(ranked(&third)[0], id(second), "now it counts as 2.01");
}

#[test]
fn a_zone_with_preemptions_is_worse() {
    let (fleet, first, second) = twins();
    let mut fleet = fleet.zone(first, "x").zone(second, "y").spot(first).spot(second);
    let past = shoal_types::PastDeparture { at: at(0), reason: shoal_types::DepartureReason::Reclaim };
    fleet.node_mut(first).departures.push(past);
    let mut memory = Memory::default();
    memory.observe(&fleet.view, at(1));
    assert_eq!(ranked_with(&fleet, &memory, 1)[0], id(second));
    assert_eq!(ranked_with(&fleet, &memory, 60 * 3_600)[0], id(first), "until that is long ago");
}

#[test]
fn weights_on_disk_are_worth_something() {
    let (fleet, first, second) = twins();
    let mut fleet = fleet.spec("a", |spec| {
        spec.engine = EngineSpec::Vllm(VllmEngine::default());
        spec.model_revision = Some("v2".to_owned());
    });
    for node in [first, second] {
        fleet.node_mut(node).facts.engines = vec![EngineOffer("vllm".to_owned())];
    }
    fleet.node_mut(second).models.insert("test/model".to_owned());
    assert_eq!(ranked(&fleet)[0], id(first), "of another revision");
    fleet.node_mut(second).models.insert("test/model@v2".to_owned());
    assert_eq!(ranked(&fleet)[0], id(second));
}

#[test]
fn clients_draw_replicas_near() {
    let (fleet, first, second) = twins();
    let fleet = fleet.cluster(second, "near").distance(first, "near", 100).demand(second, "a", 64);
    assert_eq!(ranked(&fleet)[0], id(second));
    let cheap = fleet.price(first, 2.0).price(second, 2.2);
    assert_eq!(ranked(&cheap)[0], id(first), "100 ms are worth 0.1 USD");
    let dear = cheap.spec("a", |spec| spec.placement.weights.latency = Decimal::from_whole(3));
    assert_eq!(ranked(&dear)[0], id(second));
}

#[test]
fn what_is_left_over_costs_less_than_a_much_dearer_host() {
    let fleet = Fleet::new().node(1, 8).node(2, 2).endpoint("a", 2, 1).price(1, 3.0).price(2, 4.7);
    assert_eq!(ranked(&fleet)[0], id(2), "six GPUs of a whole host are worth 1.8 USD");
    assert_eq!(ranked(&fleet.price(2, 4.9))[0], id(1));
}

#[test]
fn no_saving_makes_up_for_home_and_zone() {
    let fleet = Fleet::new().node(1, 8).node(2, 8).price(1, 100.0).price(2, 1.0).endpoint("a", 1, 2);
    let home = fleet.clone().cluster(1, "home").spec("a", |spec| spec.placement.home = Some("home".to_owned()));
    assert_eq!(ranked(&home)[0], id(1));
    let mut spread = fleet.zone(1, "x").zone(2, "y").spec("a", |spec| spec.placement.spread = Some(Spread::Zone));
    assert_eq!(ranked(&spread)[0], id(2));
    spread.claim(2, "a", ReplicaState::Ready, 0);
    assert_eq!(ranked(&spread)[0], id(1));
}

/// What [`Ranking::slots`] does, without remembering scores in between.
fn slots_one_by_one(mut ranking: Ranking<'_>, count: usize) -> Vec<NodeId> {
    let mut slots = Vec::new();
    for _ in 0..count {
        let roomy = ranking.places.iter().enumerate().filter(|(_, place)| ranking.has_room(place));
        let Some((best, _)) = roomy.min_by_key(|(_, place)| ranking.score(place)) else { break };
        slots.push(ranking.take(best));
    }
    slots
}

proptest! {
    #[test]
    fn slots_are_the_best_places_one_after_the_other(
        nodes in prop::collection::vec((0usize..=8, 0u8..3, 0u8..4), 1..12),
        (gpus, spread, count) in (0u32..=4, any::<bool>(), 0usize..40),
    ) {
        let mut fleet = Fleet::new().endpoint("a", gpus, 6);
        for (node, (gpus, zone, price)) in (1u8..).zip(nodes) {
            fleet = fleet.node(node, gpus).zone(node, &format!("z{zone}")).price(node, f64::from(price));
        }
        let fleet = fleet.spec("a", |spec| spec.placement.spread = spread.then_some(Spread::Zone));
        let scene = Scene { view: &fleet.view, memory: &NOTHING, now: at(0) };
        let want = muster(&scene, fleet.record("a"), &[]).posts[0].want;
        let ground = Ground::new(&scene);
        let ranking = || Ranking::on(&ground, &want, []);
        prop_assert_eq!(ranking().slots(count), slots_one_by_one(ranking(), count));
    }
}
