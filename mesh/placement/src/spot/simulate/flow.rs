//! The cheapest way to send units through a network.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A directed network whose edges have a capacity and a cost per unit, none of them negative.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Each edge is followed by the one that takes it back.
    edges: Vec<Edge>,
    /// By node: the edges that leave it.
    leaving: Vec<Vec<u32>>,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    to: u32,
    room: u32,
    cost: i64,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) units: u32,
    pub(super) cost: i64,
}

impl Network {
    pub(super) fn with_nodes(nodes: usize) -> Self {
        Self { edges: Vec::new(), leaving: vec![Vec::new(); nodes] }
    }

    pub(super) fn connect(&mut self, from: usize, to: usize, room: u32, cost: i64) {
        #[allow(clippy::cast_possible_truncation)] // a network of 2^32 nodes does not fit into memory
        for (at, edge) in
            [(from, Edge { to: to as u32, room, cost }), (to, Edge { to: from as u32, room: 0, cost: -cost })]
        {
            self.leaving[at].push(self.edges.len() as u32);
            self.edges.push(edge);
        }
    }

    /// Sends up to `units` from `source` to `sink` as cheaply as possible: successive shortest paths, with potentials
    /// that keep all costs from becoming negative (Edmonds and Karp 1972).
    pub(super) fn send(&mut self, source: usize, sink: usize, units: u32) -> Flow {
        let mut potentials = vec![0_i64; self.leaving.len()];
        let mut flow = Flow { units: 0, cost: 0 };
        while flow.units < units {
            let Some(path) = self.shortest(source, sink, &mut potentials) else { break };
            let room = path.iter().map(|&edge| self.edges[edge].room).min().unwrap_or(0);
            let sent = room.min(units - flow.units);
            for edge in path {
                self.edges[edge].room -= sent;
                self.edges[edge ^ 1].room += sent;
                flow.cost += i64::from(sent) * self.edges[edge].cost;
            }
            flow.units += sent;
        }
        flow
    }

    /// Edges of the cheapest path with room, from the last to the first; brings the potentials up to date.
    fn shortest(&self, source: usize, sink: usize, potentials: &mut [i64]) -> Option<Vec<usize>> {
        let mut distance = vec![i64::MAX; self.leaving.len()];
        let mut came_by = vec![u32::MAX; self.leaving.len()];
        let mut queue = BinaryHeap::from([(Reverse(0), source)]);
        distance[source] = 0;
        while let Some((Reverse(far), node)) = queue.pop() {
            if far > distance[node] {
                continue;
            }
            for &index in &self.leaving[node] {
                let edge = self.edges[index as usize];
                let to = edge.to as usize;
                let reached = far + edge.cost + potentials[node] - potentials[to];
                if edge.room > 0 && reached < distance[to] {
                    distance[to] = reached;
                    came_by[to] = index;
                    queue.push((Reverse(reached), to));
                }
            }
        }
        if distance[sink] == i64::MAX {
            return None;
        }
        for (potential, &far) in potentials.iter_mut().zip(&distance) {
            *potential += far.min(distance[sink]);
        }
        let mut path = Vec::new();
        let mut node = sink;
        while node != source {
            let edge = came_by[node] as usize;
            path.push(edge);
            node = self.edges[edge ^ 1].to as usize;
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_unit_may_turn_an_earlier_one_aside() {
        // 0 -> 1 -> 3 and 0 -> 2 -> 3, with a cheap bridge 1 -> 2 that only the first unit wants.
        let mut network = Network::with_nodes(4);
        for (from, to, cost) in [(0, 1, 1), (0, 2, 4), (1, 2, 1), (1, 3, 6), (2, 3, 1)] {
            network.connect(from, to, 1, cost);
        }
        assert_eq!(network.send(0, 3, 1), Flow { units: 1, cost: 3 });
        assert_eq!(network.send(0, 3, 5), Flow { units: 1, cost: 9 }, "both together cost 12, and no more fit");
    }
}
