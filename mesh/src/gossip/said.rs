//! What one node says of itself, read key by key.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use shoal_types::{
    Claim, ClaimId, Demand, Departure, EndpointName, Gpu, KeyId, KeyUse, Liveness, Load, Mandate, NodeFacts, NodeId,
    NodeView, PastDeparture, Refusal, UnixMillis,
};

use super::Key;

/// Everything that a node says of itself. A value that cannot be read leaves the one before it in place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Said {
    pub(super) facts: Option<NodeFacts>,
    pub(super) gpus: BTreeMap<u16, Gpu>,
    pub(super) claims: BTreeMap<u32, Claim>,
    pub(super) loads: BTreeMap<u32, Load>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) departure: Option<Departure>,
    pub(super) specs: String,
    pub(super) left: bool,
    pub(super) mandates: BTreeMap<u64, Mandate>,
    pub(super) demands: BTreeMap<u64, Demand>,
    pub(super) key_uses: BTreeMap<KeyId, KeyUse>,
    pub(super) departures: Vec<PastDeparture>,
    pub(super) distances: BTreeMap<String, u32>,
    pub(super) models: BTreeSet<String>,
}

/// Why a value was not taken over.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    /// Not JSON of the expected shape.
    #[error("it cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another node's claim, or one under the wrong key.
    #[error("it holds claim {0}, which does not belong there")]
    ForeignClaim(ClaimId),
    /// Something about another endpoint than the key says.
    #[error("it is about endpoint `{0}`, which has another key")]
    ForeignEndpoint(EndpointName),
    /// Larger than the key allows.
    #[error("it has {0} bytes, more than the {1} allowed")]
    TooLarge(usize, usize),
}

impl Said {
    /// Takes over all `values` of `node`, and drops what is no longer among them. Returns what could not be read.
    pub(super) fn replace(&mut self, node: NodeId, values: &[(Key, String)]) -> Vec<(Key, ValueError)> {
        let keys: BTreeSet<Key> = values.iter().map(|(key, _)| *key).collect();
        self.retain(&keys);
        values.iter().filter_map(|(key, text)| self.set(node, *key, text).err().map(|error| (*key, error))).collect()
    }

    /// Takes over one value of `node`.
    pub(super) fn set(&mut self, node: NodeId, key: Key, text: &str) -> Result<(), ValueError> {
        if text.len() > key.value_max() {
            return Err(ValueError::TooLarge(text.len(), key.value_max()));
        }
        match key {
            Key::Facts => self.facts = Some(read(text)?),
            Key::Gpu(index) => drop(self.gpus.insert(index, read(text)?)),
            Key::Claim(counter) => {
                let claim: Claim = read(text)?;
                if claim.id.node != node || claim.id.counter != counter {
                    return Err(ValueError::ForeignClaim(claim.id));
                }
                self.claims.insert(counter, claim);
            }
            Key::Load(counter) => drop(self.loads.insert(counter, read(text)?)),
            Key::Refusals => self.refusals = read(text)?,
            Key::Departure => self.departure = Some(read(text)?),
            Key::Left => self.left = read(text)?,
            Key::Specs => self.specs = read(text)?,
            Key::Mandate(hash) => {
                let mandate: Mandate = read(text)?;
                belongs(key, Key::mandate(&mandate.endpoint), &mandate.endpoint)?;
                self.mandates.insert(hash, mandate);
            }
            Key::Demand(hash) => {
                let demand: Demand = read(text)?;
                belongs(key, Key::demand(&demand.endpoint), &demand.endpoint)?;
                self.demands.insert(hash, demand);
            }
            Key::Departures => self.departures = read(text)?,
            Key::Distances => self.distances = read(text)?,
            Key::Models => self.models = read(text)?,
            Key::Used(key) => drop(self.key_uses.insert(key, read(text)?)),
        }
        Ok(())
    }

    /// Drops one value.
    pub(super) fn clear(&mut self, key: Key) {
        match key {
            Key::Facts => self.facts = None,
            Key::Gpu(index) => drop(self.gpus.remove(&index)),
            Key::Claim(counter) => drop(self.claims.remove(&counter)),
            Key::Load(counter) => drop(self.loads.remove(&counter)),
            Key::Refusals => self.refusals.clear(),
            Key::Departure => self.departure = None,
            Key::Left => self.left = false,
            Key::Specs => self.specs.clear(),
            Key::Mandate(hash) => drop(self.mandates.remove(&hash)),
            Key::Demand(hash) => drop(self.demands.remove(&hash)),
            Key::Departures => self.departures.clear(),
            Key::Distances => self.distances.clear(),
            Key::Models => self.models.clear(),
            Key::Used(key) => drop(self.key_uses.remove(&key)),
        }
    }

    fn retain(&mut self, keys: &BTreeSet<Key>) {
        for key in Key::SINGLE.iter().filter(|key| !keys.contains(key)) {
            self.clear(*key);
        }
        self.gpus.retain(|index, _| keys.contains(&Key::Gpu(*index)));
        self.claims.retain(|counter, _| keys.contains(&Key::Claim(*counter)));
        self.loads.retain(|counter, _| keys.contains(&Key::Load(*counter)));
        self.mandates.retain(|hash, _| keys.contains(&Key::Mandate(*hash)));
        self.demands.retain(|hash, _| keys.contains(&Key::Demand(*hash)));
        self.key_uses.retain(|key, _| keys.contains(&Key::Used(*key)));
    }

    /// The node that says all this, of which the rest is known otherwise.
    pub(super) fn view(&self, id: NodeId, facts: &NodeFacts, liveness: Liveness, heard: UnixMillis) -> NodeView {
        NodeView {
            id,
            facts: self.facts.as_ref().unwrap_or(facts).clone(),
            gpus: self.gpus.values().cloned().collect(),
            claims: self.claims.values().map(|claim| (claim.id, claim.clone())).collect(),
            loads: self.loads_by_claim(),
            refusals: self.refusals.clone(),
            departure: self.departure.clone(),
            liveness,
            key_uses: self.key_uses.clone(),
            demands: self.demands.values().map(|demand| (demand.endpoint.clone(), demand.clone())).collect(),
            mandates: self.mandates.values().map(|mandate| (mandate.endpoint.clone(), mandate.clone())).collect(),
            departures: self.departures.clone(),
            distances: self.distances.clone(),
            models: self.models.clone(),
            specs: self.specs.clone(),
            heard,
        }
    }

    /// Loads by the claim they belong to. A load whose claim is not known says nothing.
    fn loads_by_claim(&self) -> BTreeMap<ClaimId, Load> {
        self.loads.iter().filter_map(|(counter, load)| Some((self.claims.get(counter)?.id, *load))).collect()
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, ValueError> {
    Ok(serde_json::from_str(text)?)
}

fn belongs(key: Key, right: Key, endpoint: &EndpointName) -> Result<(), ValueError> {
    if key == right { Ok(()) } else { Err(ValueError::ForeignEndpoint(endpoint.clone())) }
}

#[cfg(test)]
mod tests;
