//! One node of the model: what it knows, what it has on disk, what it says.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use shoal_types::{Liveness, Mandate, NodeView, UnixMillis, View};

use crate::{
    Desired, Memory, Scene, Steward,
    memory::Heard,
    tests::{
        fleet::{id, name},
        model::digest::digest,
    },
};

#[derive(Debug, Clone)]
pub(super) struct Node {
    steward: Steward,
    /// What the steward keeps, hashed.
    keeps: u64,
    /// What outlives the node.
    pub(super) memory: Memory,
    /// What it knows; of itself, the truth.
    pub(super) view: View,
    pub(super) up: bool,
    /// Since when it has spoken as the steward without a break, by its own account.
    pub(super) since: Option<u8>,
}

impl Node {
    pub(super) fn new(view: View) -> Self {
        let steward = Steward::new(view.me);
        Self { keeps: digest(&steward), steward, memory: Memory::default(), view, up: true, since: None }
    }

    /// Starts again: of what it knew, only what is on disk is left, and of the others it has heard nothing.
    pub(super) fn restart(&mut self, remembers: bool) {
        let mut own = (**self.truth()).clone();
        own.mandates.clear();
        self.view.nodes = [(own.id, Arc::new(own))].into();
        self.steward = Steward::new(self.view.me);
        self.keeps = digest(&self.steward);
        if !remembers {
            self.memory = Memory::default();
        }
        (self.up, self.since) = (true, None);
    }

    pub(super) fn truth(&self) -> &Arc<NodeView> {
        &self.view.nodes[&self.view.me]
    }

    pub(super) fn truth_mut(&mut self) -> &mut NodeView {
        Arc::make_mut(self.view.nodes.get_mut(&self.view.me).unwrap())
    }

    /// What it says.
    pub(super) fn said(&self) -> Option<&Mandate> {
        self.truth().mandates.get(&name("a"))
    }

    /// What it remembers.
    pub(super) fn heard(&self) -> Option<&Heard> {
        self.memory.mandate(&name("a"))
    }

    /// How many replicas it takes for wanted.
    pub(super) fn wants(&self, now: UnixMillis) -> u32 {
        let scene = Scene { view: &self.view, memory: &self.memory, now };
        Desired::of(&scene, &self.view.endpoints[&name("a")]).total()
    }

    /// The highest epoch that it knows of.
    pub(super) fn highest_epoch(&self) -> u64 {
        let alive = self.view.nodes.values().filter(|node| node.is_alive());
        let said = alive.filter_map(|node| node.mandates.get(&name("a")));
        said.chain(self.heard().map(|heard| &heard.mandate)).map(|mandate| mandate.epoch).max().unwrap_or(0)
    }

    /// What it must be saying now.
    pub(super) fn step(&mut self, now: UnixMillis) -> Option<Mandate> {
        let scene = Scene { view: &self.view, memory: &self.memory, now };
        let mandate = self.steward.step(&scene).mandates.pop();
        self.keeps = digest(&self.steward);
        mandate
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.keeps, self.up, self.since).hash(state);
        if let Some(Heard { by, mandate }) = self.heard() {
            by.as_bytes()[0].hash(state);
            hash(mandate, state);
        }
        for node in (1..=3).map(id) {
            let Some(node) = self.view.nodes.get(&node) else { continue };
            match node.liveness {
                Liveness::Alive => 0.hash(state),
                Liveness::Suspect { since } => since.hash(state),
                Liveness::Left => 1.hash(state),
            }
            node.mandates.values().for_each(|mandate| hash(mandate, state));
            node.demands.values().for_each(|demand| demand.inflight.hash(state));
            (node.id.as_bytes()[0], node.mandates.len()).hash(state);
        }
    }
}

fn hash(mandate: &Mandate, state: &mut impl Hasher) {
    (mandate.epoch, mandate.total(), mandate.since, &mandate.reason).hash(state);
}
