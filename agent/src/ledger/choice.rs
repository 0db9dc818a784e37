//! Which GPUs a claim gets, of those that it could have: pure.
//!
//! GPUs of one replica talk to each other all the time, so near ones are better: those of one NUMA node (and with it of one
//! PCIe switch or NVLink island), then neighbours by index. Of nodes that have enough, the one with the fewest is taken, so
//! that larger ones stay whole.

use std::collections::{BTreeMap, BTreeSet};

use shoal_types::{ClaimId, Gpu, GpuId};

use super::Reservation;

/// `wanted` of the `free` GPUs; or all of those and the rest of those that claims sleep on. `all` gives their order.
/// `None` if both together are not enough.
pub(super) fn choose(
    all: &[Gpu],
    free: Vec<&Gpu>,
    slept_on: Vec<(ClaimId, &Gpu)>,
    wanted: usize,
) -> Option<Reservation> {
    let place = |gpu: &Gpu| all.iter().position(|other| other.id == gpu.id);
    let spots = |gpus: Vec<&Gpu>| -> Vec<Spot> {
        gpus.into_iter().filter_map(|gpu| Some(Spot { index: place(gpu)?, numa: gpu.numa })).collect()
    };
    let name = |mut spots: Vec<Spot>| -> Vec<GpuId> {
        spots.sort();
        spots.into_iter().map(|spot| all[spot.index].id.clone()).collect()
    };
    if free.len() >= wanted {
        return Some(Reservation { gpus: name(nearest(spots(free), wanted)), evicted: Vec::new() });
    }
    let missing = wanted - free.len();
    let evicted = evict(&slept_on, missing)?;
    let freed = slept_on.into_iter().filter(|(claim, _)| evicted.contains(claim)).map(|(_, gpu)| gpu).collect();
    let mut taken = spots(free);
    taken.extend(nearest(spots(freed), missing));
    Some(Reservation { gpus: name(taken), evicted: evicted.into_iter().collect() })
}

/// Where a GPU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    index: usize,
    numa: Option<u32>,
}

/// The `wanted` of `spots`, which are at least as many, that are nearest to each other.
fn nearest(mut spots: Vec<Spot>, wanted: usize) -> Vec<Spot> {
    spots.sort();
    let mut nodes: BTreeMap<u32, Vec<Spot>> = BTreeMap::new();
    for spot in &spots {
        // What is nowhere is near to nothing.
        if let Some(numa) = spot.numa {
            nodes.entry(numa).or_default().push(*spot);
        }
    }
    let enough = nodes.into_values().filter(|node| node.len() >= wanted);
    closest(&enough.min_by_key(Vec::len).unwrap_or(spots), wanted).to_vec()
}

/// Of sorted `spots` the `wanted` with the fewest GPUs of others between them.
fn closest(spots: &[Spot], wanted: usize) -> &[Spot] {
    let span = |window: &&[Spot]| window.last().zip(window.first()).map(|(last, first)| last.index - first.index);
    spots.windows(wanted.max(1)).min_by_key(span).unwrap_or_default()
}

/// The fewest claims that together give up `missing` GPUs: the smallest one that is enough, else the largest and more.
fn evict(slept_on: &[(ClaimId, &Gpu)], missing: usize) -> Option<BTreeSet<ClaimId>> {
    let mut sizes: BTreeMap<ClaimId, usize> = BTreeMap::new();
    for (claim, _) in slept_on {
        *sizes.entry(*claim).or_default() += 1;
    }
    let (mut evicted, mut missing) = (BTreeSet::new(), missing);
    while missing > 0 {
        let enough = sizes.iter().filter(|(_, size)| **size >= missing).min_by_key(|(_, size)| **size);
        let (&claim, &size) = enough.or_else(|| sizes.iter().max_by_key(|(_, size)| **size))?;
        sizes.remove(&claim);
        evicted.insert(claim);
        missing = missing.saturating_sub(size);
    }
    Some(evicted)
}
