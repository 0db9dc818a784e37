//! How long decisions take on large fleets, on one core: `cargo bench -p shoal-placement`.
//!
//! * `plan`: the first decision of a node that has just heard of everything, with nothing placed yet.
//! * `first`: the same with everything placed, as after a restart of one daemon.
//! * `step`: the next one, when one claim of one node has changed.
//! * `pending`: the same while a replica is missing that nobody has room for.

// A benchmark that cannot be set up has nothing to measure.
#![allow(clippy::unwrap_used)]

mod fleet;

use std::{cell::Cell, hint::black_box, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use shoal_placement::{Elector, Memory, Timing};
use shoal_types::View;

use crate::fleet::{at, crowd, crowd_without_room, touch};

/// Nodes and endpoints: what the targets are stated for, and what shows the growth.
const SIZES: [(usize, usize); 4] = [(250, 50), (1_000, 200), (2_500, 400), (10_000, 1_000)];

/// An elector that has listened to a fleet without endpoints, and may claim.
fn listened(view: &View) -> Elector {
    let mut elector = Elector::new(view.me, Timing::default(), Memory::default());
    let empty = View { endpoints: Default::default(), ..view.clone() };
    elector.step(&empty, at(0));
    elector.step(&empty, at(4));
    elector
}

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for (nodes, endpoints) in SIZES {
        let view = crowd(nodes, endpoints, false);
        let elector = listened(&view);
        group.bench_with_input(BenchmarkId::from_parameter(format!("{nodes}x{endpoints}")), &view, |bench, view| {
            bench.iter_batched(
                || elector.clone(),
                |mut elector| black_box(elector.step(view, at(5))),
                BatchSize::LargeInput,
            );
        });
    }
}

fn first(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for (nodes, endpoints) in SIZES {
        let view = crowd(nodes, endpoints, true);
        group.bench_with_input(BenchmarkId::from_parameter(format!("{nodes}x{endpoints}")), &view, |bench, view| {
            bench.iter_batched(
                || Elector::new(view.me, Timing::default(), Memory::default()),
                |mut elector| black_box(elector.step(view, at(5))),
                BatchSize::LargeInput,
            );
        });
    }
}

fn step(criterion: &mut Criterion) {
    changing(criterion, "step", |nodes, endpoints| crowd(nodes, endpoints, true));
}

fn pending(criterion: &mut Criterion) {
    changing(criterion, "pending", crowd_without_room);
}

/// Steps over views of which each differs from the one before in one claim.
fn changing(criterion: &mut Criterion, name: &str, crowd: impl Fn(usize, usize) -> View) {
    let mut group = criterion.benchmark_group(name);
    for (nodes, endpoints) in SIZES {
        let mut view = crowd(nodes, endpoints);
        let mut elector = listened(&view);
        let second = Cell::new(5);
        elector.step(&view, at(second.get()));
        group.bench_function(BenchmarkId::from_parameter(format!("{nodes}x{endpoints}")), |bench| {
            bench.iter_batched(
                || {
                    second.set(second.get() + 1);
                    touch(&mut view, second.get());
                    view.clone()
                },
                |view| {
                    // The view of before is dropped by whoever publishes the next one.
                    let decision = elector.step(&view, at(second.get()));
                    (view, decision)
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, plan, first, step, pending);
criterion_main!(benches);
