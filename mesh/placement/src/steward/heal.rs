//! Which mandates there are at once, and what they come to (DESIGN rule 5, after a heal).

use std::collections::BTreeMap;

use shoal_types::{EndpointName, EndpointRecord, Mandate, NodeId, RolloutPhase, Share};

use crate::{
    memory::Heard,
    scene::Scene,
    steward::draft::{Draft, total},
};

/// Words of other nodes that this one has made its own, by their epoch: they are not counted in again, for what was
/// lowered since would rise again as long as such a word is still in the gossip.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken(BTreeMap<NodeId, u64>);

/// All that is said about one endpoint and not yet one word.
#[derive(Debug)]
pub(super) struct Words {
    /// The greatest: what every node goes by now.
    pub(super) standing: Heard,
    /// All of them, that one included.
    all: Vec<Heard>,
}

/// What several mandates come to.
#[derive(Debug)]
pub(super) struct Union {
    /// The state of the rollout, of the one that knows most.
    pub(super) draft: Draft,
    /// The largest number of replicas.
    pub(super) total: u32,
}

impl Words {
    /// What is said about `endpoint`: the greatest word ever heard, what this node said last, and the words of nodes that
    /// are there and were not taken before, which are now. `None` if there is no word at all.
    pub(super) fn gather(
        scene: &Scene<'_>,
        endpoint: &EndpointName,
        said: Option<&Heard>,
        taken: &mut Taken,
    ) -> Option<Self> {
        let present = scene.view.nodes.values().filter(|node| node.is_alive() && node.id != scene.view.me);
        let present = present.filter_map(|node| {
            let mandate = node.mandates.get(endpoint)?;
            let epoch = taken.0.insert(node.id, mandate.epoch);
            let new = epoch.is_none_or(|epoch| epoch < mandate.epoch);
            new.then(|| Heard { by: node.id, mandate: mandate.clone() })
        });
        // The memory may not have heard yet what this node said last.
        let heard = scene.memory.mandate(endpoint).filter(|heard| said.is_none_or(|said| rank(said) < rank(heard)));
        let kept = heard.into_iter().chain(said).cloned();
        let all: Vec<Heard> = kept.chain(present).collect();
        let standing = all.iter().max_by_key(|heard| rank(heard))?.clone();
        Some(Self { standing, all })
    }

    /// The larger counts of all, in the rollout as the one sees it that was made for the newest write of the spec and has
    /// come furthest.
    pub(super) fn unite(&self, record: &EndpointRecord) -> Union {
        let furthest =
            |heard: &&Heard| (heard.mandate.version, progress(&heard.mandate), heard.mandate.epoch, heard.by);
        let base = self.all.iter().max_by_key(furthest).unwrap_or(&self.standing);
        let counts = self.all.iter().map(|heard| &heard.mandate).filter(|mandate| !is_of_another(mandate, record));
        let total = counts.map(total).max().unwrap_or(0);
        Union { draft: Draft::from(&base.mandate), total }
    }
}

pub(super) const fn rank(heard: &Heard) -> (u64, NodeId) {
    (heard.mandate.epoch, heard.by)
}

/// Whether `mandate` is of an endpoint of that name that was deleted since: it knows none of the revisions.
fn is_of_another(mandate: &Mandate, record: &EndpointRecord) -> bool {
    let known = |share: &Share| record.spec_of(share.revision).is_some();
    mandate.version < record.version && !mandate.shares.iter().any(known)
}

/// How much a rollout has found out. What one side saw go wrong is not tried again because the other side saw nothing.
fn progress(mandate: &Mandate) -> (u8, u8) {
    match mandate.rollout {
        RolloutPhase::Progressing { step, .. } => (0, step),
        RolloutPhase::Complete => (1, 0),
        RolloutPhase::Paused { step } => (2, step),
        RolloutPhase::RolledBack => (3, 0),
    }
}
