//! Three nodes, the news between them, and what may happen to them in the next tick.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    sync::Arc,
};

use shoal_types::{Decimal, HumanDuration, Liveness, Replicas, Targets};
use stateright::{Model, Property};

use super::{
    bounds::{AGREED, Bounds, ticks},
    node::Node,
    properties,
};
use crate::{
    steward_of,
    tests::{
        fleet::{Fleet, id, name},
        model::mesh::subsets,
    },
};

pub(super) const NODES: usize = 3;
/// Requests that one replica is for.
pub(super) const PER_REPLICA: u32 = 10;
/// Requests in flight at first, and when they have risen: more than all replicas are for.
const INFLIGHT: u32 = 2 * PER_REPLICA;
const RISEN: u32 = 9 * PER_REPLICA;

/// Everything at the end of a tick. Two are equal if their digests are.
#[allow(clippy::derived_hash_with_manual_eq)] // equal digests are what equality is here
#[derive(Debug, Clone, Hash)]
pub(super) struct State {
    pub(super) tick: u8,
    pub(super) nodes: Vec<Node>,
    /// `news[from][to]`: for how many ticks `to` has not heard the latest of `from`; `None` if it has.
    pub(super) news: [[Option<u8>; NODES]; NODES],
    /// For how many ticks the one has heard nothing of the other; up to when that is noticed.
    pub(super) silence: [[u8; NODES]; NODES],
    pub(super) cut: Cut,
    pub(super) crash: Crash,
    pub(super) turned: bool,
    /// When the last disturbance was.
    pub(super) disturbed: u8,
    /// What the halves of a partition wanted when it healed, and when that was.
    pub(super) halves: Option<(u32, u8)>,
    /// What each node wanted when all started again, and when that was.
    pub(super) restarted: Option<([u32; NODES], u8)>,
    pub(super) seen: Seen,
}

/// Whether a node is cut off from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cut {
    NotYet,
    Off { node: usize, until: u8 },
    Healed,
}

/// Whether nodes crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Crash {
    NotYet,
    /// It is away, and comes back then if at all.
    Down {
        node: usize,
        back: Option<u8>,
    },
    Over,
}

/// What has happened; a state cannot tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    /// A node went by a lower epoch than before.
    pub(super) forgot: bool,
    /// A steward lowered what it had not watched for the whole delay.
    pub(super) hasty: bool,
    /// A new word had not the epoch after the highest that its speaker knew.
    pub(super) skipped: bool,
    /// A word was out of the spec's bounds.
    pub(super) unbounded: bool,
    /// A steward lowered.
    pub(super) lowered: bool,
    /// A steward raised.
    pub(super) raised: bool,
    /// Two spoke, in two halves.
    pub(super) divided: bool,
    /// A node repeated what the steward said before it was away.
    pub(super) reminded: bool,
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

    pub(super) fn up(&self) -> Vec<usize> {
        (0..NODES).filter(|&node| self.nodes[node].up).collect()
    }

    /// The steward, by one who sees who is there.
    pub(super) fn rightful(&self) -> Option<usize> {
        let mut view = self.nodes[0].view.clone();
        view.nodes = self.up().iter().map(|&node| (id(node as u8 + 1), Arc::clone(self.nodes[node].truth()))).collect();
        let steward = steward_of(&view, &name("a"))?;
        (0..NODES).find(|&node| self.nodes[node].view.me == steward)
    }

    /// Requests in flight at all nodes that are there.
    pub(super) fn inflight(&self) -> u32 {
        let demands = self.up().into_iter().flat_map(|node| self.nodes[node].truth().demands.values());
        demands.map(|demand| demand.inflight).sum()
    }
}

/// What is left to chance in one tick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chance {
    /// Who hears from whom what is not overdue yet: `(from, to)`.
    pub(super) heard: Vec<(usize, usize)>,
    pub(super) disturbance: Option<Disturbance>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// So many requests are in flight from now on.
    Turn {
        inflight: u32,
    },
    Cut {
        node: usize,
        length: u8,
    },
    Crash {
        node: usize,
        back: Option<u8>,
    },
    RestartAll,
}

#[derive(Debug)]
pub(super) struct Parliament {
    pub(super) bounds: Bounds,
}

impl Parliament {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds }
    }

    /// All know each other and the endpoint, and agree.
    fn start(&self) -> State {
        let fleet = (1..=NODES as u8).fold(Fleet::new(), |fleet, node| fleet.node(node, 8));
        let mut fleet = fleet.endpoint("a", 1, 1).spec("a", |spec| {
            spec.replicas = Replicas { min: 1, max: Some(3) };
            spec.scaling.targets = Targets { inflight: Some(Decimal::from_whole(PER_REPLICA)), ..Targets::default() };
            spec.scaling.up_delay = HumanDuration(ticks(self.bounds.up_delay));
            spec.scaling.down_delay = HumanDuration(ticks(self.bounds.down_delay));
        });
        let steward = steward_of(&fleet.view, &name("a")).unwrap();
        let ingress = (1..).find(|&node| id(node) != steward).unwrap();
        fleet.node_mut(ingress).demands.insert(name("a"), demand(INFLIGHT));
        let node = |node: usize| {
            let mut view = fleet.view.clone();
            view.me = id(node as u8 + 1);
            Node::new(view)
        };
        let mut state = State {
            tick: 0,
            nodes: (0..NODES).map(node).collect(),
            news: Default::default(),
            silence: Default::default(),
            cut: Cut::NotYet,
            crash: Crash::NotYet,
            turned: false,
            disturbed: 0,
            halves: None,
            restarted: None,
            seen: Seen::default(),
        };
        while state.tick < AGREED {
            state = self.tick(state, &Chance::default());
        }
        state.seen = Seen::default();
        state
    }

    /// What can disturb the tick after `state`.
    fn disturbances(&self, state: &State) -> Vec<Option<Disturbance>> {
        let next = state.tick + 1;
        let mut all = vec![None];
        if !state.turned && self.bounds.turns.contains(&next) {
            all.extend([0, RISEN].map(|inflight| Some(Disturbance::Turn { inflight })));
        }
        if state.cut == Cut::NotYet && self.bounds.cuts.contains(&next) {
            let cut = |node| self.bounds.lengths.iter().map(move |&length| Some(Disturbance::Cut { node, length }));
            all.extend((0..NODES).flat_map(cut));
        }
        if state.crash == Crash::NotYet && self.bounds.crashes.contains(&next) {
            let backs = || self.bounds.absences.iter().map(|absence| Some(next + absence)).chain([None]);
            let crash = |node| backs().map(move |back| Some(Disturbance::Crash { node, back }));
            all.extend((0..NODES).flat_map(crash));
            all.push(Some(Disturbance::RestartAll));
        }
        all
    }

    /// Whether nothing more can happen that was not there before.
    pub(super) fn is_over(&self, state: &State) -> bool {
        let Bounds { turns, cuts, crashes, .. } = self.bounds;
        let last = turns.iter().chain(cuts).chain(crashes).max().copied().unwrap_or(0);
        let quiet = !matches!(state.cut, Cut::Off { .. }) && !matches!(state.crash, Crash::Down { back: Some(_), .. });
        quiet && state.tick >= last.max(state.disturbed + self.bounds.calm)
    }
}

impl Model for Parliament {
    type State = State;
    type Action = Chance;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Chance>) {
        if self.is_over(state) {
            return;
        }
        let free: Vec<(usize, usize)> = self.may_hear(state);
        for disturbance in self.disturbances(state) {
            actions.extend(subsets(&free).map(|heard| Chance { heard, disturbance }));
        }
    }

    fn next_state(&self, state: &State, chance: Chance) -> Option<State> {
        Some(self.tick(state.clone(), &chance))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

pub(super) fn demand(inflight: u32) -> shoal_types::Demand {
    let outcomes = Vec::new();
    shoal_types::Demand { endpoint: name("a"), inflight, held: 0, arrivals: 0, tokens: 0, hourly: 0, outcomes }
}

/// What a node makes of one that is silent.
pub(super) fn suspected(since: shoal_types::UnixMillis) -> Liveness {
    Liveness::Suspect { since }
}
