//! What must outlive the nodes that said it: the mandates of stewards, and where capacity was taken back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointName, Mandate, NodeId, UnixMillis, View};

/// What one node remembers of what all nodes said. Facts of a dead node expire with it; these must not, so every node
/// keeps what it has heard, on disk (the caller's business).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    mandates: BTreeMap<EndpointName, Heard>,
}

/// A mandate and who said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The steward of then.
    pub by: NodeId,
    /// What it said.
    pub mandate: Mandate,
}

impl Heard {
    /// Of two, the greater one counts (DESIGN rule 5).
    const fn rank(&self) -> (u64, NodeId) {
        (self.mandate.epoch, self.by)
    }
}

impl Memory {
    /// Takes note of what `view` says. Returns whether anything is to be written to disk.
    pub fn observe(&mut self, view: &View, _now: UnixMillis) -> bool {
        let before = self.mandates.len();
        self.mandates.retain(|name, _| view.endpoints.contains_key(name));
        let mut changed = self.mandates.len() != before;
        for node in view.nodes.values() {
            for (name, mandate) in node.mandates.iter().filter(|(name, _)| view.endpoints.contains_key(*name)) {
                let heard = Heard { by: node.id, mandate: mandate.clone() };
                if self.mandates.get(name).is_none_or(|known| known.rank() < heard.rank()) {
                    self.mandates.insert(name.clone(), heard);
                    changed = true;
                }
            }
        }
        changed
    }

    /// The mandate that counts for `endpoint`: the greatest that was ever heard.
    pub fn mandate(&self, endpoint: &EndpointName) -> Option<&Heard> {
        self.mandates.get(endpoint)
    }
}
