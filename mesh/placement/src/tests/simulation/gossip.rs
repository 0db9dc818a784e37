//! What nodes say, who hears it and when, and who falls silent.

use std::sync::Arc;

use shoal_types::{Liveness, NodeId};

use super::{
    mesh::{Event, Mesh},
    node::Said,
};

impl Mesh {
    /// Publishes what is true of `node` now.
    pub(super) fn say(&mut self, node: usize) {
        let speaker = &mut self.nodes[node];
        let version = speaker.said.as_ref().map_or(0, |said| said.version) + 1;
        let said = Said { version, node: Arc::clone(speaker.truth()), store: Arc::clone(&speaker.store) };
        let said = Arc::new(said);
        speaker.said = Some(Arc::clone(&said));
        for other in (0..self.nodes.len()).filter(|&other| other != node) {
            let delay = self.random.gossip_delay();
            self.schedule(self.now.plus(delay), Event::Hear { node: other, from: node, said: Arc::clone(&said) });
        }
        self.step_soon(node);
    }

    /// Says so to all who can hear that `node` leaves for good.
    pub(super) fn say_goodbye(&mut self, node: usize) {
        self.nodes[node].truth_mut().liveness = Liveness::Left;
        let left = self.nodes[node].id;
        for other in (0..self.nodes.len()).filter(|&other| self.hears(other, node)).collect::<Vec<_>>() {
            if let Some(gone) = self.nodes[other].view.nodes.get_mut(&left) {
                Arc::make_mut(gone).liveness = Liveness::Left;
            }
            self.step_soon(other);
        }
    }

    pub(super) fn hear(&mut self, node: usize, from: usize, said: &Arc<Said>) {
        let listener = &self.nodes[node];
        let is_known = || listener.view.nodes.get(&said.node.id).is_some_and(|known| known.is_alive());
        let is_old = listener.heard[from] > said.version || listener.heard[from] == said.version && is_known();
        if is_old || !self.hears(node, from) {
            return;
        }
        if self.random.chance(self.loss) {
            let round = self.random.seconds(0.5, 1.5);
            self.schedule(self.now.plus(round), Event::Catch { node, from });
            return;
        }
        let listener = &mut self.nodes[node];
        listener.heard[from] = said.version;
        listener.view.nodes.insert(said.node.id, Arc::clone(&said.node));
        listener.merge(&said.store);
        self.step_soon(node);
    }

    /// The next round of gossip brings what was lost in the one before.
    pub(super) fn catch_up(&mut self, node: usize, from: usize) {
        if let Some(said) = self.nodes[from].said.clone() {
            self.hear(node, from, &said);
        }
    }

    pub(super) fn suspect(&mut self, node: usize, of: usize) {
        if !self.nodes[node].up {
            return;
        }
        let of: NodeId = self.nodes[of].id;
        if let Some(quiet) = self.nodes[node].view.nodes.get_mut(&of).filter(|quiet| quiet.is_alive()) {
            Arc::make_mut(quiet).liveness = Liveness::Suspect { since: self.now };
            self.step_soon(node);
        }
    }

    pub(super) fn hears(&self, node: usize, from: usize) -> bool {
        self.islands[node] == self.islands[from] && self.nodes[node].up && self.nodes[from].up
    }

    /// Changes who is there and who can hear whom, and lets those who lose each other notice it some seconds later.
    pub(super) fn rearrange(&mut self, change: impl FnOnce(&mut Self)) {
        let pairs: Vec<(usize, usize)> = (0..self.nodes.len())
            .flat_map(|node| (0..self.nodes.len()).map(move |of| (node, of)))
            .filter(|(node, of)| node != of)
            .collect();
        let before: Vec<bool> = pairs.iter().map(|&(node, of)| self.hears(node, of)).collect();
        change(self);
        for ((node, of), heard) in pairs.into_iter().zip(before) {
            let hears = self.hears(node, of);
            if hears == heard {
                continue;
            }
            self.nodes[node].silence[of] += 1;
            if hears {
                let round = self.random.gossip_delay();
                self.schedule(self.now.plus(round), Event::Catch { node, from: of });
            } else {
                let noticed = self.now.plus(self.random.seconds(7.5, 9.5));
                let silence = self.nodes[node].silence[of];
                self.schedule(noticed, Event::Suspect { node, of, silence });
            }
        }
    }
}
