//! What must outlive the nodes that said it: the mandates of stewards, where capacity was taken back, and where there
//! was any.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointName, Mandate, NodeId, UnixMillis, View};

use crate::{
    risk::{Losses, Risks},
    supply::Supply,
};

/// What one node remembers of what all nodes said. Facts of a dead node expire with it; these must not, so every node
/// keeps what it has heard, on disk (the caller's business).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    mandates: BTreeMap<EndpointName, Heard>,
    losses: Losses,
    supply: Supply,
}

/// What a node remembers that has heard nothing yet.
pub(crate) static NOTHING: Memory = Memory { mandates: BTreeMap::new(), losses: Losses::NONE, supply: Supply::NONE };

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
    /// Takes note of what `view` says. Returns whether anything is to be written to disk: a new word of a steward, a lost
    /// node, a new kind of node, or that a zone has grown or another hour begun.
    pub fn observe(&mut self, view: &View, now: UnixMillis) -> bool {
        self.hear(view) | self.losses.observe(view, now) | self.supply.observe(view, now)
    }

    fn hear(&mut self, view: &View) -> bool {
        let before = self.mandates.len();
        self.mandates.retain(|name, _| view.endpoints.contains_key(name));
        let mut changed = self.mandates.len() != before;
        for node in view.nodes.values() {
            for (name, mandate) in node.mandates.iter().filter(|(name, _)| view.endpoints.contains_key(*name)) {
                if self.mandates.get(name).is_none_or(|known| known.rank() < (mandate.epoch, node.id)) {
                    self.mandates.insert(name.clone(), Heard { by: node.id, mandate: mandate.clone() });
                    changed = true;
                }
            }
        }
        changed
    }

    /// Takes it that `by` has said `mandate`.
    pub(crate) fn suppose(&mut self, by: NodeId, mandate: Mandate) {
        self.mandates.insert(mandate.endpoint.clone(), Heard { by, mandate });
    }

    /// Preemptions per hour that a spot node of `zone` has to expect, or of the cluster of that name for nodes that do
    /// not tell their zone. A power of two, or 0 where none was heard of lately.
    pub fn preemption_rate(&self, zone: &str, now: UnixMillis) -> f64 {
        self.losses.preemption_rate(zone, now)
    }

    pub(crate) fn risks(&self, now: UnixMillis) -> Risks<'_> {
        self.losses.risks(now)
    }

    /// What was heard of lost nodes.
    pub(crate) const fn losses(&self) -> &Losses {
        &self.losses
    }

    /// What kinds of nodes there were, and where.
    pub(crate) const fn supply(&self) -> &Supply {
        &self.supply
    }

    /// The mandate that counts for `endpoint`: the greatest that was ever heard.
    pub fn mandate(&self, endpoint: &EndpointName) -> Option<&Heard> {
        self.mandates.get(endpoint)
    }
}
