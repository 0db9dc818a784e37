//! How long decisions take on large fleets, on one core: `cargo bench -p shoal-placement`.
//!
//! * `elect/...` is [`Elector::step`](shoal_placement::Elector::step), what a daemon does on every view.
//! * `plan/...` is [`plan()`](shoal_placement::plan()), what `shoal plan` prints.
//! * `explain/...` is [`explain()`](shoal_placement::explain()), what `shoal why` prints.
//! * `steward/...` is [`Steward::step`](shoal_placement::Steward::step), what a daemon does on every view too.
//! * `requests/...` is [`capacity_requests`](shoal_placement::spot::capacity_requests), what the capacity hook is told.
//!
//! What each measures is said where it is.

// A benchmark that cannot be set up has nothing to measure.
#![allow(clippy::unwrap_used)]

mod elect;
mod fleet;
mod forecast;
mod steward;

use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main, measurement::WallTime};

/// Nodes and endpoints: what the targets are stated for, and what shows the growth.
const SIZES: [(usize, usize); 4] = [(250, 50), (1_000, 200), (2_500, 400), (10_000, 1_000)];

/// Runs `bench` on each of [`SIZES`].
fn sizes(
    criterion: &mut Criterion,
    name: &str,
    mut bench: impl FnMut(&mut BenchmarkGroup<'_, WallTime>, BenchmarkId, (usize, usize)),
) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for (nodes, endpoints) in SIZES {
        bench(&mut group, BenchmarkId::from_parameter(format!("{nodes}x{endpoints}")), (nodes, endpoints));
    }
}

criterion_group!(
    benches,
    elect::everything,
    elect::first,
    elect::step,
    elect::pending,
    forecast::plan_everything,
    forecast::plan_one,
    forecast::explain_one,
    forecast::explain_stuck,
    forecast::requests,
    steward::first,
    steward::step,
    steward::churn,
);
criterion_main!(benches);
