//! Several nodes with a steward each, whose connections break and heal.

use std::collections::BTreeMap;

use shoal_types::{HumanDuration, Liveness, Mandate, Replicas, Targets, View};

use super::stage::nothing;
use crate::{
    Memory, Scene, Steward, steward_of,
    tests::fleet::{Fleet, at, id, name},
};

/// How long fewer must be enough, in seconds.
pub(super) const DOWN_DELAY: u64 = 60;

/// Nodes that all know endpoint `a`, which has up to 20 replicas and lowers after [`DOWN_DELAY`].
pub(super) struct Mesh {
    fleet: Fleet,
    members: BTreeMap<u8, Member>,
    inflight: u32,
    pub(super) now: u64,
}

struct Member {
    up: bool,
    /// Nodes of different sides do not hear each other.
    side: u8,
    steward: Steward,
    /// What survives a restart.
    memory: Memory,
    /// What it hears each node say, itself included.
    heard: BTreeMap<u8, Mandate>,
    /// Since when it takes itself for the steward without a break.
    since: Option<u64>,
}

impl Mesh {
    pub(super) fn new(nodes: u8) -> Self {
        let fleet = (1..=nodes).fold(Fleet::new(), |fleet, node| fleet.node(node, 8));
        let fleet = fleet.endpoint("a", 1, 1).spec("a", |spec| {
            spec.replicas = Replicas { min: 1, max: Some(20) };
            spec.scaling.targets =
                Targets { inflight: Some(shoal_types::Decimal::from_whole(10)), ..Targets::default() };
            spec.scaling.up_delay = HumanDuration::from_secs(5);
            spec.scaling.down_delay = HumanDuration::from_secs(DOWN_DELAY);
        });
        let member = |node| (node, Member::new(node, Memory::default()));
        Self { fleet, members: (1..=nodes).map(member).collect(), inflight: 0, now: 0 }
    }

    /// How many requests are in flight, at the ingress of every side.
    pub(super) fn inflight(&mut self, inflight: u32) {
        self.inflight = inflight;
    }

    pub(super) fn kill(&mut self, node: u8) {
        self.member(node).up = false;
    }

    /// Starts `node` again, with what it has on disk.
    pub(super) fn start(&mut self, node: u8) {
        let memory = self.member(node).memory.clone();
        let side = self.member(node).side;
        self.members.insert(node, Member { side, ..Member::new(node, memory) });
    }

    /// Puts `node` on another side.
    pub(super) fn part(&mut self, node: u8, side: u8) {
        self.member(node).side = side;
    }

    pub(super) fn heal(&mut self) {
        self.members.values_mut().for_each(|member| member.side = 0);
    }

    /// Who is the steward of those that are up.
    pub(super) fn steward(&self) -> Option<u8> {
        let node = self.members.iter().find(|(_, member)| member.up)?.0;
        let steward = steward_of(&self.view(*node), &name("a"))?;
        self.members.keys().copied().find(|node| id(*node) == steward)
    }

    /// What counts for `node`.
    pub(super) fn standing(&self, node: u8) -> Option<&Mandate> {
        self.members[&node].memory.mandate(&name("a")).map(|heard| &heard.mandate)
    }

    /// What `node` says.
    pub(super) fn said(&self, node: u8) -> &Mandate {
        &self.members[&node].heard[&node]
    }

    /// The nodes that say something.
    pub(super) fn speakers(&self) -> Vec<u8> {
        let speaks = |(node, member): &(&u8, &Member)| member.up && member.heard.contains_key(*node);
        self.members.iter().filter(speaks).map(|(node, _)| *node).collect()
    }

    /// One second: all take a step, then all hear what all said. Fails if a steward lowers what it had not watched for
    /// the whole delay.
    pub(super) fn tick(&mut self) {
        self.now += 1;
        let up: Vec<u8> = self.members.iter().filter(|(_, member)| member.up).map(|(node, _)| *node).collect();
        let said: BTreeMap<u8, Option<Mandate>> = up.iter().map(|&node| (node, self.step(node))).collect();
        for &hearer in &up {
            for (&speaker, mandate) in &said {
                if !self.reach(hearer, speaker) {
                    continue;
                }
                let heard = &mut self.member(hearer).heard;
                match mandate {
                    Some(mandate) => drop(heard.insert(speaker, mandate.clone())),
                    None => drop(heard.remove(&speaker)),
                }
            }
        }
    }

    pub(super) fn run(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.tick());
    }

    fn step(&mut self, node: u8) -> Option<Mandate> {
        let (view, now) = (self.view(node), self.now);
        let member = self.member(node);
        member.memory.observe(&view, at(now));
        let before = member.memory.mandate(&name("a")).map(|heard| heard.mandate.total());
        let scene = Scene { view: &view, memory: &member.memory, now: at(now) };
        let said = member.steward.step(&scene).mandates.pop();
        let since = *member.since.get_or_insert(now);
        match &said {
            Some(mandate) => {
                let lowers = before.is_some_and(|before| mandate.total() < before);
                assert!(!lowers || now - since >= DOWN_DELAY, "node {node} lowers {before:?} after {} s", now - since);
            }
            None => member.since = None,
        }
        said
    }

    fn view(&self, node: u8) -> View {
        let mut fleet = self.fleet.clone();
        fleet.view.me = id(node);
        for &other in self.members.keys() {
            let reached = self.reach(node, other);
            let view = fleet.node_mut(other);
            if !reached {
                view.liveness = Liveness::Suspect { since: at(0) };
            }
            view.mandates =
                self.members[&node].heard.get(&other).map(|it| (name("a"), it.clone())).into_iter().collect();
        }
        let mut demand = nothing();
        demand.inflight = self.inflight;
        fleet.node_mut(node).demands.insert(name("a"), demand);
        fleet.view
    }

    fn reach(&self, one: u8, other: u8) -> bool {
        self.members[&other].up && self.members[&one].side == self.members[&other].side
    }

    fn member(&mut self, node: u8) -> &mut Member {
        self.members.get_mut(&node).unwrap()
    }
}

impl Member {
    fn new(node: u8, memory: Memory) -> Self {
        Self { up: true, side: 0, steward: Steward::new(id(node)), memory, heard: BTreeMap::new(), since: None }
    }
}
