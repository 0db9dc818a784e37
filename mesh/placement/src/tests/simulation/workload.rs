//! Endpoints that fill a fleet.

use std::{collections::BTreeMap, sync::Arc};

use shoal_types::{EndpointName, EndpointRecord, Spread};

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

/// Divides `workload` into its first half, by name, and the rest.
pub(super) fn halves(mut workload: Workload) -> (Workload, Workload) {
    let middle = workload.keys().nth(workload.len() / 2).cloned();
    let rest = middle.map(|middle| workload.split_off(&middle)).unwrap_or_default();
    (workload, rest)
}

/// The same endpoints, each with a new revision.
pub(super) fn revised(mut workload: Workload) -> Workload {
    for record in workload.values_mut() {
        Arc::make_mut(record).revision.0.counter += 1;
    }
    workload
}

/// Divides `workload` into replicas that leave room beside them on a host, and those that need a whole one.
pub(super) fn small_and_large(workload: Workload) -> (Workload, Workload) {
    workload.into_iter().partition(|(_, record)| record.endpoint.spec.resources.gpus < 8)
}
