//! How many replicas there should be, said by a node that is the steward of some endpoint.

use std::{cell::Cell, hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion};
use shoal_placement::{Memory, Scene, Steward, steward_of};
use shoal_types::{Liveness, View};

use crate::{
    fleet::{at, crowd, touch},
    sizes,
};

/// A fleet with everything placed, as the steward of its first endpoint sees it.
fn seen_by_a_steward(nodes: usize, endpoints: usize) -> View {
    let mut view = crowd(nodes, endpoints, true);
    let first = view.endpoints.keys().next().unwrap();
    view.me = steward_of(&view, first).unwrap();
    view
}

/// The first word of a node that has just started.
pub(crate) fn first(criterion: &mut Criterion) {
    let memory = Memory::default();
    sizes(criterion, "steward/first", |group, id, (nodes, endpoints)| {
        let view = seen_by_a_steward(nodes, endpoints);
        let scene = Scene { view: &view, memory: &memory, now: at(5) };
        group.bench_function(id, |bench| {
            bench.iter_batched(
                || Steward::new(view.me),
                |mut steward| (black_box(steward.step(&scene)), steward),
                BatchSize::LargeInput,
            );
        });
    });
}

/// The next one, when one claim of one node has changed.
pub(crate) fn step(criterion: &mut Criterion) {
    changing(criterion, "steward/step", touch);
}

/// The next one, when a node is gone, or there again.
pub(crate) fn churn(criterion: &mut Criterion) {
    changing(criterion, "steward/churn", |view, second| {
        let node = *view.nodes.keys().nth(second as usize / 2 * 7 % view.nodes.len()).unwrap();
        if node != view.me {
            let node = Arc::make_mut(view.nodes.get_mut(&node).unwrap());
            let is_gone = second % 2 == 0;
            node.liveness = if is_gone { Liveness::Suspect { since: at(second) } } else { Liveness::Alive };
        }
    });
}

fn changing(criterion: &mut Criterion, name: &str, change: impl Fn(&mut View, u64)) {
    let memory = Memory::default();
    sizes(criterion, name, |group, id, (nodes, endpoints)| {
        let mut view = seen_by_a_steward(nodes, endpoints);
        let mut steward = Steward::new(view.me);
        let second = Cell::new(5);
        steward.step(&Scene { view: &view, memory: &memory, now: at(second.get()) });
        group.bench_function(id, |bench| {
            bench.iter_batched(
                || {
                    second.set(second.get() + 1);
                    change(&mut view, second.get());
                    view.clone()
                },
                |view| {
                    let word = steward.step(&Scene { view: &view, memory: &memory, now: at(second.get()) });
                    (view, word)
                },
                BatchSize::PerIteration,
            );
        });
    });
}
