//! What must hold, by the name of the rule; and what must happen somewhere, or nothing was proved.

use stateright::Property;

use super::{
    bounds::time,
    mesh::{NODES, PER_REPLICA, Parliament, State},
};

pub(super) const NEVER_SHRINKS: &str = "rule 5: a restart of everything shrinks nothing";
pub(super) const IN_THE_END: &str = "rule 5: in the end the steward alone speaks, and all go by its word";

type Condition = fn(&Parliament, &State) -> bool;

fn always(name: &'static str, condition: Condition) -> Property<Parliament> {
    Property::always(name, condition)
}

fn sometimes(name: &'static str, condition: Condition) -> Property<Parliament> {
    Property::sometimes(name, condition)
}

pub(super) fn all() -> Vec<Property<Parliament>> {
    vec![
        always("rule 5: the word that a node goes by never falls to a lower one", |_, state| !state.seen.forgot),
        always("rule 5: a new word has the epoch after the highest that was heard", |_, state| !state.seen.skipped),
        always("rule 5: a new steward lowers nothing before it has watched the whole delay", |_, state| {
            !state.seen.hasty
        }),
        always("rule 5: counts stay within the bounds of the spec", |_, state| {
            let bounded = |&node: &usize| (1..=3).contains(&state.nodes[node].wants(time(state.tick)));
            !state.seen.unbounded && state.up().iter().all(bounded)
        }),
        always("rule 5: after a heal the larger counts of both halves stand", larger_counts_stand),
        always(NEVER_SHRINKS, shrinks_nothing),
        always(IN_THE_END, |model, state| !model.is_over(state) || is_agreed(state)),
        sometimes("a steward raises", |_, state| state.seen.raised),
        sometimes("a steward lowers", |_, state| state.seen.lowered),
        sometimes("both halves of a partition have a steward", |_, state| state.seen.divided),
        sometimes("a steward is reminded", |_, state| state.seen.reminded),
        sometimes("halves differ", |model, state| {
            let wants = |node: usize| state.nodes[node].wants(time(state.tick));
            state.halves.is_some_and(|(wanted, at)| {
                at == state.tick && state.seen.divided && (0..NODES).any(|node| wants(node) < wanted)
            }) && !model.is_over(state)
        }),
    ]
}

/// Once all have heard what both halves said, and what the steward made of it; until it could have lowered that.
fn larger_counts_stand(model: &Parliament, state: &State) -> bool {
    let Some((wanted, healed)) = state.halves else { return true };
    let heard = healed + 2 * model.bounds.slowest + 1;
    let due = state.seen.divided
        && state.disturbed == healed
        && (heard..healed + model.bounds.down_delay).contains(&state.tick);
    !due || state.up().iter().all(|&node| state.nodes[node].wants(time(state.tick)) >= wanted)
}

/// Until a steward that has started then can have watched the whole delay.
fn shrinks_nothing(model: &Parliament, state: &State) -> bool {
    let Some((wanted, at)) = state.restarted else { return true };
    let due = state.tick < at + model.bounds.down_delay;
    !due || (0..NODES).all(|node| state.nodes[node].wants(time(state.tick)) >= wanted[node])
}

/// All go by one word, which is that of the steward and what the requests need, and nobody else says anything.
fn is_agreed(state: &State) -> bool {
    let Some(steward) = state.rightful() else { return false };
    let needed = state.inflight().div_ceil(PER_REPLICA).clamp(1, 3);
    let said = state.nodes[steward].said();
    said.is_some_and(|said| said.total() == needed)
        && state.up().into_iter().all(|node| {
            let node_said = state.nodes[node].said();
            let heard = state.nodes[node].heard().map(|heard| &heard.mandate);
            heard == said && (node == steward || node_said.is_none())
        })
}
