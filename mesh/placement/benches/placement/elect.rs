//! What one node claims, starts, drains and moves.

use std::{cell::Cell, hint::black_box};

use criterion::{BatchSize, Criterion};
use shoal_placement::{Elector, Memory, Timing};
use shoal_types::View;

use crate::{
    fleet::{at, crowd, crowd_without_room, touch},
    sizes,
};

/// An elector that has listened to a fleet without endpoints, and may claim.
fn listened(view: &View) -> Elector {
    let mut elector = Elector::new(view.me, Timing::default(), Memory::default());
    let empty = View { endpoints: Default::default(), ..view.clone() };
    elector.step(&empty, at(0));
    elector.step(&empty, at(4));
    elector
}

/// The first decision of a node that has just heard of all endpoints, with nothing placed yet.
pub(crate) fn everything(criterion: &mut Criterion) {
    sizes(criterion, "elect/everything", |group, id, (nodes, endpoints)| {
        let view = crowd(nodes, endpoints, false);
        let elector = listened(&view);
        group.bench_with_input(id, &view, |bench, view| {
            bench.iter_batched(
                || elector.clone(),
                |mut elector| black_box(elector.step(view, at(5))),
                BatchSize::LargeInput,
            );
        });
    });
}

/// The first decision with everything placed, as after a restart of one daemon.
pub(crate) fn first(criterion: &mut Criterion) {
    sizes(criterion, "elect/first", |group, id, (nodes, endpoints)| {
        let view = crowd(nodes, endpoints, true);
        group.bench_with_input(id, &view, |bench, view| {
            bench.iter_batched(
                || Elector::new(view.me, Timing::default(), Memory::default()),
                |mut elector| black_box(elector.step(view, at(5))),
                BatchSize::LargeInput,
            );
        });
    });
}

/// The next one, when one claim of one node has changed.
pub(crate) fn step(criterion: &mut Criterion) {
    changing(criterion, "elect/step", |nodes, endpoints| crowd(nodes, endpoints, true));
}

/// The same while a replica is missing that nobody has room for.
pub(crate) fn pending(criterion: &mut Criterion) {
    changing(criterion, "elect/pending", crowd_without_room);
}

/// Steps over views of which each differs from the one before in one claim.
fn changing(criterion: &mut Criterion, name: &str, crowd: impl Fn(usize, usize) -> View) {
    sizes(criterion, name, |group, id, (nodes, endpoints)| {
        let mut view = crowd(nodes, endpoints);
        let mut elector = listened(&view);
        let second = Cell::new(5);
        elector.step(&view, at(second.get()));
        group.bench_function(id, |bench| {
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
    });
}
