use shoal_types::{
    Departure, DepartureReason, EngineOffer, GpuUse, Liveness, MemorySize, Refusal, ReplicaState, Revision, Spread,
};

use super::*;
use crate::{
    Filter, Memory, Standing, Tenant, making_room,
    memory::NOTHING,
    tests::fleet::{Fleet, at, id, name},
};

fn explained(fleet: &Fleet, endpoint: &str) -> Explanation {
    let scene = Scene { view: &fleet.view, memory: &NOTHING, now: at(10) };
    explain(&scene, fleet.record(endpoint), &making_room(&scene))
}

fn want(fleet: &Fleet) -> WantExplanation {
    explained(fleet, "a").wants.remove(0)
}

/// What would make room for endpoint `a`.
fn remedies(fleet: &Fleet) -> Vec<String> {
    want(fleet).remedies.iter().map(Remedy::to_string).collect()
}

fn full(mut fleet: Fleet, node: u8) -> Fleet {
    fleet.node_mut(node).gpus.iter_mut().for_each(|gpu| gpu.used_by = GpuUse::Foreign("python".to_owned()));
    fleet
}

/// Node 1, named `n1`, could run endpoint `a`, but for what tests do to it.
fn fleet() -> Fleet {
    Fleet::new().node(1, 4).called(1, "n1").endpoint("a", 2, 1)
}

const ADD_NODE: &str = "add a node with 2 GPUs and the engine `sim`";

#[test]
fn what_is_placed_needs_no_remedy() {
    let want = want(&fleet());
    assert_eq!((want.missing, want.unplaced(), want.next), (1, 0, vec!["n1".to_owned()]));
    assert_eq!((want.remedies, want.tenants), (vec![], Tenants::default()));
}

#[test]
fn each_filter_that_is_taken_away_is_a_remedy() {
    let drained = || {
        let mut fleet = fleet();
        let departure = Departure { reason: DepartureReason::Drain, detail: None, since: at(0), deadline: None };
        fleet.node_mut(1).departure = Some(departure);
        fleet
    };
    assert_eq!(remedies(&drained()), ["undrain node n1", ADD_NODE]);
    assert_eq!(remedies(&full(drained(), 1)), [ADD_NODE], "it would have no room either");

    let silent = fleet().liveness(1, Liveness::Suspect { since: at(0) });
    assert_eq!(remedies(&silent)[0], "bring back node n1, of which nothing is heard");
    assert_eq!(remedies(&fleet().liveness(1, Liveness::Left)), [ADD_NODE]);

    let mut other_engine = fleet();
    other_engine.node_mut(1).facts.engines = vec![EngineOffer("vllm".to_owned())];
    assert_eq!(remedies(&other_engine)[0], "offer the engine `sim` on node n1 (`engines` in the configuration)");

    let require = |keys: &[&str]| {
        let value = |key: &&str| ((*key).to_owned(), vec!["x".to_owned()]);
        let require = keys.iter().map(value).collect();
        fleet().cluster(1, "z").spec("a", |spec| spec.placement.require = require)
    };
    assert_eq!(remedies(&require(&["cluster"]))[0], "allow `cluster: z` in `placement.require`: node n1 would do");
    assert_eq!(remedies(&require(&["team"]))[0], "give node n1 the label `team`");
    assert_eq!(remedies(&require(&["cluster", "team"])), [ADD_NODE], "no single change helps");
}

#[test]
fn prices_are_told_with_their_number() {
    let fleet = (2..=3).fold(fleet(), |fleet, node| fleet.node(node, 4).called(node, &format!("n{node}")));
    let limited =
        |fleet: Fleet| fleet.spec("a", |spec| spec.placement.max_price = Some(shoal_types::Decimal::from_whole(4)));
    let fleet = limited(fleet.price(1, 5.2).price(2, 4.8));
    let remedies = remedies(&fleet);
    assert_eq!(remedies[0], "raise `placement.maxPrice` to 4.8: node n2 would do");
    assert_eq!(remedies[1], "tell what node n3 costs (the label `price`)");
}

#[test]
fn other_gpus_are_named() {
    let wants = |model: &str, gib: u64| {
        fleet().spec("a", |spec| {
            spec.resources.gpu_model = Some(model.to_owned());
            spec.resources.gpu_memory = Some(MemorySize::from_gib(gib));
        })
    };
    let remedy = "allow GPUs such as `NVIDIA H100 80GB HBM3` in `resources.gpuModel`: node n1 would do";
    assert_eq!(remedies(&wants("A100", 80))[0], remedy);
    assert_eq!(remedies(&wants("H100", 96))[0], "lower `resources.gpuMemory` to 80GiB: node n1 would do");
    assert_eq!(remedies(&full(wants("H100", 96), 1)).len(), 1);
}

#[test]
fn refusals_end_by_themselves() {
    let mut fleet = fleet();
    let (endpoint, revision) = (name("a"), fleet.record("a").revision);
    let refusal = Refusal {
        cause: shoal_types::RefusalCause::Unfit,
        endpoint,
        revision,
        until: at(60),
        reason: "out of memory".to_owned(),
    };
    fleet.node_mut(1).refusals.push(refusal);
    let until = at(60);
    let wait = format!("wait until {until}: till then node n1 will not try this revision (out of memory)");
    assert_eq!(remedies(&fleet)[0], wait);
}

#[test]
fn missing_gpus_are_counted_where_fewest_are_missing() {
    let fleet = Fleet::new().node(1, 8).called(1, "n1").node(2, 8).called(2, "n2").cluster(2, "x");
    let mut fleet = fleet.endpoint("a", 4, 1).endpoint("b", 5, 1).endpoint("c", 6, 1);
    fleet.claim(1, "c", ReplicaState::Ready, 0);
    fleet.claim(2, "b", ReplicaState::Ready, 0);
    assert_eq!(remedies(&fleet)[0], "free 1 more of the GPUs on node n2 of cluster x, which has 3 free");
    let tenants = want(&fleet).tenants;
    let told: Vec<String> = tenants.endpoints.iter().map(Tenant::to_string).collect();
    assert_eq!(told[0], "endpoint b (priority 0): GPUs: 5, replicas: 1, above its `min`: 0");
    assert_eq!(told.len(), 2);
}

#[test]
fn fragments_are_told_with_who_could_move() {
    let mut fleet = Fleet::new().endpoint("a", 4, 1).endpoint("b", 1, 2).endpoint("c", 5, 2);
    for node in 1..=2 {
        fleet = fleet.node(node, 4);
        fleet.claim(node, "b", ReplicaState::Ready, 0);
    }
    let told = remedies(&fleet);
    let fragments = "6 such GPUs are free, at most 3 on one node, a replica needs 4: ";
    assert_eq!(told[1], format!("{fragments}`placement.defragment` of `b` would let them move together"));
    let fleet = fleet.spec("b", |spec| spec.placement.defragment = true);
    let want = want(&fleet);
    assert_eq!((want.unplaced(), want.remedies), (0, vec![]));
    assert!(want.room[0].moves, "{:?}", want.room);
}

#[test]
fn who_would_give_way_is_named_with_the_priority_it_takes() {
    let mut fleet = fleet().endpoint("b", 4, 0).spec("b", |spec| spec.placement.priority = 10);
    fleet.claim(1, "b", ReplicaState::Ready, 0);
    assert_eq!(remedies(&fleet)[1], "raise `placement.priority` above 10: `b` would give way on node n1");
    let fleet = fleet.spec("b", |spec| spec.replicas.min = 1);
    assert_eq!(remedies(&fleet).len(), 2, "never below its `min`");
}

#[test]
fn claims_are_told_with_what_they_are_good_for() {
    let mut fleet = Fleet::new().node(1, 8).node(2, 8).node(3, 8).endpoint("a", 1, 1);
    let kept = fleet.claim(1, "a", ReplicaState::Ready, 0);
    let surplus = fleet.claim(2, "a", ReplicaState::Ready, 1);
    let draining = fleet.claim(3, "a", ReplicaState::Draining, 0);
    let failed = fleet.claim(3, "a", ReplicaState::Failed, 0);
    let old = fleet.claim(3, "a", ReplicaState::Ready, 0);
    let revision = &mut fleet.node_mut(3).claims.get_mut(&old).unwrap().revision;
    *revision = Revision(shoal_types::Hlc { counter: 0, node: id(9), ..revision.0 });
    let fleet = fleet.revise("a");
    let new = fleet.record("a").revision;
    let mut fleet = fleet;
    for claim in [kept, surplus, draining, failed] {
        fleet.node_mut_of(claim).claims.get_mut(&claim).unwrap().revision = new;
    }
    let fleet = fleet.spec("a", |spec| spec.replicas.max = Some(1));
    let explanation = explained(&fleet, "a");
    let told: Vec<_> = explanation.others.iter().map(|other| (other.claim, other.standing)).collect();
    assert_eq!(explanation.wants[0].kept.iter().map(|kept| kept.claim).collect::<Vec<_>>(), [kept]);
    let standings = [
        (surplus, Standing::Surplus),
        (draining, Standing::Leaving),
        (failed, Standing::Failed),
        (old, Standing::Superseded),
    ];
    assert_eq!(told, standings);
}

#[test]
fn excluded_nodes_are_counted_and_some_are_named() {
    let mut fleet = (1..=6).fold(Fleet::new(), |fleet, node| fleet.node(node, 1)).endpoint("a", 2, 1);
    fleet = fleet.liveness(6, Liveness::Left);
    let excluded = want(&fleet).excluded;
    assert_eq!(
        excluded.iter().map(|group| (group.filter, group.count)).collect::<Vec<_>>(),
        [(Filter::Presence, 1), (Filter::Hardware, 5)]
    );
    assert_eq!(excluded[1].examples.len(), 3);
    assert_eq!(excluded[1].examples[0].why, "it has 1 GPUs (of 1 GPUs), a replica needs 2");
}

#[test]
fn candidates_come_with_their_terms_and_their_tiers() {
    let fleet = (1..=30).fold(Fleet::new(), |fleet, node| fleet.node(node, 4)).endpoint("a", 2, 2);
    let mut fleet = fleet.node(31, 8).called(31, "away").cluster(31, "x").zone(31, "y").price(31, 1.25);
    fleet = fleet.spec("a", |spec| {
        spec.placement.home = Some("default".to_owned());
        spec.placement.spread = Some(Spread::Zone);
    });
    fleet.claim(31, "a", ReplicaState::Ready, 0);
    fleet.node_mut(31).facts.labels.capacity_type = shoal_types::CapacityType::Spot;
    let want = want(&fleet);
    assert_eq!((want.candidates.len(), want.more_candidates), (20, 11));

    let alone = (1..=30).fold(fleet, |fleet, node| fleet.liveness(node, Liveness::Left));
    let scene = Scene { view: &alone.view, memory: &NOTHING, now: at(10) };
    let explanation = explain(&scene, alone.record("a"), &[]);
    let told = explanation.wants[0].candidates[0].to_string();
    // The claim holds two of the eight GPUs, another replica would take two more.
    let terms = "away: 2.45 = price 1.25 (its label) + fit 1.2 (4 GPUs left over)";
    assert_eq!(
        told,
        format!("{terms}; outside the home cluster; 1 in its zone already; has 1 of 4 parts of the endpoint already")
    );
}

#[test]
fn an_explanation_reads_as_text_and_survives_the_wire() {
    let fleet = full(fleet(), 1);
    let explanation = explained(&fleet, "a");
    let text = explanation.to_string();
    let revision = fleet.record("a").revision;
    let expected = format!(
        "endpoint a, priority 0
revision {revision}, any capacity: 1 wanted, 0 there, 1 missing
a replica needs 2 GPUs and the engine `sim`
without room: 1
excluded:
  1 by room: n1: 0 of its 4 fitting GPUs are free, a replica needs 2
who has the GPUs where a replica could be:
  processes that are not shoal's, or unknown: GPUs: 4
any of these would change that:
  free 2 more of the GPUs on node n1 of cluster default, which has 0 free
  {ADD_NODE}
"
    );
    assert_eq!(text, expected);
    let json = serde_json::to_string(&explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explanation);
}

#[test]
fn an_endpoint_is_not_told_to_outbid_itself() {
    let mut fleet = Fleet::new().node(1, 2).endpoint("a", 1, 3);
    for _ in 0..2 {
        fleet.claim(1, "a", ReplicaState::Ready, 0);
    }
    let revision = fleet.record("a").revision;
    let fleet = fleet.spec("a", |spec| (spec.replicas.min, spec.replicas.max) = (1, Some(3)));
    let fleet = fleet.mandate("a", 1, &[(revision, 3)]);
    let mut memory = Memory::default();
    memory.observe(&fleet.view, at(10));
    let scene = Scene { view: &fleet.view, memory: &memory, now: at(10) };
    let want = explain(&scene, fleet.record("a"), &[]).wants.remove(0);
    assert_eq!(want.missing, 1);
    assert!(!want.remedies.iter().any(|remedy| matches!(remedy, Remedy::RaisePriority { .. })), "{:?}", want.remedies);
}

#[test]
fn an_endpoint_that_wants_nothing_says_so() {
    let text = explained(&Fleet::new().node(1, 2).endpoint("a", 1, 0), "a").to_string();
    assert!(text.contains("no replica is wanted now"), "{text}");
}

#[test]
fn a_rollout_without_room_is_told_what_would_let_it_go_on() {
    let mut fleet = fleet();
    for _ in 0..2 {
        fleet.claim(1, "a", ReplicaState::Ready, 0);
    }
    let fleet = fleet.revise("a").spec("a", |spec| spec.replicas.min = 2);
    let allow = "let a replica of the old revision go before its successor serves (`rollout.maxUnavailable: 1`): node n1 \
                 would do";
    assert!(remedies(&fleet).contains(&allow.to_owned()), "{:?}", remedies(&fleet));
    let allowed = fleet.spec("a", |spec| spec.rollout.max_unavailable = 1);
    assert!(!remedies(&allowed).contains(&allow.to_owned()));
}

#[test]
fn a_priority_that_is_high_already_is_not_told_to_rise() {
    let mut fleet = fleet().endpoint("low", 4, 1);
    fleet.claim(1, "low", ReplicaState::Ready, 0);
    let rises = |fleet: &Fleet| remedies(fleet).iter().any(|remedy| remedy.contains("raise `placement.priority`"));
    let spare = fleet.spec("low", |spec| spec.replicas.max = Some(2));
    let spare = spare.spec("low", |spec| spec.replicas.min = 0);
    assert!(rises(&spare));
    let higher = spare.spec("a", |spec| spec.placement.priority = 9);
    assert!(!rises(&higher), "{:?}", remedies(&higher));
}
