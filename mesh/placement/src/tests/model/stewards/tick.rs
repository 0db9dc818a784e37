//! What happens in one tick: the disturbance, then what is heard, then what is said.

use std::sync::Arc;

use super::{
    bounds::time,
    mesh::{Chance, Crash, Cut, Disturbance, NODES, Parliament, State, demand, suspected},
};
use crate::tests::fleet::name;

impl Parliament {
    pub(super) fn tick(&self, mut state: State, chance: &Chance) -> State {
        state.tick += 1;
        self.disturb(&mut state, chance.disturbance);
        self.gossip(&mut state, &chance.heard);
        self.notice(&mut state);
        let before: Vec<_> = state.nodes.iter().map(|node| Arc::clone(node.truth())).collect();
        for node in state.up() {
            self.speak(&mut state, node);
        }
        for (node, before) in before.iter().enumerate() {
            if state.nodes[node].truth() != before {
                renew(&mut state, node);
            }
        }
        let speakers: Vec<usize> = state.up().into_iter().filter(|&node| state.nodes[node].since.is_some()).collect();
        state.seen.divided |= speakers.len() > 1 && matches!(state.cut, Cut::Off { .. });
        state
    }

    fn disturb(&self, state: &mut State, disturbance: Option<Disturbance>) {
        let now = state.tick;
        if matches!(state.cut, Cut::Off { until, .. } if until == now) {
            let wanted = state.up().into_iter().map(|node| state.nodes[node].wants(time(now))).max().unwrap_or(0);
            (state.cut, state.disturbed, state.halves) = (Cut::Healed, now, Some((wanted, now)));
            (0..NODES).for_each(|node| renew(state, node));
        }
        if let Crash::Down { node, back: Some(back) } = state.crash
            && back == now
        {
            (state.crash, state.disturbed) = (Crash::Over, now);
            state.nodes[node].restart(self.bounds.remembers);
            (0..NODES).for_each(|node| renew(state, node));
        }
        if disturbance.is_some() {
            state.disturbed = now;
        }
        match disturbance {
            Some(Disturbance::Turn { inflight }) => {
                state.turned = true;
                let asked = |node: &usize| !state.nodes[*node].truth().demands.is_empty();
                let ingress = (0..NODES).find(asked).unwrap();
                state.nodes[ingress].truth_mut().demands.insert(name("a"), demand(inflight));
                renew(state, ingress);
            }
            Some(Disturbance::Cut { node, length }) => state.cut = Cut::Off { node, until: now + length },
            Some(Disturbance::Crash { node, back }) => {
                state.crash = Crash::Down { node, back };
                state.nodes[node].up = false;
            }
            Some(Disturbance::RestartAll) => {
                state.crash = Crash::Over;
                let wanted = std::array::from_fn(|node| state.nodes[node].wants(time(now)));
                state.restarted = Some((wanted, now));
                state.nodes.iter_mut().for_each(|node| node.restart(self.bounds.remembers));
                (0..NODES).for_each(|node| renew(state, node));
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
                let Some(age) = state.news[from][to].filter(|_| state.hears(to, from)) else { continue };
                if age + 1 >= self.bounds.slowest || heard.contains(&(from, to)) {
                    let said = Arc::clone(state.nodes[from].truth());
                    state.nodes[to].view.nodes.insert(said.id, said);
                    state.news[from][to] = None;
                } else {
                    state.news[from][to] = Some(age + 1);
                }
            }
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
                    let quiet = state.nodes[from].view.me;
                    let known = state.nodes[to].view.nodes.get_mut(&quiet);
                    if let Some(known) = known.filter(|_| state.silence[to][from] == self.bounds.detect) {
                        Arc::make_mut(known).liveness = suspected(time(state.tick));
                    }
                }
            }
        }
    }

    /// Takes note of what it has heard, as its disk does, and says what it must be saying.
    fn speak(&self, state: &mut State, index: usize) {
        let (tick, now) = (state.tick, time(state.tick));
        let node = &mut state.nodes[index];
        let rank = |node: &super::node::Node| node.heard().map(|heard| (heard.mandate.epoch, heard.by));
        let before = rank(node);
        node.memory.observe(&node.view, now);
        state.seen.forgot |= rank(node) < before;
        let (standing, highest) = (node.heard().cloned(), node.highest_epoch());
        let last = node.said().cloned();
        let mut mandate = node.step(now);
        let repeats =
            mandate.as_ref().is_some_and(|said| standing.as_ref().is_some_and(|heard| heard.mandate == *said));
        let is_steward = crate::steward_of(&node.view, &name("a")) == Some(node.view.me);
        if !is_steward {
            state.seen.reminded |= mandate.is_some();
            mandate = mandate.filter(|_| self.bounds.reminds);
        }
        node.since = is_steward.then(|| node.since.unwrap_or(tick));
        if let Some(said) = mandate.as_ref().filter(|said| is_steward && !repeats && last.as_ref() != Some(*said)) {
            let watched = tick - node.since.unwrap_or(tick);
            let total = standing.map(|heard| heard.mandate.total());
            let lowers = total.is_some_and(|total| said.total() < total);
            state.seen.lowered |= lowers;
            state.seen.raised |= total.is_some_and(|total| said.total() > total);
            state.seen.hasty |= lowers && watched < self.bounds.down_delay;
            state.seen.skipped |= said.epoch != highest + 1;
        }
        state.seen.unbounded |= mandate.as_ref().is_some_and(|said| !(1..=3).contains(&said.total()));
        if node.said() != mandate.as_ref() {
            node.truth_mut().mandates = mandate.into_iter().map(|said| (name("a"), said)).collect();
        }
    }
}

/// What `node` says is news to all others.
fn renew(state: &mut State, node: usize) {
    for to in (0..NODES).filter(|&to| to != node) {
        state.news[node][to] = Some(state.news[node][to].unwrap_or(0));
    }
}
