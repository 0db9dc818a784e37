//! What one who sees everything says about a mesh.

use shoal_types::Claim;

use super::{
    mesh::{Mesh, Outcome},
    workload::Workload,
};

impl Mesh {
    /// The node with the most replicas.
    pub(super) fn fullest(&self) -> usize {
        (0..self.nodes.len()).max_by_key(|&node| self.claims(node).len()).unwrap()
    }

    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Endpoints that do not have exactly what they want: so many replicas of the last revision that serve,
    /// and nothing else.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (endpoint, record) in &self.wanted() {
            let live = (0..self.nodes.len()).filter(|&node| self.nodes[node].up);
            let claims: Vec<&Claim> =
                live.flat_map(|node| self.claims(node).values()).filter(|c| c.endpoint == *endpoint).collect();
            let ready = claims.iter().filter(|c| c.state.serves() && c.revision == record.revision).count();
            if ready != claims.len() || ready != record.endpoint.spec.replicas.min as usize {
                wrong.push(format!("{endpoint}: {ready} ready of {}", claims.len()));
            }
        }
        wrong
    }

    /// Endpoints that a side of a partition does not serve although a node on it has the GPUs free.
    pub(super) fn unserved(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (side, nodes) in [("left", 0..self.split.unwrap()), ("right", self.split.unwrap()..self.nodes.len())] {
            for (endpoint, record) in &self.wanted() {
                let mut claims = nodes.clone().flat_map(|node| self.claims(node).values());
                let served = claims.any(|claim| claim.endpoint == *endpoint && claim.state.serves());
                let held = |node| self.claims(node).values().map(|claim| claim.gpus).sum::<u32>();
                let room = nodes.clone().any(|node| 8 - held(node) >= record.endpoint.spec.resources.gpus);
                if !served && room {
                    wrong.push(format!("{endpoint} on the {side}"));
                }
            }
        }
        wrong
    }

    fn wanted(&self) -> Workload {
        self.applied.iter().flat_map(Clone::clone).collect()
    }
}
