//! What people and the capacity hook are told.

use std::hint::black_box;

use criterion::Criterion;
use shoal_placement::{
    Explanation, Memory, Scene, explain, making_room, plan,
    spot::{Asked, capacity_requests},
};
use shoal_types::{Endpoint, EndpointRecord, View};

use crate::{
    fleet::{at, crowd, crowd_without_room},
    sizes,
};

fn scene<'a>(view: &'a View, memory: &'a Memory) -> Scene<'a> {
    Scene { view, memory, now: at(5) }
}

/// As it is told to whoever asks.
fn explained(scene: &Scene<'_>, record: &EndpointRecord) -> Explanation {
    explain(scene, record, &making_room(scene))
}

/// A file with all endpoints, on an empty fleet.
pub(crate) fn plan_everything(criterion: &mut Criterion) {
    let memory = Memory::default();
    sizes(criterion, "plan/everything", |group, id, (nodes, endpoints)| {
        let mut view = crowd(nodes, endpoints, false);
        let records = std::mem::take(&mut view.endpoints);
        let file: Vec<Endpoint> = records.values().map(|record| record.endpoint.clone()).collect();
        group.bench_function(id, |bench| bench.iter(|| black_box(plan(&scene(&view, &memory), &file))));
    });
}

/// A file with one endpoint that has a new model, on a fleet where all of it is placed.
pub(crate) fn plan_one(criterion: &mut Criterion) {
    let memory = Memory::default();
    sizes(criterion, "plan/one", |group, id, (nodes, endpoints)| {
        let view = crowd(nodes, endpoints, true);
        let mut changed = view.endpoints.values().next().unwrap().endpoint.clone();
        changed.spec.model = "test/another".to_owned();
        let file = [changed];
        group.bench_function(id, |bench| bench.iter(|| black_box(plan(&scene(&view, &memory), &file))));
    });
}

/// Why the replicas of an endpoint are where they are, all of them placed.
pub(crate) fn explain_one(criterion: &mut Criterion) {
    let memory = Memory::default();
    sizes(criterion, "explain/placed", |group, id, (nodes, endpoints)| {
        let view = crowd(nodes, endpoints, true);
        let record = view.endpoints.values().next().unwrap();
        group.bench_function(id, |bench| bench.iter(|| black_box(explained(&scene(&view, &memory), record))));
    });
}

/// Why a replica finds no place on any node, and what would change that.
pub(crate) fn explain_stuck(criterion: &mut Criterion) {
    let memory = Memory::default();
    sizes(criterion, "explain/stuck", |group, id, (nodes, endpoints)| {
        let view = crowd_without_room(nodes, endpoints);
        let record = &view.endpoints[&format!("endpoint-{}", endpoints * 4).parse().unwrap()];
        group.bench_function(id, |bench| bench.iter(|| black_box(explained(&scene(&view, &memory), record))));
    });
}

/// What to rent for the one replica that finds no place.
pub(crate) fn requests(criterion: &mut Criterion) {
    let memory = Memory::default();
    let asked = Asked::default();
    sizes(criterion, "requests/stuck", |group, id, (nodes, endpoints)| {
        let view = crowd_without_room(nodes, endpoints);
        group.bench_function(id, |bench| bench.iter(|| black_box(capacity_requests(&scene(&view, &memory), &asked))));
    });
}
