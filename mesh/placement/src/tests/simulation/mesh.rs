//! Nodes, gossip between them, and what happens when.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use shoal_types::{Claim, ClaimId, Liveness, MeshId, NodeId, ReplicaState, UnixMillis, View};

use super::{random::Random, workload::Workload};
use crate::{
    Elector, Memory, Timing,
    tests::fleet::{at, node_view},
};

const NEVER: UnixMillis = UnixMillis::from_millis(u64::MAX);

/// Something that happens at an instant, to the node of that index.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// Its elector is asked.
    Step { node: usize },
    /// It hears what `from` said then.
    Hear { node: usize, from: usize, version: u64 },
    /// It notices that nothing was heard of `of`, if the silence is still the one of then.
    Suspect { node: usize, of: usize, silence: u64 },
    /// It learns what was applied then.
    Learn { node: usize, applied: usize },
    /// An engine is ready.
    Loaded { claim: ClaimId },
    /// A replica has finished its last request.
    Drained { claim: ClaimId },
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    elector: Elector,
    /// What it knows; of itself, the truth.
    pub(super) view: View,
    pub(super) up: bool,
    step_at: UnixMillis,
    pub(super) counter: u32,
    /// All that it ever said, by version.
    said: Vec<BTreeMap<ClaimId, Claim>>,
    /// The last version that it heard of each other.
    heard: Vec<u64>,
}

/// What it cost.
#[derive(Debug, Default, Clone)]
pub(super) struct Outcome {
    /// Engines that were started.
    pub(super) started: usize,
    /// Engines that were stopped before they served.
    pub(super) abandoned: usize,
}

#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) now: UnixMillis,
    queue: BinaryHeap<Reverse<(UnixMillis, u64, Event)>>,
    queued: u64,
    pub(super) nodes: Vec<Node>,
    /// Nodes below this index hear only each other, and so do the rest.
    pub(super) split: Option<usize>,
    /// What was applied, in order.
    pub(super) applied: Vec<Workload>,
    /// Counts partitions and crashes.
    silence: u64,
    random: Random,
    pub(super) outcome: Outcome,
}

impl Mesh {
    /// `nodes` hosts with eight GPUs each, in three zones and two clusters, that do not know each other yet.
    pub(super) fn start(nodes: usize, random: Random) -> Self {
        let node = |index: usize| {
            let id = NodeId::from_bytes([index as u8 + 1; 16]);
            let mut own = node_view(id, 8);
            own.facts.labels.zone = Some(format!("z{}", index % 3));
            own.facts.labels.cluster = if index.is_multiple_of(2) { "home".to_owned() } else { "burst".to_owned() };
            let view = View {
                me: id,
                mesh: MeshId::from_bytes([0; 16]),
                nodes: [(id, Arc::new(own))].into(),
                endpoints: Workload::new(),
            };
            let elector = Elector::new(id, Timing::default(), Memory::default());
            Node { id, elector, view, up: true, step_at: NEVER, counter: 0, said: Vec::new(), heard: vec![0; nodes] }
        };
        let nodes: Vec<Node> = (0..nodes).map(node).collect();
        let mut mesh = Self {
            now: at(0),
            queue: BinaryHeap::new(),
            queued: 0,
            nodes,
            split: None,
            applied: Vec::new(),
            silence: 0,
            random,
            outcome: Outcome::default(),
        };
        (0..mesh.nodes.len()).for_each(|node| mesh.say(node));
        mesh
    }

    pub(super) fn run_until(&mut self, seconds: u64) {
        while let Some(Reverse((time, _, event))) = self.queue.pop() {
            if time > at(seconds) {
                self.schedule(time, event);
                break;
            }
            self.now = time;
            self.happen(event);
        }
        self.now = at(seconds);
    }

    /// Applies endpoints. Every node learns of them as it learns of anything.
    pub(super) fn apply(&mut self, workload: Workload) {
        self.applied.push(workload);
        for node in 0..self.nodes.len() {
            let delay = self.random.gossip_delay();
            self.schedule(self.now.plus(delay), Event::Learn { node, applied: self.applied.len() - 1 });
        }
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.fall_silent(|_, of| of == node);
    }

    /// Cuts the first `split` nodes off from the rest.
    pub(super) fn partition(&mut self, split: usize) {
        self.split = Some(split);
        self.fall_silent(|node, of| (node < split) != (of < split));
    }

    pub(super) fn heal(&mut self) {
        self.split = None;
        self.silence += 1;
        (0..self.nodes.len()).for_each(|node| self.say(node));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step { node } if self.nodes[node].up && self.nodes[node].step_at == self.now => self.step(node),
            Event::Step { .. } => {}
            Event::Hear { node, from, version } => self.hear(node, from, version),
            Event::Suspect { node, of, silence } if silence == self.silence => {
                let of = self.nodes[of].id;
                if let Some(quiet) = self.nodes[node].view.nodes.get_mut(&of) {
                    Arc::make_mut(quiet).liveness = Liveness::Suspect { since: self.now };
                }
                self.step_soon(node);
            }
            Event::Suspect { .. } => {}
            Event::Learn { node, applied } => {
                self.nodes[node].view.endpoints.extend(self.applied[applied].clone());
                self.step_soon(node);
            }
            Event::Loaded { claim } => self.set_state(claim, ReplicaState::Starting, Some(ReplicaState::Ready)),
            Event::Drained { claim } => self.set_state(claim, ReplicaState::Draining, None),
        }
    }

    fn step(&mut self, node: usize) {
        self.nodes[node].step_at = NEVER;
        let Node { elector, view, .. } = &mut self.nodes[node];
        let decision = elector.step(view, self.now);
        for action in &decision.actions {
            self.act(node, action);
        }
        if !decision.actions.is_empty() {
            self.say(node);
        }
        if let Some(wake) = decision.wake {
            assert!(wake > self.now, "woken at once, again and again");
            self.step_by(node, wake);
        }
    }

    /// Publishes what is true of `node` now.
    pub(super) fn say(&mut self, node: usize) {
        let claims = self.claims(node).clone();
        self.nodes[node].said.push(claims);
        let version = self.nodes[node].said.len() as u64;
        for other in (0..self.nodes.len()).filter(|&other| other != node) {
            let delay = self.random.gossip_delay();
            self.schedule(self.now.plus(delay), Event::Hear { node: other, from: node, version });
        }
        self.step_soon(node);
    }

    fn hear(&mut self, node: usize, from: usize, version: u64) {
        if !self.hears(node, from) || self.nodes[node].heard[from] >= version {
            return;
        }
        self.nodes[node].heard[from] = version;
        let said = self.nodes[from].said[version as usize - 1].clone();
        let from = self.nodes[from].id;
        let index = self.index(from);
        if !self.nodes[node].view.nodes.contains_key(&from) {
            let facts = self.nodes[index].view.nodes[&from].clone();
            self.nodes[node].view.nodes.insert(from, facts);
        }
        let known = Arc::make_mut(self.nodes[node].view.nodes.get_mut(&from).unwrap());
        known.claims = said;
        known.liveness = Liveness::Alive;
        self.step_soon(node);
    }

    fn fall_silent(&mut self, silent: impl Fn(usize, usize) -> bool) {
        self.silence += 1;
        for node in 0..self.nodes.len() {
            for of in (0..self.nodes.len()).filter(|&of| of != node && silent(node, of)) {
                let noticed = self.now.plus(self.random.seconds(7.5, 9.5));
                self.schedule(noticed, Event::Suspect { node, of, silence: self.silence });
            }
        }
    }

    pub(super) fn hears(&self, node: usize, from: usize) -> bool {
        let together = self.split.is_none_or(|split| (node < split) == (from < split));
        together && self.nodes[node].up && self.nodes[from].up
    }

    fn step_soon(&mut self, node: usize) {
        let soon = self.now.plus(self.random.seconds(0.05, 0.25));
        self.step_by(node, soon);
    }

    fn step_by(&mut self, node: usize, time: UnixMillis) {
        if time < self.nodes[node].step_at {
            self.nodes[node].step_at = time;
            self.schedule(time, Event::Step { node });
        }
    }

    pub(super) fn schedule(&mut self, time: UnixMillis, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((time, self.queued, event)));
    }

    pub(super) fn index(&self, id: NodeId) -> usize {
        usize::from(id.as_bytes()[0]) - 1
    }

    pub(super) fn claims(&self, node: usize) -> &BTreeMap<ClaimId, Claim> {
        &self.nodes[node].view.nodes[&self.nodes[node].id].claims
    }

    pub(super) fn claims_mut(&mut self, node: usize) -> &mut BTreeMap<ClaimId, Claim> {
        let id = self.nodes[node].id;
        &mut Arc::make_mut(self.nodes[node].view.nodes.get_mut(&id).unwrap()).claims
    }
}
