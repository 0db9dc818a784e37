//! What happens, in words, where somebody listens.

use shoal_types::{Claim, ClaimId, Mandate, NodeView};

use super::mesh::Mesh;
use crate::{Action, tests::fleet::at};

impl Mesh {
    /// Tells `what` of `node`, if somebody listens.
    pub(super) fn note(&self, node: usize, what: impl FnOnce() -> String) {
        if self.is_telling {
            println!("{:8.2} s  node {:2}  {}", self.now.since(at(0)).as_secs_f64(), node + 1, what());
        }
    }

    pub(super) fn note_action(&self, node: usize, action: &Action) {
        self.note(node, || match action {
            Action::Claim { endpoint, revision, gpus } => format!("claims {endpoint} {revision}, {gpus} GPUs"),
            Action::Start(claim) => format!("starts {}", self.named(*claim)),
            Action::Wake(claim) => format!("wakes {}", self.named(*claim)),
            Action::Withdraw { claim, reason } => format!("withdraws {}: {reason}", self.named(*claim)),
            Action::Move { claim, reason } => format!("moves {}: {reason}", self.named(*claim)),
            Action::Drain { claim, reason, confirm } => {
                let confirm: Vec<String> = confirm.iter().map(|&(_, claim)| self.named(claim)).collect();
                format!("asks to drain {}: {reason}: {}", self.named(*claim), confirm.join(", "))
            }
        });
    }

    /// Tells what `node` says as a steward, where it differs from what it said `before`.
    pub(super) fn note_mandates(&self, node: usize, before: &NodeView) {
        let now = &self.nodes[node].truth().mandates;
        for mandate in now.values().filter(|mandate| before.mandates.get(&mandate.endpoint) != Some(*mandate)) {
            self.note(node, || {
                let shares = mandate.shares.iter().map(|share| format!("{} of {}", share.replicas, share.revision));
                let shares: Vec<String> = shares.collect();
                let Mandate { endpoint, epoch, rollout, reason, .. } = mandate;
                format!("wants of {endpoint} {} ({epoch}, {rollout}): {reason}", shares.join(" and "))
            });
        }
    }

    /// A claim by its node, its number and what it is of.
    pub(super) fn named(&self, id: ClaimId) -> String {
        let node = self.index(id.node);
        let of = |claim: &Claim| format!(" ({} {} {})", claim.endpoint, claim.revision, claim.state);
        let of = self.nodes[node].claims().get(&id).map(of);
        format!("{}/{}{}", node + 1, id.counter, of.unwrap_or_default())
    }
}
