//! What this node says to all others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Serialize;
use shoal_types::{
    Claim, ClaimId, Demand, Departure, Gpu, KeyId, KeyUse, Load, Mandate, NodeFacts, NodeView, PastDeparture, Refusal,
};
use tracing::{debug, warn};

use super::{Mesh, facts, standing::stated};
use crate::gossip::Key;

impl Mesh {
    /// Says who this node is. Facts without addresses get those of the mesh port.
    pub async fn publish_facts(&self, facts: NodeFacts) {
        let facts = self.addresses.complete(facts);
        self.facts.send_replace(facts.clone());
        self.gossip.publish(Key::Facts, &stated(facts, &self.identity)).await;
    }

    /// Says which GPUs this node has, in NVML's order.
    pub async fn publish_gpus(&self, gpus: &[Gpu]) {
        let before = self.own().map_or(0, |own| own.gpus.len());
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
        let fitting = facts::refusals(refusals, Key::Refusals.value_max());
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

    /// Says what this node decided as a steward: all of it, so that what it said before and is not among `mandates` is
    /// taken back. Gossiped only where it differs. The own view shows it when this returns; a reason is cut so that it fits.
    pub async fn publish_mandates(&self, mandates: &[Mandate]) {
        let sayable = |mandate: &Mandate| {
            let key = Key::mandate(&mandate.endpoint);
            (key, facts::mandate(mandate, key.value_max()))
        };
        let before = self.own().map(|own| own.mandates.keys().map(Key::mandate).collect()).unwrap_or_default();
        self.publish_whole(before, mandates.iter().map(sayable).collect()).await;
    }

    /// Says what the clients of this node's ingress ask for: all of it, as with [`Self::publish_mandates`].
    pub async fn publish_demands(&self, demands: &[Demand]) {
        let before = self.own().map(|own| own.demands.keys().map(Key::demand).collect()).unwrap_or_default();
        self.publish_whole(before, demands.iter().map(|demand| (Key::demand(&demand.endpoint), demand)).collect())
            .await;
    }

    /// Says what this node's ingress has let through by keys with limits: all of it, as with [`Self::publish_mandates`]. Of
    /// more than 128 keys, those that were used most.
    pub async fn publish_key_uses(&self, uses: &HashMap<KeyId, KeyUse>) {
        let said = facts::key_uses(uses);
        if said.len() < uses.len() {
            debug!(said = said.len(), of = uses.len(), "not all keys that are used here fit this node's gossip");
        }
        let before = self.own().map(|own| own.key_uses.keys().copied().map(Key::Used).collect()).unwrap_or_default();
        self.publish_whole(before, said.into_iter().map(|(key, used)| (Key::Used(key), used)).collect()).await;
    }

    /// Says when and why this node went before, of the last 16 times.
    pub async fn publish_departures(&self, departures: &[PastDeparture]) {
        self.gossip.publish(Key::Departures, &facts::departures(departures)).await;
    }

    /// Says how far other clusters are, in milliseconds of round trip, of the 32 nearest. [`Self::distances`] measures it.
    pub async fn publish_distances(&self, distances: &BTreeMap<String, u32>) {
        self.gossip.publish(Key::Distances, &facts::distances(distances, Key::Distances.value_max())).await;
    }

    /// Says of which models this node has the weights, of as many as fit.
    pub async fn publish_models(&self, models: &BTreeSet<String>) {
        let fitting = facts::models(models, Key::Models.value_max());
        if fitting.len() < models.len() {
            debug!(said = fitting.len(), of = models.len(), "not all models of this node fit its gossip");
        }
        self.gossip.publish(Key::Models, &fitting).await;
    }

    /// Says `values`, and nothing under the other keys of `before`, in one step.
    async fn publish_whole<T: Serialize>(&self, before: BTreeSet<Key>, values: BTreeMap<Key, T>) {
        let gone: Vec<Key> = before.into_iter().filter(|key| !values.contains_key(key)).collect();
        let present = values.into_iter().map(|(key, value)| (key, Some(value)));
        self.gossip.publish_all(present.chain(gone.into_iter().map(|key| (key, None)))).await;
    }

    /// What this node says now.
    fn own(&self) -> Option<Arc<NodeView>> {
        self.view().borrow().nodes.get(&self.me()).cloned()
    }
}
