//! The rules on views that nobody thought of.

mod meshes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;
use shoal_types::{CapacityType, Claim, ClaimId, EndpointName, Liveness, NodeId, NodeView, ReplicaState, Spread, View};

use self::meshes::{NAMES, fleet, held, renamed, survey, unequal};
use super::{
    fleet::{Fleet, at, id},
    lockstep::Lockstep,
};
use crate::{
    Action, DrainReason, Elector, Memory, MoveReason, Timing, WithdrawReason, agenda::Agenda, candidates,
    census::Census, group::Group,
};

fn kept(view: &View, endpoint: &str) -> BTreeSet<ClaimId> {
    survey(view, 100, |_, censuses| {
        let census = censuses.iter().find(|census| census.name().as_str() == endpoint).unwrap();
        census.groups.iter().flat_map(Group::kept).map(|holder| holder.claim.id).collect()
    })
}

/// Whose place is taken and who moves, as `me` sees it, and what is missing.
fn planned(view: &View, me: NodeId) -> String {
    survey(view, 100, |scene, censuses| {
        let agenda = Agenda::new(scene, me, censuses);
        let missing = agenda.openings.iter().map(|opening| {
            (opening.census.name(), opening.group.want.revision, opening.group.want.class, opening.missing)
        });
        format!("{:?} {:?}", agenda.clearing, missing.collect::<Vec<_>>())
    })
}

/// What each node of an unchanging view decides after having watched it for a while. One that the view takes for gone
/// decides nothing: were it there, it would know itself to be, and so have another view.
fn decisions(view: &View) -> Vec<(NodeId, Action)> {
    let mut all = Vec::new();
    for me in view.nodes.values().filter(|node| node.is_alive()).map(|node| node.id) {
        let mut elector = Elector::new(me, Timing::default(), Memory::default());
        let view = View { me, ..view.clone() };
        elector.step(&view, at(96));
        all.extend(elector.step(&view, at(100)).actions.into_iter().map(|action| (me, action)));
    }
    all
}

fn drains(view: &View) -> Vec<(ClaimId, DrainReason, Vec<ClaimId>)> {
    let drain = |(_, action)| match action {
        Action::Drain { claim, reason, confirm } => {
            Some((claim, reason, confirm.into_iter().map(|(_, id)| id).collect()))
        }
        Action::Claim { .. } | Action::Start(_) | Action::Wake(_) | Action::Withdraw { .. } | Action::Move { .. } => {
            None
        }
    };
    decisions(view).into_iter().filter_map(drain).collect()
}

/// How many there should be of each endpoint at most: what is wanted, and the surge.
fn most(view: &View, now: u64) -> BTreeMap<EndpointName, usize> {
    survey(view, now, |_, censuses| censuses.iter().map(|census| (census.name().clone(), census.most())).collect())
}

/// Claims on `endpoint` that stay, of nodes that are there.
fn staying(view: &View, now: u64, endpoint: &EndpointName) -> usize {
    survey(view, now, |_, censuses| {
        let staying = censuses.iter().filter(|census| census.name() == endpoint).flat_map(Census::staying);
        staying.filter(|holder| holder.node.is_alive()).count()
    })
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
        prop_assert_eq!(planned(&fleet.view, id(1)), planned(&other, id(me)));
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

    /// Rule 3: under other names, the same nodes do the same, where nothing else is equal.
    #[test]
    fn rule_3_a_renamed_mesh_decides_the_same(fleet in unequal(), names in Just((1u8..=5).collect::<Vec<_>>()).prop_shuffle()) {
        let back: Vec<u8> = (1..=5).map(|name| names.iter().position(|&n| n == name).unwrap() as u8 + 1).collect();
        let other = renamed(&fleet.view, &names);
        let by_node = |view: &View| -> BTreeMap<NodeId, Vec<String>> {
            let mut by_node: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (node, action) in decisions(view) {
                by_node.entry(node).or_default().push(told(&action, view));
            }
            by_node
        };
        let there = by_node(&other).into_iter().map(|(node, told)| (id(back[usize::from(node.as_bytes()[0]) - 1]), told));
        prop_assert_eq!(by_node(&fleet.view), there.collect());
    }

    /// Rule 3: a surplus claim that goes changes nothing for those that stay.
    #[test]
    fn rule_3_surplus_goes_unnoticed(fleet in fleet()) {
        for (endpoint, record) in &fleet.view.endpoints {
            let spec = &record.endpoint.spec;
            // How many stand in for spot capacity depends on who does, and without a steward what runs is wanted.
            let stands_in = spec.placement.spot.as_ref().is_some_and(|spot| spot.on_demand_fallback);
            let is_told = fleet.view.nodes[&id(1)].mandates.contains_key(endpoint);
            if stands_in || !(is_told || spec.replicas.most() == spec.replicas.min) {
                continue;
            }
            let before = kept(&fleet.view, endpoint.as_str());
            let claims: Vec<ClaimId> = survey(&fleet.view, 100, |_, censuses| {
                let census = censuses.iter().find(|census| census.name() == endpoint).unwrap();
                census.dispensable().map(|holder| holder.claim.id).collect()
            });
            // A claim of a quiet node may be what nobody else is waited for; taking that one away is no surplus going.
            let alive = |claim: &ClaimId| fleet.view.nodes[&claim.node].is_alive();
            let serving = fleet.view.claims_of(endpoint).any(|(node, claim)| node.is_alive() && claim.state.serves());
            for claim in claims.iter().filter(|claim| serving && alive(claim)) {
                let mut without = fleet.view.clone();
                Arc::make_mut(without.nodes.get_mut(&claim.node).unwrap()).claims.remove(claim);
                let still = without.claims_of(endpoint).any(|(node, claim)| node.is_alive() && claim.state.serves());
                prop_assert!(!still || kept(&without, endpoint.as_str()) == before);
            }
        }
    }

    /// Rule 3: a node's GPUs are its own to give, and it never gives one twice. And with gossip that takes no time,
    /// nobody claims beyond what is wanted and the surge.
    #[test]
    fn rule_3_capacity(fleet in fleet()) {
        let mut mesh = Lockstep::new(fleet);
        for second in 91..130 {
            let before = most(&mesh.fleet.view, second - 1);
            let log = mesh.run_until(second);
            for node in mesh.fleet.view.nodes.values() {
                prop_assert!(held(node.claims.values()) <= node.gpus.len() as u32);
            }
            let after = most(&mesh.fleet.view, second);
            for (_, _, action) in log {
                let Action::Claim { endpoint, .. } = action else { continue };
                let staying = staying(&mesh.fleet.view, second, &endpoint);
                prop_assert!(staying <= before[&endpoint].max(after[&endpoint]), "{endpoint}: {staying}");
            }
        }
    }

    /// Rule 4: never drain a ready replica while a kept one is not ready, and never the last one that is.
    #[test]
    fn rule_4_make_before_break(fleet in fleet()) {
        let drains = drains(&fleet.view);
        let leaving: BTreeSet<ClaimId> = drains.iter().map(|(claim, ..)| *claim).collect();
        let claims: BTreeMap<ClaimId, _> = fleet.view.claims().map(|held| (held.1.id, held)).collect();
        for (claim, reason, confirm) in &drains {
            let endpoint = &claims[claim].1.endpoint;
            let spec = &fleet.view.endpoints[endpoint].endpoint.spec;
            let desired = survey(&fleet.view, 100, |_, censuses| {
                censuses.iter().find(|census| census.name() == endpoint).unwrap().desired()
            });
            let least = match reason {
                DrainReason::Preempted { .. } => spec.replicas.min as usize,
                DrainReason::Surplus | DrainReason::Superseded => {
                    desired.saturating_sub(spec.rollout.max_unavailable as usize)
                }
                DrainReason::Departing | DrainReason::Leaving | DrainReason::Idle => desired,
                DrainReason::Deadline | DrainReason::Unwanted => 0,
            };
            prop_assert!(least <= confirm.len() && confirm.len() <= desired.max(least), "{reason:?}");
            for kept in confirm {
                let (node, kept_claim) = claims[kept];
                prop_assert!(node.is_alive() && node.departure.is_none() && kept_claim.state == ReplicaState::Ready);
                prop_assert_eq!(&kept_claim.endpoint, endpoint);
                prop_assert!(!leaving.contains(kept), "nobody drains whom another counts on");
            }
        }
    }

    /// Rule 4: the whole way to the end, with gossip that takes no time: what has served goes on serving, unless its
    /// spec lets it be missing.
    #[test]
    fn rule_4_never_the_last_ready(fleet in fleet()) {
        let mut mesh = Lockstep::new(fleet);
        let serving = |view: &View| -> BTreeSet<String> {
            let must_serve = |name| view.endpoints.get(name).is_some_and(|record| {
                record.endpoint.spec.replicas.min > 0 && record.endpoint.spec.rollout.max_unavailable == 0
            });
            let serves = |(node, claim): &(&NodeView, &Claim)| node.is_alive() && claim.state.serves();
            let serving = view.claims().filter(|held| serves(held) && must_serve(&held.1.endpoint));
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

    /// Rule 7: who moves or makes room is allowed to, and what it is for is worth it.
    #[test]
    fn rule_7_only_for_a_reason(fleet in fleet()) {
        let claims: BTreeMap<ClaimId, _> = fleet.view.claims().map(|held| (held.1.id, held)).collect();
        let spec = |endpoint: &EndpointName| &fleet.view.endpoints[endpoint].endpoint.spec;
        for (_, action) in decisions(&fleet.view) {
            let victim = |claim: &ClaimId| spec(&claims[claim].1.endpoint);
            match &action {
                Action::Move { claim, reason: MoveReason::Defragment { for_endpoint } } => {
                    prop_assert!(victim(claim).placement.defragment);
                    prop_assert!(victim(claim).resources.gpus < spec(for_endpoint).resources.gpus);
                }
                Action::Move { claim, reason: MoveReason::Rebalance { to } } => {
                    prop_assert!(victim(claim).placement.rebalance);
                    let price = |node: &NodeView| node.facts.labels.price.unwrap();
                    prop_assert!(price(&fleet.view.nodes[to]) <= 0.8 * price(claims[claim].0));
                }
                Action::Drain { claim, reason: DrainReason::Preempted { by }, .. }
                | Action::Withdraw { claim, reason: WithdrawReason::Preempted { by } } => {
                    prop_assert!(victim(claim).placement.priority < spec(by).placement.priority);
                }
                Action::Drain { claim, reason: DrainReason::Surplus | DrainReason::Superseded, .. } => {
                    let endpoint = claims[claim].1.endpoint.as_str();
                    prop_assert!(!kept(&fleet.view, endpoint).contains(claim));
                }
                Action::Drain { .. } | Action::Withdraw { .. } | Action::Claim { .. } | Action::Start(_)
                | Action::Wake(_) => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Rules 3 and 7: where there is no room, nobody goes round in circles.
    #[test]
    fn rule_7_comes_to_rest(fleet in fleet()) {
        let mut mesh = Lockstep::new(come_on(fleet));
        mesh.run_until(ROUNDS);
        let mut log = mesh.run_until(ROUNDS + 60);
        // What is to move and finds no successor is told so again and again.
        log.retain(|(_, _, action)| !matches!(action, Action::Move { .. }));
        prop_assert_eq!(log, vec![]);
    }

    /// Rules 3 and 5: where there is room, each endpoint comes to have exactly what it wants, and keeps it.
    #[test]
    fn rule_5_converges_to_exactly_what_is_wanted(fleet in fleet()) {
        let mut fleet = fleet;
        for node in 11..=22 {
            let capacity = if node % 2 == 0 { CapacityType::Spot } else { CapacityType::OnDemand };
            fleet = fleet.node(node, 16).zone(node, &format!("z{}", node % 3)).capacity(node, capacity).price(node, 9.0);
        }
        let mut mesh = Lockstep::new(come_on(fleet));
        let wrong = |view: &View, now| survey(view, now, |_, censuses| -> Vec<String> {
            let is_right = |census: &&Census<'_>| {
                census.is_settled() && census.staying().count() == census.wanted()
            };
            censuses.iter().filter(|census| !is_right(census)).map(|census| format!("{census:#?}")).collect()
        });
        mesh.run_until(ROUNDS);
        let none: Vec<String> = Vec::new();
        prop_assert_eq!(wrong(&mesh.fleet.view, ROUNDS), none);
        prop_assert_eq!(mesh.run_until(ROUNDS + 30), vec![]);
    }
}

/// `fleet`, without what never ends or comes on by itself: its node would have to end it.
fn come_on(mut fleet: Fleet) -> Fleet {
    for node in fleet.view.nodes.values_mut() {
        let node = Arc::make_mut(node);
        node.claims.retain(|_, claim| claim.state != ReplicaState::Draining);
        for claim in node.claims.values_mut().filter(|claim| !claim.state.serves()) {
            claim.state = ReplicaState::Starting;
        }
    }
    fleet
}

/// Seconds within which everything is as it is wanted: for each of up to six replicas, one after the other, the turns,
/// the settle time, the load and the drain of what it replaces.
const ROUNDS: u64 = 90 + 6 * 40;

/// `action` without any node's name: claims are told by when they were made.
fn told(action: &Action, view: &View) -> String {
    let claim = |id: &ClaimId| view.nodes[&id.node].claims[id].claimed;
    match action {
        Action::Claim { endpoint, revision, gpus } => format!("claim {endpoint} {revision:?} {gpus}"),
        Action::Start(id) => format!("start {}", claim(id)),
        Action::Wake(id) => format!("wake {}", claim(id)),
        Action::Withdraw { claim: id, reason } => format!("withdraw {} {reason:?}", claim(id)),
        Action::Drain { claim: id, reason, confirm } => {
            format!("drain {} {reason:?} {:?}", claim(id), confirm.iter().map(|(_, id)| claim(id)).collect::<Vec<_>>())
        }
        Action::Move { claim: id, reason: MoveReason::Rebalance { to } } => {
            format!("move {} to {:?}", claim(id), view.nodes[to].facts.labels.price)
        }
        Action::Move { claim: id, reason } => format!("move {} {reason:?}", claim(id)),
    }
}
