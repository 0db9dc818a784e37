//! Meshes that nobody thought of.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shoal_types::{
    CapacityType, Claim, ClaimId, Decimal, Departure, DepartureReason, EndpointSpec, Liveness, PastRevision, Percent,
    ReplicaState, Revision, Spot, Spread, UnixMillis, View,
};

use crate::{
    Memory, Scene,
    agenda::take_censuses,
    census::Census,
    presence::Patience,
    tests::fleet::{Fleet, at, id, name},
};

const STATES: [ReplicaState; 6] = [
    ReplicaState::Claimed,
    ReplicaState::Starting,
    ReplicaState::Warming,
    ReplicaState::Backoff,
    ReplicaState::Ready,
    ReplicaState::Draining,
];
/// Longer before the start than a replica must have served before it may move for a saving.
const LONG_AGO: UnixMillis = UnixMillis::from_millis(1_000);
pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
struct NodePlan {
    gpus: usize,
    zone: u8,
    home: bool,
    /// What else is with it.
    fate: u8,
    spot: bool,
    price: u8,
}

#[derive(Debug, Clone)]
struct EndpointPlan {
    gpus: u32,
    min: u32,
    above_min: u32,
    home: bool,
    spread: bool,
    spot: Option<Spot>,
    priority: i32,
    moves: (bool, bool),
    surge: u8,
    unavailable: u32,
    /// What its steward says of the present revision and of the one before.
    mandate: Option<(u32, u32)>,
}

#[derive(Debug, Clone)]
struct ClaimPlan {
    node: u8,
    endpoint: usize,
    state: ReplicaState,
    claimed: u64,
    superseded: bool,
    /// Whether it is in its state for long.
    resident: bool,
}

fn node_plan() -> impl Strategy<Value = NodePlan> {
    (0usize..=8, 0u8..3, any::<bool>(), 0u8..8, any::<bool>(), 1u8..6)
        .prop_map(|(gpus, zone, home, fate, spot, price)| NodePlan { gpus, zone, home, fate, spot, price })
}

fn spot() -> impl Strategy<Value = Option<Spot>> {
    let spot = (0u32..3, any::<bool>(), 0u32..3).prop_map(|(overprovision, on_demand_fallback, on_demand_base)| Spot {
        overprovision,
        on_demand_fallback,
        on_demand_base,
    });
    prop::option::weighted(0.3, spot)
}

fn endpoint_plan() -> impl Strategy<Value = EndpointPlan> {
    let size = (prop::sample::select(vec![0u32, 1, 2, 4, 8]), 0u32..4, 0u32..3);
    let place = (any::<bool>(), any::<bool>(), spot(), prop::sample::select(vec![0, 0, 100]), any::<(bool, bool)>());
    let rollout = (prop::sample::select(vec![0u8, 25, 100]), prop::sample::select(vec![0u32, 0, 1]));
    (size, place, rollout, prop::option::of((0u32..4, 0u32..4))).prop_map(|(size, place, rollout, mandate)| {
        EndpointPlan {
            gpus: size.0,
            min: size.1,
            above_min: size.2,
            home: place.0,
            spread: place.1,
            spot: place.2,
            priority: place.3,
            moves: place.4,
            surge: rollout.0,
            unavailable: rollout.1,
            mandate,
        }
    })
}

fn claim_plan() -> impl Strategy<Value = ClaimPlan> {
    let ready_often = prop_oneof![Just(ReplicaState::Ready), prop::sample::select(STATES.to_vec())];
    let past = (0u64..50, prop::bool::weighted(0.2), any::<bool>());
    (1u8..=9, 0usize..NAMES.len(), ready_often, past).prop_map(|(node, endpoint, state, past)| ClaimPlan {
        node,
        endpoint,
        state,
        claimed: past.0,
        superseded: past.1,
        resident: past.2,
    })
}

/// A mesh of up to nine nodes in any state, with endpoints of all kinds in the middle of anything, and claims that fit
/// their nodes.
pub(super) fn fleet() -> impl Strategy<Value = Fleet> {
    let nodes = prop::collection::vec(node_plan(), 1..=9);
    let endpoints = prop::collection::vec(endpoint_plan(), 1..=NAMES.len());
    let claims = prop_oneof![prop::collection::vec(claim_plan(), 0..16), prop::collection::vec(claim_plan(), 16..60)];
    (nodes, endpoints, claims).prop_map(|(nodes, endpoints, claims)| {
        let mut fleet = Fleet::new();
        for (number, plan) in (1u8..).zip(nodes) {
            fleet = with_node(fleet, number, &plan);
        }
        for (endpoint, plan) in NAMES.iter().zip(endpoints) {
            fleet = with_endpoint(fleet, endpoint, plan);
        }
        claims.iter().for_each(|plan| add(&mut fleet, plan));
        fleet
    })
}

fn with_node(fleet: Fleet, number: u8, plan: &NodePlan) -> Fleet {
    let capacity = if plan.spot { CapacityType::Spot } else { CapacityType::OnDemand };
    let fleet = fleet.node(number, plan.gpus).zone(number, &format!("z{}", plan.zone)).capacity(number, capacity);
    let fleet = fleet.cluster(number, if plan.home { "home" } else { "burst" }).price(number, plan.price.into());
    befall(fleet, number, plan.fate)
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

fn with_endpoint(fleet: Fleet, endpoint: &str, plan: EndpointPlan) -> Fleet {
    let fleet = fleet.endpoint(endpoint, plan.gpus, plan.min);
    let mandate = plan.mandate;
    let fleet = fleet.spec(endpoint, |spec| plan.write(spec));
    let past = fleet.record(endpoint).clone();
    let previous = PastRevision { revision: past.revision, spec: past.endpoint.spec };
    let fleet = fleet.revise(endpoint).past(endpoint, previous);
    let present = fleet.record(endpoint).revision;
    match mandate {
        Some((new, old)) => fleet.mandate(endpoint, 1, &[(present, new), (past.revision, old)]),
        None => fleet,
    }
}

impl EndpointPlan {
    fn write(self, spec: &mut EndpointSpec) {
        spec.replicas.max = Some(self.min + self.above_min);
        spec.placement.home = self.home.then(|| "home".to_owned());
        spec.placement.spread = self.spread.then_some(Spread::Zone);
        spec.placement.spot = self.spot;
        spec.placement.priority = self.priority;
        (spec.placement.defragment, spec.placement.rebalance) = self.moves;
        spec.placement.max_price = Some(Decimal::from_whole(100));
        spec.rollout.max_surge = Percent::from_whole(self.surge);
        spec.rollout.max_unavailable = self.unavailable;
    }
}

fn add(fleet: &mut Fleet, plan: &ClaimPlan) {
    let Some(node) = fleet.view.nodes.get(&id(plan.node)) else { return };
    let Some(record) = fleet.view.endpoints.get(&name(NAMES[plan.endpoint])) else { return };
    if held(node.claims.values()) + record.endpoint.spec.resources.gpus > node.gpus.len() as u32 {
        return;
    }
    let revision = if plan.superseded { record.previous[0].revision } else { record.revision };
    let claim = fleet.claim_of(plan.node, NAMES[plan.endpoint], revision, plan.state, plan.claimed);
    if plan.resident {
        fleet.node_mut(plan.node).claims.entry(claim).and_modify(|claim| claim.since = LONG_AGO);
    }
}

pub(super) fn held<'a>(claims: impl Iterator<Item = &'a Claim>) -> u32 {
    claims.map(|claim| claim.gpus).sum()
}

/// What `look` sees in the censuses of `view` at `now`.
pub(super) fn survey<T>(view: &View, now: u64, look: impl FnOnce(&Scene<'_>, &[Census<'_>]) -> T) -> T {
    let mut memory = Memory::default();
    memory.observe(view, at(now));
    let scene = Scene { view, memory: &memory, now: at(now) };
    look(&scene, &take_censuses(&scene, &Patience { now: at(now), guard: None }))
}

/// The same mesh under other names: node `n` is called `names[n - 1]`.
pub(super) fn renamed(view: &View, names: &[u8]) -> View {
    let rename = |node: shoal_types::NodeId| id(names[usize::from(node.as_bytes()[0]) - 1]);
    let nodes = view.nodes.values().map(|node| {
        let mut node = shoal_types::NodeView::clone(node);
        node.id = rename(node.id);
        let claims = std::mem::take(&mut node.claims).into_values();
        node.claims = claims
            .map(|claim| Claim { id: ClaimId { node: rename(claim.id.node), ..claim.id }, ..claim })
            .map(|claim| (claim.id, claim))
            .collect::<BTreeMap<_, _>>();
        (node.id, node.into())
    });
    View { me: rename(view.me), mesh: view.mesh, nodes: nodes.collect(), endpoints: view.endpoints.clone() }
}

/// Five nodes on which nothing is equal: no two have the same room, price or age of claims. `b` has replicas on all of
/// them, and may be pushed aside or in the middle of a rollout; `a` misses something, and there may be room for it.
pub(super) fn unequal() -> impl Strategy<Value = Fleet> {
    let held = prop::array::uniform5(1usize..5);
    (held, any::<bool>(), 0i32..2, any::<(bool, bool)>(), any::<bool>(), any::<bool>()).prop_map(
        |(held, roomy, priority, (defragment, rebalance), resident, rollout)| {
            // Without room, nodes have 0 to 4 GPUs free, and a replica needs 5. With it, placing one makes no two equal.
            let (gpus, spacing) = if roomy { (2, 20) } else { (5, 1) };
            let mut fleet = Fleet::new().endpoint("a", gpus, 2).endpoint("b", 1, 2);
            fleet = fleet.spec("a", |spec| spec.placement.priority = priority);
            fleet = fleet.spec("b", |spec| {
                spec.replicas.max = Some(40);
                (spec.placement.defragment, spec.placement.rebalance) = (defragment, rebalance);
            });
            let mut age = 0;
            for (number, held) in (1u8..).zip(held) {
                fleet = fleet.node(number, held + spacing * usize::from(number - 1));
                fleet = fleet.price(number, f64::from(1 << number));
                for _ in 0..held {
                    age += 1;
                    let claim = fleet.claim(number, "b", ReplicaState::Ready, age);
                    let since = if resident { LONG_AGO } else { at(age) };
                    fleet.node_mut(number).claims.entry(claim).and_modify(|claim| claim.since = since);
                }
            }
            let held = held.into_iter().sum::<usize>() as u32;
            let old: Revision = fleet.record("b").revision;
            if !rollout {
                return fleet.mandate("b", 1, &[(old, held)]);
            }
            let spec = fleet.record("b").endpoint.spec.clone();
            let fleet = fleet.revise("b").past("b", PastRevision { revision: old, spec });
            let new = fleet.record("b").revision;
            fleet.mandate("b", 1, &[(new, 1), (old, held - 1)])
        },
    )
}
