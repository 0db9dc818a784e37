//! What must hold, by the names of the rules; and what must happen somewhere, or nothing was proved.

use stateright::Property;

use super::mesh::{Cut, NODES, Protocol, State};

pub(super) const NO_ENGINE_TOO_MANY: &str = "rule 3: undisturbed, no engine is started beyond what is wanted";
pub(super) const DRAINS_COVERED: &str = "rule 4: a replica drains only if as many as are wanted serve beside it";

type Condition = fn(&Protocol, &State) -> bool;

fn always(name: &'static str, condition: Condition) -> Property<Protocol> {
    Property::always(name, condition)
}

fn sometimes(name: &'static str, condition: Condition) -> Property<Protocol> {
    Property::sometimes(name, condition)
}

pub(super) fn all() -> Vec<Property<Protocol>> {
    vec![
        always("rule 3: a GPU never has two engines", |model, state| {
            !state.seen.overbooked && state.nodes.iter().all(|node| node.claims().count() <= model.bounds.gpus)
        }),
        always("rule 3: an engine starts only when its claim has settled", |_, state| !state.seen.hasty),
        always(NO_ENGINE_TOO_MANY, |model, state| {
            state.disturbed > 0 || state.engines() <= model.bounds.desired as usize
        }),
        always(DRAINS_COVERED, |_, state| !state.seen.uncovered),
        always("rule 4: what is served goes on being served", |_, state| !state.seen.deserted),
        always("rule 6: each side of a partition serves", each_side_serves),
        always("rules 3, 4 and 6: in the end there is exactly what is wanted", |model, state| {
            !model.is_over(state) || state.is_settled(model.bounds.desired as usize)
        }),
        sometimes("a claim is withdrawn because another is before it", |_, state| state.seen.withdrawn),
        sometimes("both sides of a partition top up", |model, state| state.engines() > model.bounds.desired as usize),
        sometimes("surplus drains", |_, state| state.seen.drained),
        sometimes("a replica that asks hears no", |_, state| state.seen.refused),
        sometimes("a crash meets a partition", |_, state| {
            state.crashed.is_some() && matches!(state.cut, Cut::Off { .. })
        }),
    ]
}

/// Within the time that a replacement takes, if that time was not disturbed.
fn each_side_serves(model: &Protocol, state: &State) -> bool {
    let Cut::Off { since, .. } = state.cut else { return true };
    let crashed = state.crashed.is_some() && state.disturbed > since;
    let since = if crashed { state.disturbed } else { since };
    let due = state.tick >= since + model.bounds.replaced();
    !due || (0..NODES).all(|node| !state.nodes[node].up || state.is_served(node))
}
