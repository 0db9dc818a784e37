//! The rules on views that nobody thought of.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;
use shoal_types::{Claim, ClaimId, Departure, DepartureReason, Liveness, NodeId, NodeView, ReplicaState, Spread, View};

use super::{
    fleet::{Fleet, at, id, name},
    lockstep::Lockstep,
};
use crate::{
    Action, Elector, Memory, Timing, candidates, census::Census, group::Group, presence::Patience, scene::Scene,
};

const STATES: [ReplicaState; 6] = [
    ReplicaState::Claimed,
    ReplicaState::Starting,
    ReplicaState::Warming,
    ReplicaState::Backoff,
    ReplicaState::Ready,
    ReplicaState::Draining,
];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
struct ClaimPlan {
    node: u8,
    endpoint: usize,
    state: ReplicaState,
    claimed: u64,
    superseded: bool,
}

fn node_plan() -> impl Strategy<Value = (usize, u8, bool, u8)> {
    // GPUs; zone; whether at home; what else is with it
    (0usize..=8, 0u8..3, any::<bool>(), 0u8..8)
}

fn endpoint_plan() -> impl Strategy<Value = (u32, u32, bool, bool)> {
    // GPUs; replicas; whether it has a home; whether it is spread
    (prop::sample::select(vec![0u32, 1, 2, 4, 8]), 0u32..4, any::<bool>(), any::<bool>())
}

fn claim_plan() -> impl Strategy<Value = ClaimPlan> {
    let ready_often = prop_oneof![Just(ReplicaState::Ready), prop::sample::select(STATES.to_vec())];
    (1u8..=9, 0usize..NAMES.len(), ready_often, 0u64..50, prop::bool::weighted(0.2)).prop_map(
        |(node, endpoint, state, claimed, superseded)| ClaimPlan { node, endpoint, state, claimed, superseded },
    )
}

/// A mesh of up to nine nodes in any state, with claims that fit their nodes.
fn fleet() -> impl Strategy<Value = Fleet> {
    let nodes = prop::collection::vec(node_plan(), 1..=9);
    let endpoints = prop::collection::vec(endpoint_plan(), 1..=NAMES.len());
    (nodes, endpoints, prop::collection::vec(claim_plan(), 0..16)).prop_map(|(nodes, endpoints, claims)| {
        let mut fleet = Fleet::new();
        for (number, (gpus, zone, home, fate)) in (1u8..).zip(nodes) {
            fleet = fleet.node(number, gpus).zone(number, &format!("z{zone}"));
            fleet = fleet.cluster(number, if home { "home" } else { "burst" });
            fleet = befall(fleet, number, fate);
        }
        for (endpoint, (gpus, replicas, home, spread)) in NAMES.iter().zip(endpoints) {
            fleet = fleet.endpoint(endpoint, gpus, replicas).revise(endpoint).spec(endpoint, |spec| {
                spec.placement.home = home.then(|| "home".to_owned());
                spec.placement.spread = spread.then_some(Spread::Zone);
            });
        }
        claims.iter().for_each(|plan| add(&mut fleet, plan));
        fleet
    })
}

fn befall(mut fleet: Fleet, node: u8, fate: u8) -> Fleet {
    match fate {
        5 => {
            fleet.node_mut(node).departure =
                Some(Departure { reason: DepartureReason::Drain, detail: None, since: at(0), deadline: None });
            fleet
        }
        6 => fleet.liveness(node, Liveness::Suspect { since: at(95) }),
        7 => fleet.liveness(node, Liveness::Left),
        _ => fleet,
    }
}

fn add(fleet: &mut Fleet, plan: &ClaimPlan) {
    let Some(node) = fleet.view.nodes.get(&id(plan.node)) else { return };
    let Some(record) = fleet.view.endpoints.get(&name(NAMES[plan.endpoint])) else { return };
    if held(node.claims.values()) + record.endpoint.spec.resources.gpus > node.gpus.len() as u32 {
        return;
    }
    let claim = fleet.claim(plan.node, NAMES[plan.endpoint], plan.state, plan.claimed);
    if plan.superseded {
        fleet.node_mut(plan.node).claims.entry(claim).and_modify(|claim| claim.revision.0.counter -= 1);
    }
}

fn held<'a>(claims: impl Iterator<Item = &'a Claim>) -> u32 {
    claims.map(|claim| claim.gpus).sum()
}

fn kept(view: &View, endpoint: &str) -> BTreeSet<ClaimId> {
    let record = &view.endpoints[&name(endpoint)];
    let claims: Vec<_> = view.claims_of(&record.endpoint.metadata.name).collect();
    let scene = Scene { view, memory: &Memory::default(), now: at(100) };
    let census = Census::new(&scene, record, &claims, &Patience { now: at(100), guard: None });
    census.groups.iter().flat_map(Group::kept).map(|holder| holder.claim.id).collect()
}

/// What each node of an unchanging view decides after having watched it for a while.
fn decisions(view: &View) -> Vec<(NodeId, Action)> {
    let mut all = Vec::new();
    for &me in view.nodes.keys() {
        let mut elector = Elector::new(me, Timing::default(), Memory::default());
        let view = View { me, ..view.clone() };
        elector.step(&view, at(96));
        all.extend(elector.step(&view, at(100)).actions.into_iter().map(|action| (me, action)));
    }
    all
}

fn drains(view: &View) -> Vec<(ClaimId, Vec<ClaimId>)> {
    let drain = |(_, action)| match action {
        Action::Drain { claim, confirm, .. } => Some((claim, confirm.into_iter().map(|(_, id)| id).collect())),
        Action::Claim { .. } | Action::Start(_) | Action::Wake(_) | Action::Withdraw { .. } | Action::Move { .. } => {
            None
        }
    };
    decisions(view).into_iter().filter_map(drain).collect()
}

proptest! {
    /// Rule 3: all nodes compute the same order over candidates and claims.
    #[test]
    fn rule_3_determinism(fleet in fleet(), me in 1u8..=9) {
        let other = View { me: id(me), ..fleet.view.clone() };
        for (endpoint, record) in &fleet.view.endpoints {
            prop_assert_eq!(candidates(&fleet.view, record, at(100)), candidates(&other, record, at(100)));
            prop_assert_eq!(kept(&fleet.view, endpoint.as_str()), kept(&other, endpoint.as_str()));
        }
    }

    /// Rule 3: a node's name decides only where nothing else does.
    #[test]
    fn rule_3_names_only_break_ties(ids in Just((1u8..=8).collect::<Vec<_>>()).prop_shuffle(), wanted in 1u32..=4) {
        // Node i of the shuffled ones has i + 1 GPUs, so that all fit differently.
        let fleet = ids.iter().zip(1..).fold(Fleet::new(), |fleet, (&node, gpus)| fleet.node(node, gpus));
        let fleet = fleet.endpoint("a", wanted, 3);
        let ranked = candidates(&fleet.view, fleet.record("a"), at(100)).ranked;
        let gpus: Vec<u32> = ranked.iter().map(|node| fleet.view.nodes[node].gpus.len() as u32).collect();
        prop_assert_eq!(gpus, (wanted..=8).collect::<Vec<_>>());
    }

    /// Rule 3: a surplus claim that goes changes nothing for those that stay.
    #[test]
    fn rule_3_surplus_goes_unnoticed(fleet in fleet()) {
        for endpoint in fleet.view.endpoints.keys() {
            let before = kept(&fleet.view, endpoint.as_str());
            let claims: Vec<ClaimId> = fleet.view.claims_of(endpoint).map(|(_, claim)| claim.id).collect();
            // A claim of a quiet node may be what nobody else is waited for; taking that one away is no surplus going.
            let alive = |claim: &ClaimId| fleet.view.nodes[&claim.node].is_alive();
            let serving = fleet.view.claims_of(endpoint).any(|(node, claim)| node.is_alive() && claim.state.serves());
            for claim in claims.iter().filter(|claim| serving && alive(claim) && !before.contains(claim)) {
                let mut without = fleet.view.clone();
                Arc::make_mut(without.nodes.get_mut(&claim.node).unwrap()).claims.remove(claim);
                let still = without.claims_of(endpoint).any(|(node, claim)| node.is_alive() && claim.state.serves());
                prop_assert!(!still || kept(&without, endpoint.as_str()) == before);
            }
        }
    }

    /// Rule 3: a node's GPUs are its own to give, and it never gives one twice. And with gossip that takes no time,
    /// nobody claims what is not missing.
    #[test]
    fn rule_3_capacity(fleet in fleet()) {
        let mut mesh = Lockstep::new(fleet);
        for second in 91..130 {
            let log = mesh.run_until(second);
            for node in mesh.fleet.view.nodes.values() {
                prop_assert!(held(node.claims.values()) <= node.gpus.len() as u32);
            }
            for (_, _, action) in log {
                let Action::Claim { endpoint, revision, .. } = action else { continue };
                let claims = mesh.fleet.view.claims_of(&endpoint);
                let standing = claims.filter(|(node, claim)| {
                    node.is_alive() && node.departure.is_none() && claim.revision == revision
                        && claim.state != ReplicaState::Draining
                });
                let desired = mesh.fleet.view.endpoints[&endpoint].endpoint.spec.replicas.min as usize;
                prop_assert!(standing.count() <= desired);
            }
        }
    }

    /// Rule 4: never drain a ready replica while a kept one is not ready, and never the last one that is.
    #[test]
    fn rule_4_make_before_break(fleet in fleet()) {
        let drains = drains(&fleet.view);
        let leaving: BTreeSet<ClaimId> = drains.iter().map(|(claim, _)| *claim).collect();
        let claims: BTreeMap<ClaimId, _> = fleet.view.claims().map(|held| (held.1.id, held)).collect();
        for (claim, confirm) in &drains {
            let endpoint = &claims[claim].1.endpoint;
            let desired = fleet.view.endpoints[endpoint].endpoint.spec.replicas.min as usize;
            prop_assert_eq!(confirm.len(), desired);
            for kept in confirm {
                let (node, kept_claim) = claims[kept];
                prop_assert!(node.is_alive() && node.departure.is_none() && kept_claim.state == ReplicaState::Ready);
                prop_assert_eq!(&kept_claim.endpoint, endpoint);
                prop_assert!(!leaving.contains(kept), "nobody drains whom another counts on");
            }
        }
    }

    /// Rule 4: the whole way to the end, with gossip that takes no time: what has served goes on serving.
    #[test]
    fn rule_4_never_the_last_ready(fleet in fleet()) {
        let mut mesh = Lockstep::new(fleet);
        let serving = |view: &View| -> BTreeSet<String> {
            let wanted = |name| view.endpoints.get(name).is_some_and(|record| record.endpoint.spec.replicas.min > 0);
            let serves = |(node, claim): &(&NodeView, &Claim)| node.is_alive() && claim.state.serves();
            let serving = view.claims().filter(|held| serves(held) && wanted(&held.1.endpoint));
            serving.map(|(_, claim)| claim.endpoint.to_string()).collect()
        };
        let mut before = serving(&mesh.fleet.view);
        for second in 91..130 {
            mesh.run_until(second);
            let now = serving(&mesh.fleet.view);
            prop_assert!(before.is_subset(&now), "{before:?} -> {now:?}");
            before = now;
        }
    }

    /// Rule 6: a node that loses more than half of the mesh at once replaces only what nobody it can reach serves.
    #[test]
    fn rule_6_cut_off(places in prop::collection::vec((1u8..=9, 0usize..3), 1..12), lost in 5u8..=8) {
        let mut fleet = (1..=9).fold(Fleet::new(), |fleet, node| fleet.node(node, 12));
        fleet = NAMES.iter().take(3).fold(fleet, |fleet, endpoint| fleet.endpoint(endpoint, 1, 0));
        for (node, endpoint) in places {
            fleet = fleet.spec(NAMES[endpoint], |spec| spec.replicas.min += 1);
            fleet.claim(node, NAMES[endpoint], ReplicaState::Ready, 0);
        }
        let mut mesh = Lockstep::new(fleet);
        prop_assert_eq!(mesh.run_until(100), vec![]);
        for node in 10 - lost..=9 {
            mesh.fleet.node_mut(node).liveness = Liveness::Suspect { since: at(99) };
        }
        let claims = mesh.fleet.view.claims();
        let reachable = claims.filter(|(node, _)| node.is_alive()).map(|(_, claim)| claim.endpoint.clone());
        let reachable: BTreeSet<_> = reachable.collect();
        let mut replaced = BTreeMap::new();
        for (_, _, action) in mesh.run_until(395) {
            if let Action::Claim { endpoint, .. } = action {
                prop_assert!(!reachable.contains(&endpoint));
                *replaced.entry(endpoint).or_insert(0) += 1;
            }
        }
        prop_assert!(replaced.values().all(|&count| count == 1), "one is enough to serve");
        mesh.run_until(450);
        for (endpoint, record) in &mesh.fleet.view.endpoints {
            let claims = mesh.fleet.view.claims_of(endpoint);
            let ready = claims.filter(|(node, claim)| node.is_alive() && claim.state.serves());
            prop_assert_eq!(ready.count(), record.endpoint.spec.replicas.min as usize, "the rest later");
        }
    }

    /// Rule 7: a running replica is not moved for a better place.
    #[test]
    fn rule_7_sticky(places in prop::collection::vec((1u8..=4, 0usize..3), 1..10), fresh in 5u8..=9, spread: bool) {
        let mut fleet = (1..=4).fold(Fleet::new(), |fleet, node| fleet.node(node, 12).zone(node, "x"));
        fleet = NAMES.iter().take(3).fold(fleet, |fleet, endpoint| fleet.endpoint(endpoint, 1, 0));
        for (claimed, (node, endpoint)) in (0..).zip(places) {
            fleet = fleet.spec(NAMES[endpoint], |spec| {
                spec.replicas.min += 1;
                spec.placement.spread = spread.then_some(Spread::Zone);
                spec.placement.home = Some("home".to_owned());
            });
            fleet.claim(node, NAMES[endpoint], ReplicaState::Ready, claimed);
        }
        let better = fleet.node(fresh, 1).zone(fresh, "y").cluster(fresh, "home");
        prop_assert_eq!(Lockstep::new(better).run_until(150), vec![]);
    }
}
