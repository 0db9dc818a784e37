//! Three nodes, the news between them, and what may happen to them in the next tick.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use shoal_types::{EndpointRecord, MeshId, NodeView, ReplicaState, View};
use stateright::{Model, Property};

use super::{bounds::Bounds, node::Node, properties};
use crate::{
    Elector, Memory,
    tests::fleet::{id, node_view, record},
};

pub(super) const NODES: usize = 3;

/// Everything at the end of a tick. Two are equal if their digests are: an elector compares in no other way.
#[allow(clippy::derived_hash_with_manual_eq)] // equal digests are what equality is here
#[derive(Debug, Clone, Hash)]
pub(super) struct State {
    pub(super) tick: u8,
    pub(super) nodes: Vec<Node>,
    /// `news[from][to]`: for how many ticks `to` has not heard the latest of `from`; `None` if it has.
    pub(super) news: [[Option<u8>; NODES]; NODES],
    /// For how many ticks the one has heard nothing of the other; up to when that is noticed.
    pub(super) silence: [[u8; NODES]; NODES],
    /// When each node learns of the endpoint.
    pub(super) learns: [u8; NODES],
    pub(super) cut: Cut,
    pub(super) crashed: Option<usize>,
    /// When the last disturbance was.
    pub(super) disturbed: u8,
    /// What has happened on the way here that matters.
    pub(super) seen: Seen,
}

/// Whether a node is cut off from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cut {
    NotYet,
    Off { node: usize, since: u8, until: u8 },
    Healed,
}

/// What has happened; a state cannot tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    /// An engine was started before its claim had settled.
    pub(super) hasty: bool,
    /// A node claimed without a free GPU.
    pub(super) overbooked: bool,
    /// A replica drained although fewer than wanted served beside it.
    pub(super) uncovered: bool,
    /// A side had replicas that served, and lost the last one other than by a crash.
    pub(super) deserted: bool,
    /// A claim was withdrawn as surplus.
    pub(super) withdrawn: bool,
    /// A replica drained.
    pub(super) drained: bool,
    /// A replica that asked heard no.
    pub(super) refused: bool,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let digest = |state: &Self| {
            let mut hasher = DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        digest(self) == digest(other)
    }
}

impl State {
    pub(super) fn hears(&self, to: usize, from: usize) -> bool {
        let apart = matches!(self.cut, Cut::Off { node, .. } if (node == to) != (node == from));
        self.nodes[to].up && self.nodes[from].up && !apart
    }

    /// The nodes that are there.
    pub(super) fn up(&self) -> Vec<usize> {
        (0..NODES).filter(|&node| self.nodes[node].up).collect()
    }

    /// Replicas that have a process, on nodes that are there.
    pub(super) fn engines(&self) -> usize {
        self.nodes.iter().map(Node::engines).sum()
    }

    /// Whether a node on the side of `of` serves.
    pub(super) fn is_served(&self, of: usize) -> bool {
        (0..NODES).any(|node| (node == of || self.hears(of, node)) && self.nodes[node].serving().next().is_some())
    }

    /// Whether everything is as it is wanted, and nothing else is there.
    pub(super) fn is_settled(&self, desired: usize) -> bool {
        let claims = || self.nodes.iter().filter(|node| node.up).flat_map(Node::claims);
        claims().count() == desired && claims().all(|claim| claim.state == ReplicaState::Ready)
    }
}

/// What is left to chance in one tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chance {
    /// Who hears from whom what is not overdue yet: `(from, to)`.
    pub(super) heard: Vec<(usize, usize)>,
    /// Nodes whose engines serve as early as they can.
    pub(super) quick: u8,
    pub(super) disturbance: Option<Disturbance>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbance {
    Crash { node: usize },
    Cut { node: usize, length: u8 },
}

#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) bounds: Bounds,
    pub(super) record: Arc<EndpointRecord>,
}

impl Protocol {
    pub(super) fn new(bounds: Bounds) -> Self {
        let mut record = record("a", 1, bounds.desired);
        record.endpoint.spec.placement.replace_after =
            shoal_types::HumanDuration::from_secs(bounds.replace_after.into());
        Self { bounds, record: Arc::new(record) }
    }

    /// Who knows whom, and nobody the endpoint.
    fn start(&self, learns: [u8; NODES]) -> State {
        let ids = || (1..=NODES as u8).map(id);
        let views: BTreeMap<_, Arc<NodeView>> =
            ids().map(|id| (id, Arc::new(node_view(id, self.bounds.gpus)))).collect();
        let node = |me| {
            let mesh = MeshId::from_bytes([0; 16]);
            let view = View { me, mesh, nodes: views.clone(), endpoints: BTreeMap::new() };
            Node::new(me, Elector::new(me, self.bounds.timing(), Memory::default()), view)
        };
        State {
            tick: 0,
            nodes: ids().map(node).collect(),
            news: Default::default(),
            silence: Default::default(),
            learns,
            cut: Cut::NotYet,
            crashed: None,
            disturbed: 0,
            seen: Seen::default(),
        }
    }

    /// What can disturb the tick after `state`.
    fn disturbances(&self, state: &State) -> Vec<Option<Disturbance>> {
        let next = state.tick + 1;
        let mut all = vec![None];
        if state.crashed.is_none() && self.bounds.crashes.contains(&next) {
            all.extend((0..NODES).map(|node| Some(Disturbance::Crash { node })));
        }
        if state.cut == Cut::NotYet && self.bounds.cuts.contains(&next) {
            let cut = |node| self.bounds.lengths.iter().map(move |&length| Some(Disturbance::Cut { node, length }));
            all.extend((0..NODES).flat_map(cut));
        }
        all
    }

    /// Whether nothing more can happen that was not there before.
    pub(super) fn is_over(&self, state: &State) -> bool {
        let last = self.bounds.cuts.iter().chain(self.bounds.crashes).max().copied().unwrap_or(0);
        let quiet = !matches!(state.cut, Cut::Off { .. }) && (state.tick >= last || self.is_undisturbed(state));
        quiet && state.tick >= state.disturbed.max(2) + self.bounds.calm
    }

    /// Whether no disturbance can come any more.
    fn is_undisturbed(&self, state: &State) -> bool {
        let cuts = state.cut == Cut::Healed || self.bounds.cuts.iter().all(|&at| at <= state.tick);
        let crashes = state.crashed.is_some() || self.bounds.crashes.iter().all(|&at| at <= state.tick);
        cuts && crashes
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Chance;

    fn init_states(&self) -> Vec<State> {
        // An elector claims nothing in its first settle time, which begins at the first tick.
        let first = self.bounds.settle + 1;
        let learns = |late: u8| std::array::from_fn(|node| first + (late >> node & 1));
        (0..1 << NODES).map(|late| self.start(learns(late))).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Chance>) {
        if self.is_over(state) {
            return;
        }
        let free: Vec<(usize, usize)> = self.may_hear(state);
        let loading: Vec<usize> = (0..NODES).filter(|&node| self.may_load(state, node)).collect();
        for disturbance in self.disturbances(state) {
            for heard in subsets(&free) {
                for quick in subsets(&loading) {
                    let quick = quick.iter().fold(0, |all, node| all | 1 << node);
                    actions.push(Chance { heard: heard.clone(), quick, disturbance });
                }
            }
        }
    }

    fn next_state(&self, state: &State, chance: Chance) -> Option<State> {
        Some(self.tick(state.clone(), &chance))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// All choices of some of `all`.
pub(super) fn subsets<T: Copy>(all: &[T]) -> impl Iterator<Item = Vec<T>> {
    (0..1_u32 << all.len())
        .map(|chosen| (0..all.len()).filter(|index| chosen >> index & 1 == 1).map(|index| all[index]).collect())
}
