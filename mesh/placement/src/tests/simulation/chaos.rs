//! Everything that can happen to a mesh, in a random order that a seed decides.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shoal_types::{
    CapacityType, Demand, Departure, DepartureReason, EndpointName, EndpointRecord, NodeId, NodeView, ReplicaState,
};

use super::{
    mesh::{Event, Mesh},
    random::Random,
    workload::{Workload, revise, undo, varied},
};
use crate::tests::fleet::{at, node_view};

/// How long disturbances go on, at least and at most, in seconds.
const STORY: (usize, usize) = (480, 1_080);
/// Longest time between two of them, in seconds.
const PAUSE: usize = 60;
/// How much of the fleet is wanted at the start; some of it will be gone for some time.
const FILL: f64 = 0.4;
/// Time after the last disturbance in which everything comes to be as it is wanted: the refusals of failed engines, a
/// rollout replica by replica, each with its turns, settle time, load and drain, and what was preempted meanwhile.
const CONVERGED: u64 = 300;
/// Time after that in which nobody does anything.
const STILL: u64 = 30;

/// Something that happens to the mesh from outside.
#[derive(Debug, Clone)]
pub(super) enum Disturbance {
    Crash {
        node: usize,
    },
    Restart {
        node: usize,
    },
    RestartAll,
    Separate {
        islands: Vec<usize>,
    },
    Heal,
    Lose {
        share: f64,
    },
    Reclaim {
        node: usize,
        notice: u64,
    },
    Drain {
        node: usize,
    },
    Stay {
        node: usize,
    },
    Sicken {
        node: usize,
        gpu: usize,
    },
    Cure {
        node: usize,
    },
    Flake {
        node: usize,
        fails: bool,
    },
    Slow {
        node: usize,
        slow: bool,
    },
    CrashEngine,
    Scale,
    Revise,
    Undo,
    Delete,
    Create,
    Ask {
        node: usize,
        inflight: u32,
    },
    /// What moves only to cost less stops to: it would go on beyond any end.
    Rest,
}

/// Something, and what ends it after so many seconds.
pub(super) type Trouble = (Disturbance, Option<(u64, Disturbance)>);

/// A mesh and what will still happen to it, by seconds after the start.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) mesh: Mesh,
    coming: BTreeMap<u64, Vec<Disturbance>>,
    /// What was applied last.
    applied: Workload,
}

impl Story {
    /// A fleet of five to twelve hosts in up to three zones and two clusters, of different capacity types and prices.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = 5 + random.below(8);
        let nodes: Vec<NodeView> = (0..count).map(|index| host(index, &mut random)).collect();
        let applied = varied(count, FILL, &mut random);
        let mut story = Self { mesh: Mesh::of(nodes, random), coming: BTreeMap::new(), applied: applied.clone() };
        story.plan();
        story.mesh.apply(applied);
        story
    }

    /// That of `nodes` to which `applied` is applied, and then `troubles` come, each so many seconds after the one before.
    pub(super) fn of(nodes: Vec<NodeView>, applied: Workload, troubles: Vec<(u64, Trouble)>, random: Random) -> Self {
        let mut story = Self { mesh: Mesh::of(nodes, random), coming: BTreeMap::new(), applied: applied.clone() };
        let end = troubles.iter().map(|(pause, _)| pause).sum();
        let mut second = 0;
        for (pause, trouble) in troubles {
            second += pause;
            story.expect(second, trouble, end);
        }
        story.end(end);
        story.mesh.apply(applied);
        story
    }

    fn plan(&mut self) {
        let random = &mut self.mesh.random;
        let end = (STORY.0 + random.below(STORY.1 - STORY.0)) as u64;
        let mut second = random.below(PAUSE) as u64;
        while second < end {
            let trouble = any(self.mesh.nodes.len(), &mut self.mesh.random);
            self.expect(second, trouble, end);
            second += self.mesh.random.below(PAUSE) as u64;
        }
        self.end(end);
    }

    /// Something will happen at `second`, and is over at `end` at the latest.
    fn expect(&mut self, second: u64, (disturbance, ending): Trouble, end: u64) {
        self.coming.entry(second).or_default().push(disturbance);
        if let Some((after, ending)) = ending {
            self.coming.entry(end.min(second + after)).or_default().push(ending);
        }
    }

    fn end(&mut self, end: u64) {
        let last = self.coming.entry(end).or_default();
        last.extend([Disturbance::Lose { share: 0.0 }, Disturbance::Heal, Disturbance::Rest]);
    }

    /// Lives through it. What is wrong in the end, or was at any moment.
    ///
    /// An endpoint may be short in the end if nobody has room for it, nor could have by what the specs allow: nodes that
    /// never came back took it with them, or the fleet is too broken up. The second value counts those.
    pub(super) fn run(mut self) -> (Vec<String>, usize) {
        while let Some((second, disturbances)) = self.coming.pop_first() {
            self.mesh.run_until(second);
            for disturbance in disturbances {
                self.befall(disturbance);
            }
            let mesh = &mut self.mesh;
            let disturbed = mesh.loss > 0.0 || mesh.islands.iter().any(|&island| island > 0);
            let is_calm = !disturbed && mesh.nodes.iter().all(|node| !node.slow);
            mesh.calm_since = is_calm.then_some(mesh.now);
        }
        let mesh = &mut self.mesh;
        let end = mesh.now.since(at(0)).as_secs();
        mesh.run_until(end + CONVERGED);
        let homeless = mesh.homeless();
        let mut wrong = mesh.unsettled();
        wrong.retain(|text| !homeless.iter().any(|name| text.starts_with(&format!("{name}:"))));
        mesh.run_until(end + CONVERGED + STILL);
        if mesh.acted > at(end + CONVERGED) {
            wrong.push("somebody still acts".to_owned());
        }
        wrong.append(&mut mesh.broken);
        let short = mesh.unsettled().len();
        (wrong, short)
    }

    fn befall(&mut self, disturbance: Disturbance) {
        let mesh = &mut self.mesh;
        mesh.note(0, || format!("-- {disturbance:?}"));
        match disturbance {
            Disturbance::Crash { node } if mesh.nodes.iter().filter(|node| node.up).count() > 1 => mesh.crash(node),
            Disturbance::Crash { .. } => {}
            Disturbance::Restart { node } if !mesh.nodes[node].up => mesh.restart(node),
            Disturbance::Restart { .. } => {}
            Disturbance::RestartAll => {
                (0..mesh.nodes.len()).for_each(|node| mesh.crash(node));
                (0..mesh.nodes.len()).for_each(|node| mesh.restart(node));
            }
            Disturbance::Separate { islands } => mesh.separate(islands),
            Disturbance::Heal => mesh.heal(),
            Disturbance::Lose { share } => mesh.loss = share,
            Disturbance::Reclaim { node, notice } if mesh.nodes[node].up => {
                let deadline = mesh.now.plus(Duration::from_secs(notice));
                let generation = mesh.nodes[node].generation;
                self.depart(node, DepartureReason::Reclaim, Some(notice));
                self.mesh.schedule(deadline, Event::Gone { node, generation });
            }
            Disturbance::Drain { node } if mesh.nodes[node].up => self.depart(node, DepartureReason::Drain, None),
            Disturbance::Reclaim { .. } | Disturbance::Drain { .. } => {}
            Disturbance::Stay { node } => {
                let departure = &mut mesh.nodes[node].truth_mut().departure;
                departure.take_if(|departure| departure.deadline.is_none());
                mesh.say(node);
            }
            Disturbance::Sicken { node, gpu } => {
                mesh.nodes[node].sicken(gpu);
                mesh.say(node);
            }
            Disturbance::Cure { node } => {
                mesh.nodes[node].heal_gpus();
                mesh.say(node);
            }
            Disturbance::Flake { node, fails } => mesh.nodes[node].flaky = fails,
            Disturbance::Slow { node, slow } => mesh.nodes[node].slow = slow,
            Disturbance::CrashEngine => {
                let serving = mesh.claims().filter(|claim| claim.state == ReplicaState::Ready);
                let serving: Vec<_> = serving.map(|claim| claim.id).collect();
                if !serving.is_empty() {
                    let claim = mesh.random.one_of(&serving);
                    mesh.crash_engine(claim);
                }
            }
            Disturbance::Scale => {
                let replicas = 1 + mesh.random.below(3) as u32;
                self.change(|record| {
                    let bounds = &mut record.endpoint.spec.replicas;
                    bounds.min = replicas;
                    bounds.max = bounds.max.map(|_| replicas + 2);
                });
            }
            Disturbance::Revise => self.change(revise),
            Disturbance::Undo => self.change(undo),
            Disturbance::Delete => self.delete(),
            Disturbance::Create => self.create(),
            Disturbance::Ask { node, inflight } => self.ask(node, inflight),
            Disturbance::Rest => {
                for record in self.applied.values_mut() {
                    Arc::make_mut(record).endpoint.spec.placement.rebalance = false;
                }
                self.mesh.apply(self.applied.clone());
            }
        }
    }

    /// The clients of a node ask something of an endpoint from now on.
    fn ask(&mut self, node: usize, inflight: u32) {
        let Some(endpoint) = self.some_endpoint() else { return };
        let demand = Demand {
            endpoint: endpoint.clone(),
            inflight,
            held: 0,
            arrivals: inflight * 6,
            tokens: 0,
            hourly: 64,
            outcomes: Vec::new(),
        };
        self.mesh.nodes[node].truth_mut().demands.insert(endpoint, demand);
        self.mesh.say(node);
    }

    fn depart(&mut self, node: usize, reason: DepartureReason, notice: Option<u64>) {
        let mesh = &mut self.mesh;
        let deadline = notice.map(|notice| mesh.now.plus(Duration::from_secs(notice.saturating_sub(5))));
        mesh.nodes[node].truth_mut().departure = Some(Departure { reason, detail: None, since: mesh.now, deadline });
        mesh.say(node);
    }

    /// Changes one of the endpoints.
    fn change(&mut self, change: impl FnOnce(&mut EndpointRecord)) {
        let Some(name) = self.some_endpoint() else { return };
        let record = self.applied.get_mut(&name).unwrap();
        change(Arc::make_mut(record));
        self.mesh.note(0, || format!("-- {name} is now {} x {}", record.endpoint.spec.replicas.min, record.revision));
        let changed = [(name, Arc::clone(record))].into();
        self.mesh.apply(changed);
    }

    fn delete(&mut self) {
        let Some(name) = self.some_endpoint().filter(|_| self.applied.len() > 1) else { return };
        self.applied.remove(&name);
        self.mesh.delete(name);
    }

    fn create(&mut self) {
        let gpus: u32 =
            self.applied.values().map(|r| r.endpoint.spec.resources.gpus * r.endpoint.spec.replicas.min).sum();
        let capacity = self.mesh.nodes.len() as f64 * 8.0;
        if f64::from(gpus) < capacity * FILL {
            let fill = 8.0 / capacity;
            let created = varied(self.mesh.nodes.len(), fill, &mut self.mesh.random);
            self.applied.extend(created.clone());
            self.mesh.apply(created);
        }
    }

    fn some_endpoint(&mut self) -> Option<EndpointName> {
        let count = self.applied.len();
        (count > 0).then(|| self.applied.keys().nth(self.mesh.random.below(count)).unwrap().clone())
    }
}

fn host(index: usize, random: &mut Random) -> NodeView {
    let mut own = node_view(NodeId::from_bytes([index as u8 + 1; 16]), 8);
    let labels = &mut own.facts.labels;
    labels.zone = (!random.chance(0.1)).then(|| format!("z{}", random.below(3)));
    labels.cluster = random.one_of(&["home", "burst"]).to_owned();
    labels.capacity_type = random.one_of(&[CapacityType::Spot, CapacityType::OnDemand, CapacityType::Reserved]);
    labels.price = random.one_of(&[None, Some(1.5), Some(2.5), Some(4.0)]);
    own
}

/// Anything.
fn any(nodes: usize, random: &mut Random) -> Trouble {
    let node = random.below(nodes);
    let mut within = |low: usize, high: usize| (low + random.below(high - low)) as u64;
    match within(0, 23) {
        0 | 1 => (Disturbance::Crash { node }, Some((within(2, 150), Disturbance::Restart { node }))),
        2 if within(0, 3) == 0 => (Disturbance::RestartAll, None),
        2..=5 => {
            let sides = within(2, 4) as usize;
            let islands = (0..nodes).map(|_| within(0, sides) as usize).collect();
            (Disturbance::Separate { islands }, Some((within(3, 120), Disturbance::Heal)))
        }
        6 => {
            let share = within(5, 50) as f64 / 100.0;
            (Disturbance::Lose { share }, Some((within(10, 60), Disturbance::Lose { share: 0.0 })))
        }
        7 | 8 => {
            let notice = within(10, 120);
            let back = Disturbance::Restart { node };
            (Disturbance::Reclaim { node, notice }, Some((notice + within(5, 120), back)))
        }
        9 => (Disturbance::Drain { node }, Some((within(10, 200), Disturbance::Stay { node }))),
        10 => (
            Disturbance::Sicken { node, gpu: within(0, 8) as usize },
            Some((within(30, 200), Disturbance::Cure { node })),
        ),
        11 => {
            let sound = Disturbance::Flake { node, fails: false };
            (Disturbance::Flake { node, fails: true }, Some((within(20, 120), sound)))
        }
        12 => {
            let swift = Disturbance::Slow { node, slow: false };
            (Disturbance::Slow { node, slow: true }, Some((within(10, 60), swift)))
        }
        13 => (Disturbance::CrashEngine, None),
        14 | 15 => (Disturbance::Scale, None),
        16 => (Disturbance::Revise, None),
        17 => (Disturbance::Undo, None),
        18 => (Disturbance::Delete, None),
        19..=21 => (Disturbance::Ask { node, inflight: within(0, 40) as u32 }, None),
        _ => (Disturbance::Create, None),
    }
}
