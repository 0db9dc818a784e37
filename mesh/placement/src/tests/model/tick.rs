//! What happens in one tick: the disturbance, then what is heard, then what is answered, then what is decided.

use std::sync::Arc;

use shoal_types::{Claim, ClaimId, Liveness, ReplicaState};

use super::{
    bounds::{Bounds, time},
    mesh::{Chance, Cut, Disturbance, NODES, Protocol, State},
};
use crate::{Action, tests::fleet::at};

impl Protocol {
    pub(super) fn tick(&self, mut state: State, chance: &Chance) -> State {
        state.tick += 1;
        let served: Vec<bool> = (0..NODES).map(|node| state.is_served(node)).collect();
        self.disturb(&mut state, chance.disturbance);
        self.gossip(&mut state, &chance.heard);
        self.notice(&mut state);
        let before: Vec<_> = state.nodes.iter().map(|node| Arc::clone(node.truth())).collect();
        answer(&mut state, &self.bounds);
        self.load(&mut state, chance.quick);
        for node in state.up() {
            self.decide(&mut state, node);
        }
        for (node, before) in before.iter().enumerate() {
            if state.nodes[node].truth() != before {
                let others = (0..NODES).filter(|&to| to != node);
                others.for_each(|to| state.news[node][to] = Some(state.news[node][to].unwrap_or(0)));
            }
        }
        let undisturbed = chance.disturbance.is_none() && state.disturbed != state.tick;
        let deserted = |node: usize| state.nodes[node].up && served[node] && !state.is_served(node);
        state.seen.deserted |= undisturbed && (0..NODES).any(deserted);
        state
    }

    fn disturb(&self, state: &mut State, disturbance: Option<Disturbance>) {
        let now = state.tick;
        if matches!(state.cut, Cut::Off { until, .. } if until == now) {
            state.cut = Cut::Healed;
            state.disturbed = now;
            // Gossip goes to whoever was thought to be gone as well.
            for from in 0..NODES {
                (0..NODES).filter(|&to| to != from).for_each(|to| state.news[from][to] = Some(0));
            }
        }
        match disturbance {
            Some(Disturbance::Crash { node }) => {
                state.crashed = Some(node);
                state.nodes[node].up = false;
                state.disturbed = now;
            }
            Some(Disturbance::Cut { node, length }) => {
                state.cut = Cut::Off { node, since: now, until: now + length };
                state.disturbed = now;
            }
            None => {}
        }
    }

    /// Whose news may be heard in the next tick, or later.
    pub(super) fn may_hear(&self, state: &State) -> Vec<(usize, usize)> {
        let all = (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to)));
        let waits = |&(from, to): &(usize, usize)| {
            from != to && state.hears(to, from) && state.news[from][to].is_some_and(|age| age + 1 < self.bounds.slowest)
        };
        all.filter(waits).collect()
    }

    fn gossip(&self, state: &mut State, heard: &[(usize, usize)]) {
        for from in 0..NODES {
            for to in (0..NODES).filter(|&to| to != from) {
                let Some(age) = state.news[from][to] else { continue };
                if !state.hears(to, from) {
                    continue;
                }
                if age + 1 >= self.bounds.slowest || heard.contains(&(from, to)) {
                    let said = Arc::clone(state.nodes[from].truth());
                    state.nodes[to].view.nodes.insert(said.id, said);
                    state.news[from][to] = None;
                } else {
                    state.news[from][to] = Some(age + 1);
                }
            }
        }
        for node in (0..NODES).filter(|&node| state.learns[node] == state.tick) {
            let name = self.record.endpoint.metadata.name.clone();
            state.nodes[node].view.endpoints.insert(name, Arc::clone(&self.record));
        }
    }

    /// Who has been silent for long enough is suspected, by who listens.
    fn notice(&self, state: &mut State) {
        for to in state.up() {
            for from in (0..NODES).filter(|&from| from != to) {
                if state.hears(to, from) {
                    state.silence[to][from] = 0;
                } else if state.silence[to][from] < self.bounds.detect {
                    state.silence[to][from] += 1;
                    if state.silence[to][from] == self.bounds.detect {
                        let quiet = state.nodes[from].id;
                        let quiet = Arc::make_mut(state.nodes[to].view.nodes.get_mut(&quiet).unwrap());
                        quiet.liveness = Liveness::Suspect { since: time(state.tick) };
                    }
                }
            }
        }
    }

    /// Whether an engine of `node` may serve in the next tick, or later.
    pub(super) fn may_load(&self, state: &State, node: usize) -> bool {
        let age = |claim: &Claim| time(state.tick + 1).since(claim.since).as_secs();
        let loading = |claim: &Claim| claim.state == ReplicaState::Starting && age(claim) < self.bounds.load.into();
        state.nodes[node].up && state.nodes[node].claims().any(loading)
    }

    /// Engines come to serve, and those that drain end.
    fn load(&self, state: &mut State, quick: u8) {
        let now = time(state.tick);
        for node in state.up() {
            let is_loaded = |claim: &Claim| {
                let slow = now.since(claim.since).as_secs() >= self.bounds.load.into();
                claim.state == ReplicaState::Starting && (slow || quick >> node & 1 == 1)
            };
            let ends = |claim: &Claim| claim.state == ReplicaState::Draining && claim.since < now;
            if state.nodes[node].claims().any(|claim| is_loaded(claim) || ends(claim)) {
                let claims = &mut state.nodes[node].truth_mut().claims;
                claims.retain(|_, claim| !ends(claim));
                for claim in claims.values_mut().filter(|claim| is_loaded(claim)) {
                    (claim.state, claim.since) = (ReplicaState::Ready, now);
                }
            }
        }
    }

    fn decide(&self, state: &mut State, node: usize) {
        let now = time(state.tick);
        for action in state.nodes[node].decide(now) {
            match action {
                Action::Claim { endpoint, revision, gpus } => {
                    let me = &mut state.nodes[node];
                    state.seen.overbooked |= me.claims().count() >= self.bounds.gpus;
                    me.counter += 1;
                    let id = ClaimId { node: me.id, generation: at(0), counter: me.counter };
                    let claim = Claim {
                        id,
                        endpoint,
                        revision,
                        gpus,
                        claimed: now,
                        state: ReplicaState::Claimed,
                        since: now,
                        reason: None,
                        progress: None,
                        crashes: 0,
                        leaving: None,
                    };
                    me.truth_mut().claims.insert(id, claim);
                }
                Action::Start(claim) => {
                    let claim = state.nodes[node].truth_mut().claims.get_mut(&claim).unwrap();
                    state.seen.hasty |= now.since(claim.claimed).as_secs() < self.bounds.settle.into();
                    (claim.state, claim.since) = (ReplicaState::Starting, now);
                }
                Action::Withdraw { claim, .. } => {
                    state.nodes[node].truth_mut().claims.remove(&claim).unwrap();
                    state.seen.withdrawn = true;
                }
                Action::Drain { claim, confirm, .. } => {
                    let confirm = confirm.into_iter().map(|(_, claim)| claim).collect();
                    state.nodes[node].asking.insert(claim, confirm);
                }
                Action::Wake(_) | Action::Move { .. } => unreachable!("nothing sleeps here, and nothing may move"),
            }
        }
    }
}

/// All that ask are answered at once, by the truth of that moment: a replica that asks says no, and so does silence.
fn answer(state: &mut State, bounds: &Bounds) {
    let serves = |state: &State, asker: usize, claim: &ClaimId| {
        let node = usize::from(claim.node.as_bytes()[0]) - 1;
        let there = node == asker || state.hears(asker, node);
        let other = &state.nodes[node];
        there && !other.asking.contains_key(claim) && other.serving().any(|serving| serving.id == *claim)
    };
    let mut agreed = Vec::new();
    for node in state.up() {
        for (claim, confirm) in &state.nodes[node].asking {
            if !bounds.asks || confirm.iter().all(|other| serves(state, node, other)) {
                agreed.push((node, *claim));
            } else {
                state.seen.refused = true;
            }
        }
    }
    state.nodes.iter_mut().for_each(|node| node.asking.clear());
    let now = time(state.tick);
    for &(node, claim) in &agreed {
        let Some(claim) = state.nodes[node].truth_mut().claims.get_mut(&claim) else { continue };
        (claim.state, claim.since) = (ReplicaState::Draining, now);
        state.seen.drained = true;
    }
    for (node, _) in agreed {
        let beside = (0..NODES).filter(|&other| other == node || state.hears(node, other));
        let serving: usize = beside.map(|other| state.nodes[other].serving().count()).sum();
        state.seen.uncovered |= serving < bounds.desired as usize;
    }
}
