//! Many nodes in one process: what happens when, in virtual time.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
    time::Duration,
};

use shoal_types::{ClaimId, EndpointName, Hlc, NodeId, NodeView, UnixMillis};

use super::{
    node::{Node, Said, Write},
    random::Random,
    workload::Workload,
};
use crate::tests::fleet::{at, node_view};

/// The shortest nap of a node.
const MOMENT: Duration = Duration::from_millis(50);

/// Something that happens at an instant, to the node of that index.
#[derive(Debug)]
pub(super) enum Event {
    /// Its elector is asked.
    Step { node: usize },
    /// What `from` said reaches it.
    Hear { node: usize, from: usize, said: Arc<Said> },
    /// It asks `from` what is new.
    Catch { node: usize, from: usize },
    /// It notices that nothing was heard of `of`, if the silence is still the one of then.
    Suspect { node: usize, of: usize, silence: u64 },
    /// An engine is ready, or fails to be.
    Loaded { claim: ClaimId },
    /// A crashed engine is started again.
    Again { claim: ClaimId },
    /// Those that are to serve in its place have answered.
    Answered { claim: ClaimId, confirm: Vec<(NodeId, ClaimId)> },
    /// A replica has finished its last request.
    Drained { claim: ClaimId },
    /// A claim that failed is shown no longer.
    Forgotten { claim: ClaimId },
    /// Its host is taken away, if it is still the start of then.
    Gone { node: usize, generation: UnixMillis },
}

/// An event in the queue; of those at the same instant, the one that was queued first comes first.
#[derive(Debug)]
struct Queued {
    time: UnixMillis,
    number: u64,
    event: Event,
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Queued {}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

/// What it cost.
#[derive(Debug, Default, Clone)]
pub(super) struct Outcome {
    /// Engines that were started.
    pub(super) started: usize,
    /// Engines that were stopped before they served.
    pub(super) abandoned: usize,
    /// Replicas that drained.
    pub(super) drained: usize,
}

#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) now: UnixMillis,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    pub(super) nodes: Vec<Node>,
    /// Nodes hear those of their island.
    pub(super) islands: Vec<usize>,
    /// Share of messages that are lost, from 0 to 1.
    pub(super) loss: f64,
    pub(super) random: Random,
    pub(super) outcome: Outcome,
    /// The last action of anybody.
    pub(super) acted: UnixMillis,
    /// Writes so far.
    pub(super) writes: u32,
    /// Rules that were broken.
    pub(super) broken: Vec<String>,
    /// Since when nothing disturbs the mesh; `None` while something does.
    pub(super) calm_since: Option<UnixMillis>,
    pub(super) is_telling: bool,
    /// Whether each decision is compared with one that looks at everything.
    pub(super) is_compared: bool,
    /// Whether every other node ranks candidates in another way.
    pub(super) is_mixed: bool,
}

impl Mesh {
    /// `nodes` hosts with eight GPUs each, in three zones and two clusters, that do not know each other yet.
    pub(super) fn start(nodes: usize, random: Random) -> Self {
        let node = |index: usize| {
            let mut own = node_view(NodeId::from_bytes([index as u8 + 1; 16]), 8);
            own.facts.labels.zone = Some(format!("z{}", index % 3));
            own.facts.labels.cluster = if index.is_multiple_of(2) { "home".to_owned() } else { "burst".to_owned() };
            own
        };
        Self::of((0..nodes).map(node).collect(), random)
    }

    /// Nodes that do not know each other yet; the first has an id of ones, the second of twos, and so on.
    pub(super) fn of(nodes: Vec<NodeView>, random: Random) -> Self {
        let count = nodes.len();
        let mut mesh = Self {
            now: at(0),
            queue: BinaryHeap::new(),
            queued: 0,
            nodes: nodes.into_iter().map(|own| Node::new(own, count)).collect(),
            islands: vec![0; count],
            loss: 0.0,
            random,
            outcome: Outcome::default(),
            acted: at(0),
            writes: 0,
            broken: Vec::new(),
            calm_since: Some(at(0)),
            is_telling: false,
            is_compared: false,
            is_mixed: false,
        };
        (0..count).for_each(|node| mesh.say(node));
        mesh
    }

    pub(super) fn run_until(&mut self, seconds: u64) {
        while let Some(Reverse(next)) = self.queue.pop() {
            if next.time > at(seconds) {
                self.queue.push(Reverse(next));
                break;
            }
            self.now = next.time;
            self.happen(next.event);
        }
        self.now = at(seconds);
    }

    /// Applies endpoints at a node that is there. The others learn of them as they learn of anything.
    pub(super) fn apply(&mut self, workload: Workload) {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].up).collect();
        let node = up[self.random.below(up.len())];
        let writes = workload.into_iter().map(|(name, mut record)| {
            self.writes += 1;
            let version = Hlc { time: self.now, counter: self.writes, node: self.nodes[node].id };
            Arc::make_mut(&mut record).version = version;
            (name, Write { version, record: Some(record) })
        });
        let store = Arc::new(writes.collect());
        self.nodes[node].merge(&store);
        self.say(node);
    }

    pub(super) fn delete(&mut self, name: EndpointName) {
        let node = self.nodes.iter().position(|node| node.up).unwrap();
        self.writes += 1;
        let version = Hlc { time: self.now, counter: self.writes, node: self.nodes[node].id };
        self.nodes[node].merge(&Arc::new([(name, Write { version, record: None })].into()));
        self.say(node);
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.rearrange(|mesh| mesh.nodes[node].up = false);
    }

    /// Starts a node that is down.
    pub(super) fn restart(&mut self, node: usize) {
        let now = self.now;
        self.rearrange(|mesh| mesh.nodes[node].restart(now));
        self.say(node);
    }

    /// Cuts the first `split` nodes off from the rest.
    pub(super) fn partition(&mut self, split: usize) {
        self.separate((0..self.nodes.len()).map(|node| usize::from(node >= split)).collect());
    }

    pub(super) fn separate(&mut self, islands: Vec<usize>) {
        self.rearrange(|mesh| mesh.islands = islands);
    }

    pub(super) fn heal(&mut self) {
        self.separate(vec![0; self.nodes.len()]);
        (0..self.nodes.len()).filter(|&node| self.nodes[node].up).collect::<Vec<_>>().into_iter().for_each(|node| {
            self.say(node);
        });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step { node } if self.nodes[node].up && self.nodes[node].step_at == Some(self.now) => {
                self.step(node);
            }
            Event::Step { .. } => {}
            Event::Hear { node, from, said } => self.hear(node, from, &said),
            Event::Catch { node, from } => self.catch_up(node, from),
            Event::Suspect { node, of, silence } if silence == self.nodes[node].silence[of] => self.suspect(node, of),
            Event::Suspect { .. } => {}
            Event::Loaded { claim } => self.loaded(claim),
            Event::Again { claim } => self.start_again(claim),
            Event::Answered { claim, confirm } => self.answered(claim, &confirm),
            Event::Drained { claim } => self.drained(claim),
            Event::Forgotten { claim } => self.forget(claim),
            Event::Gone { node, generation } => self.take_away(node, generation),
        }
    }

    fn step(&mut self, node: usize) {
        self.nodes[node].step_at = None;
        let as_seen = self.is_mixed.then(|| self.seen_otherwise(node)).flatten();
        let Node { elector, view, .. } = &mut self.nodes[node];
        let view = as_seen.as_ref().unwrap_or(view);
        let afresh = self.is_compared.then(|| elector.step_afresh(view, self.now));
        let decision = elector.step(view, self.now);
        if let Some(afresh) = afresh {
            assert_eq!(decision, afresh, "what is known from before misleads");
        }
        let before = Arc::clone(self.nodes[node].truth());
        self.move_away(node, &decision.actions);
        for action in &decision.actions {
            self.note_action(node, action);
            self.act(node, action);
        }
        let speaks = self.nodes[node].speak(self.now);
        if *self.nodes[node].truth() != before {
            self.acted = self.now;
            self.note_mandates(node, &before);
            self.say(node);
        }
        if let Some(wake) = decision.wake {
            assert!(wake > self.now, "woken at once, again and again");
            self.step_by(node, wake);
        }
        if let Some(wake) = speaks {
            self.step_by(node, wake.max(self.now.plus(MOMENT)));
        }
    }

    pub(super) fn step_soon(&mut self, node: usize) {
        let latest = if self.nodes[node].slow { 4.0 } else { 0.25 };
        let soon = self.now.plus(self.random.seconds(0.05, latest));
        self.step_by(node, soon);
    }

    fn step_by(&mut self, node: usize, time: UnixMillis) {
        if self.nodes[node].step_at.is_none_or(|planned| time < planned) {
            self.nodes[node].step_at = Some(time);
            self.schedule(time, Event::Step { node });
        }
    }

    pub(super) fn schedule(&mut self, time: UnixMillis, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse(Queued { time, number: self.queued, event }));
    }

    pub(super) fn index(&self, id: NodeId) -> usize {
        usize::from(id.as_bytes()[0]) - 1
    }
}
