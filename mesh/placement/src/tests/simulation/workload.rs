//! Endpoints that fill a fleet, and how they change.

use std::{collections::BTreeMap, sync::Arc};

use shoal_types::{
    Decimal, EndpointName, EndpointRecord, EndpointSpec, EngineSpec, Hlc, HumanDuration, PastRevision, Revision,
    SimEngine, Sleep, Spot, Spread, Strategy,
};

use super::random::Random;
use crate::tests::fleet::{name, record};

pub(super) type Workload = BTreeMap<EndpointName, Arc<EndpointRecord>>;

/// Endpoints with one to three replicas of one to eight GPUs, until they take `fill` of the GPUs of `nodes` hosts with
/// eight each. A quarter of them has a home cluster, another is spread over zones.
pub(super) fn filling(nodes: usize, fill: f64, random: &mut Random) -> Workload {
    let gpus = (nodes as f64 * 8.0 * fill) as usize;
    let mut workload = Workload::new();
    let mut used = 0;
    while used < gpus {
        let size = [8, 4, 2, 1][random.below(4)];
        let replicas = 1 + random.below(3);
        if used + size * replicas > gpus && size > 1 {
            continue;
        }
        used += size * replicas;
        // Unlike the sizes, the names are in no order.
        let endpoint = format!("e{:02}-{size}", random.below(1_000_000));
        let mut record = record(&endpoint, size as u32, replicas as u32);
        match random.below(4) {
            0 => record.endpoint.spec.placement.home = Some("home".to_owned()),
            1 => record.endpoint.spec.placement.spread = Some(Spread::Zone),
            _ => {}
        }
        workload.insert(name(&endpoint), Arc::new(record));
    }
    workload
}

/// Endpoints of one small replica each, which may move, that take every GPU of `nodes` hosts.
pub(super) fn crumbs(nodes: usize, random: &mut Random) -> Workload {
    let mut workload = Workload::new();
    let mut left = nodes * 8;
    while left > 0 {
        let size = random.one_of(&[4, 2, 1]).min(left);
        left -= size;
        let endpoint = format!("e{:02}-{size}", random.below(1_000_000));
        let mut record = record(&endpoint, size as u32, 1);
        record.endpoint.spec.placement.defragment = true;
        workload.insert(name(&endpoint), Arc::new(record));
    }
    workload
}

/// An endpoint whose replicas need a whole host each.
pub(super) fn large(replicas: u32) -> Workload {
    [(name("large"), Arc::new(record("large", 8, replicas)))].into()
}

/// Divides `workload` into its first half, by name, and the rest.
pub(super) fn halves(mut workload: Workload) -> (Workload, Workload) {
    let middle = workload.keys().nth(workload.len() / 2).cloned();
    let rest = middle.map(|middle| workload.split_off(&middle)).unwrap_or_default();
    (workload, rest)
}

/// The same endpoints, each with a new revision.
pub(super) fn revised(mut workload: Workload) -> Workload {
    workload.values_mut().for_each(|record| revise(Arc::make_mut(record)));
    workload
}

/// Gives `record` a revision that it never had.
pub(super) fn revise(record: &mut EndpointRecord) {
    let known = record.previous.iter().map(|past| past.revision).chain([record.revision]);
    let last = known.map(|revision| revision.0.counter).max().unwrap_or(0);
    let past = PastRevision { revision: record.revision, spec: record.endpoint.spec.clone() };
    record.previous.insert(0, past);
    record.previous.truncate(3);
    record.revision = Revision(Hlc { counter: last + 1, ..record.revision.0 });
    record.endpoint.spec.model = format!("test/model-{}", last + 1);
}

/// Takes `record` back to the revision before, if it had one.
pub(super) fn undo(record: &mut EndpointRecord) {
    if record.previous.is_empty() {
        return;
    }
    let before = record.previous.remove(0);
    let replaced = PastRevision { revision: record.revision, spec: record.endpoint.spec.clone() };
    record.previous.insert(0, replaced);
    record.revision = before.revision;
    record.endpoint.spec.model = before.spec.model;
}

/// Endpoints as [`filling`] makes them, of which no two are alike in what they may and want.
pub(super) fn varied(nodes: usize, fill: f64, random: &mut Random) -> Workload {
    let mut workload = filling(nodes, fill, random);
    workload.values_mut().for_each(|record| vary(&mut Arc::make_mut(record).endpoint.spec, random));
    workload
}

fn vary(spec: &mut EndpointSpec, random: &mut Random) {
    let sleep = random.chance(0.2).then(Sleep::default);
    spec.engine = EngineSpec::Sim(SimEngine { sleep, ..SimEngine::default() });
    if random.chance(0.4) {
        spec.replicas.max = Some(spec.replicas.min + 2);
        spec.scaling.targets.inflight = Some(Decimal::from_whole(10));
        spec.scaling.up_delay = HumanDuration::from_secs(5);
        spec.scaling.down_delay = HumanDuration::from_secs(30);
    }
    spec.rollout.strategy = random.one_of(&[Strategy::Rolling, Strategy::Canary]);
    spec.rollout.pause = HumanDuration::from_secs(10);
    spec.rollout.max_unavailable = random.one_of(&[0, 0, 0, 1]);
    let placement = &mut spec.placement;
    placement.replace_after = HumanDuration::from_secs(random.one_of(&[0, 5, 10, 20]));
    placement.priority = random.one_of(&[0, 0, 10]);
    placement.defragment = random.chance(0.3);
    placement.rebalance = random.chance(0.2);
    placement.max_price = random.chance(0.1).then(|| Decimal::from_whole(3));
    placement.spot = random.chance(0.25).then(|| Spot {
        overprovision: random.below(3) as u32,
        on_demand_fallback: random.chance(0.7),
        on_demand_base: random.below(2) as u32,
    });
}

/// Divides `workload` into replicas that leave room beside them on a host, and those that need a whole one.
pub(super) fn small_and_large(workload: Workload) -> (Workload, Workload) {
    workload.into_iter().partition(|(_, record)| record.endpoint.spec.resources.gpus < 8)
}
