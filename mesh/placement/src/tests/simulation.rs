//! Whole meshes in virtual time: every node has its own late view of the others, nodes die, the mesh splits and heals.
//!
//! The numbers are those of the protocol's design: gossip takes 0.15 to 2.4 s, a silent node is noticed after 7.5 to
//! 9.5 s. A model loads in 20 s here, so that a night passes quickly. The seed is in every message.

mod agent;
mod chaos;
mod gossip;
mod mesh;
mod mixed;
mod node;
mod random;
mod seeds;
mod tale;
mod troubles;
mod verdict;
mod watch;
mod workload;

use mesh::Mesh;
use random::Random;
use workload::{Workload, crumbs, halves, large, revised, small_and_large};

const SEEDS: u64 = 60;
const NODES: usize = 24;

/// Time by which everything serves after it was applied: listening, turns, settling, loading, and a second try for
/// some.
const PLACED: u64 = 60;
/// Detection, `replaceAfter`, turns, settling and loading.
const REPLACED: u64 = 75;
/// One move after the other, each with its settle time, turns, load and drain, until two hosts are whole.
const DEFRAGMENTED: u64 = 300;
/// Gossip, the settle time of surplus, and the drain.
const HEALED: u64 = 60;

/// Runs `test` with a fresh mesh and endpoints that take `fill` of its GPUs, for every seed.
fn for_each_seed(fill: f64, test: impl Fn(&str, Mesh, Workload)) {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let workload = workload::filling(NODES, fill, &mut random);
        test(&format!("seed {seed}"), Mesh::start(NODES, random), workload);
    }
}

const NOTHING: [String; 0] = [];

#[test]
fn large_replicas_find_whole_hosts_at_80_percent() {
    for_each_seed(0.8, |seed, mut mesh, workload| {
        mesh.apply(workload);
        mesh.run_until(PLACED);
        assert_eq!(mesh.unsettled(), NOTHING, "{seed}");
        assert!(mesh.outcome().abandoned <= 2, "{seed}: {:?}", mesh.outcome());
    });
}

#[test]
fn small_replicas_leave_hosts_whole_for_large_ones_that_come_later() {
    for_each_seed(0.55, |seed, mut mesh, workload| {
        let (small, large) = small_and_large(workload);
        mesh.apply(small);
        mesh.run_until(PLACED);
        mesh.apply(large);
        mesh.run_until(2 * PLACED);
        assert_eq!(mesh.unsettled(), NOTHING, "{seed}");
        assert_eq!(mesh.outcome().abandoned, 0, "{seed}: no load wasted");
    });
}

#[test]
fn large_replicas_do_not_starve_while_smaller_ones_may_move() {
    const FEW: usize = 8;
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let crumbs = crumbs(FEW, &mut random);
        let mut mesh = Mesh::start(FEW, random);
        mesh.apply(crumbs.clone());
        mesh.run_until(2 * PLACED);
        // What is left has its gaps all over the fleet.
        crumbs.into_keys().step_by(2).for_each(|name| mesh.delete(name));
        mesh.run_until(3 * PLACED);
        mesh.apply(large(2));
        mesh.run_until(3 * PLACED + DEFRAGMENTED);
        assert_eq!(mesh.unsettled(), NOTHING, "seed {seed}");
    }
}

#[test]
fn the_replicas_of_a_dead_node_come_back_elsewhere() {
    for_each_seed(0.55, |seed, mut mesh, workload| {
        mesh.apply(workload);
        mesh.run_until(100);
        let fullest = mesh.fullest();
        mesh.crash(fullest);
        mesh.run_until(100 + REPLACED);
        assert_eq!(mesh.unsettled(), NOTHING, "{seed}");
        assert!(mesh.outcome().abandoned <= 2, "{seed}: {:?}", mesh.outcome());
    });
}

#[test]
fn a_rollout_serves_throughout() {
    for_each_seed(0.4, |seed, mut mesh, workload| {
        mesh.apply(workload.clone());
        mesh.run_until(PLACED);
        mesh.apply(revised(halves(workload).0));
        mesh.run_until(2 * PLACED + HEALED);
        assert_eq!(mesh.unsettled(), NOTHING, "{seed}");
    });
}

#[test]
fn after_a_partition_each_endpoint_is_back_to_what_is_wanted() {
    for_each_seed(0.55, |seed, mut mesh, workload| {
        mesh.apply(workload);
        mesh.run_until(100);
        mesh.partition(NODES * 2 / 5);
        mesh.run_until(220);
        assert_eq!(mesh.unserved(), NOTHING, "{seed}: a side had room and did not serve");
        mesh.heal();
        mesh.run_until(220 + HEALED);
        assert_eq!(mesh.unsettled(), NOTHING, "{seed}");
        mesh.run_until(300 + HEALED);
        assert_eq!(mesh.unsettled(), NOTHING, "{seed}: and it stays so");
    });
}
