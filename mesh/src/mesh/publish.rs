//! What this node says to all others.

use shoal_types::{Claim, ClaimId, Departure, Gpu, Load, NodeFacts, Refusal};
use tracing::warn;

use super::{Mesh, facts};
use crate::gossip::Key;

impl Mesh {
    /// Says who this node is. Facts without addresses get those of the mesh port.
    pub async fn publish_facts(&self, facts: NodeFacts) {
        self.gossip.publish(Key::Facts, &self.addresses.complete(facts)).await;
    }

    /// Says which GPUs this node has, in NVML's order.
    pub async fn publish_gpus(&self, gpus: &[Gpu]) {
        let before = self.view().borrow().nodes.get(&self.me()).map_or(0, |node| node.gpus.len());
        let index = |index: usize| u16::try_from(index).ok().map(Key::Gpu);
        let present = gpus.iter().enumerate().filter_map(|(at, gpu)| Some((index(at)?, Some(gpu))));
        let gone = (gpus.len()..before).filter_map(|at| Some((index(at)?, None)));
        self.gossip.publish_all(present.chain(gone)).await;
    }

    /// Says what this node runs or is about to run. The own view shows it when this returns. `claim.id` must be of
    /// this node; its counter names it. A reason that does not fit is left out.
    pub async fn publish_claim(&self, claim: &Claim) {
        let key = Key::Claim(claim.id.counter);
        self.gossip.publish(key, &facts::sayable(claim, key.value_max())).await;
    }

    /// Takes a claim back, and the load with it.
    pub async fn retract_claim(&self, claim: ClaimId) {
        self.gossip.retract([Key::Load(claim.counter), Key::Claim(claim.counter)]).await;
    }

    /// Says what a replica of this node has to do. Gossiped only when it differs from what was said last.
    pub async fn publish_load(&self, claim: ClaimId, load: Load) {
        self.gossip.publish(Key::Load(claim.counter), &load).await;
    }

    /// Says what this node will not run for now. Of more than fit, those that last longest are said.
    pub async fn publish_refusals(&self, refusals: &[Refusal]) {
        let fitting = facts::fitting(refusals, Key::Refusals.value_max());
        if fitting.len() < refusals.len() {
            warn!(said = fitting.len(), of = refusals.len(), "not all refusals of this node fit its gossip");
        }
        self.gossip.publish(Key::Refusals, &fitting).await;
    }

    /// Says that this node is leaving, or that it stays after all.
    pub async fn publish_departure(&self, departure: Option<&Departure>) {
        match departure {
            Some(departure) => self.gossip.publish(Key::Departure, departure).await,
            None => self.gossip.retract([Key::Departure]).await,
        }
    }
}
