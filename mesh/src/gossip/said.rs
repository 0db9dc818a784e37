//! What one node says of itself, read key by key.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use shoal_types::{Claim, ClaimId, Departure, Gpu, Load, NodeFacts, NodeId, Refusal};

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
        }
    }

    fn retain(&mut self, keys: &BTreeSet<Key>) {
        for key in [Key::Facts, Key::Refusals, Key::Departure, Key::Left, Key::Specs] {
            if !keys.contains(&key) {
                self.clear(key);
            }
        }
        self.gpus.retain(|index, _| keys.contains(&Key::Gpu(*index)));
        self.claims.retain(|counter, _| keys.contains(&Key::Claim(*counter)));
        self.loads.retain(|counter, _| keys.contains(&Key::Load(*counter)));
    }

    /// Loads by the claim they belong to. A load whose claim is not known says nothing.
    pub(super) fn loads_by_claim(&self) -> BTreeMap<ClaimId, Load> {
        self.loads.iter().filter_map(|(counter, load)| Some((self.claims.get(counter)?.id, *load))).collect()
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, ValueError> {
    Ok(serde_json::from_str(text)?)
}

#[cfg(test)]
mod tests {
    use shoal_types::{ReplicaState, Revision, UnixMillis};

    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 16]);

    fn claim(node: NodeId, counter: u32) -> String {
        let id = ClaimId { node, generation: UnixMillis::from_millis(5), counter };
        let version =
            shoal_types::Hlc { time: UnixMillis::from_millis(1), counter: 0, node: NodeId::from_bytes([2; 16]) };
        serde_json::to_string(&Claim {
            id,
            endpoint: "e".parse().unwrap(),
            revision: Revision(version),
            gpus: 1,
            claimed: UnixMillis::from_millis(9),
            state: ReplicaState::Ready,
            since: UnixMillis::from_millis(9),
            reason: None,
            progress: None,
            crashes: 0,
            leaving: None,
        })
        .unwrap()
    }

    #[test]
    fn a_malformed_value_keeps_the_previous_one_and_harms_no_other() {
        let mut said = Said::default();
        let load = r#"{"inflight":3}"#.to_owned();
        assert!(said.replace(NODE, &[(Key::Claim(1), claim(NODE, 1)), (Key::Load(1), load)]).is_empty());
        let values = [
            (Key::Claim(1), "{".to_owned()),
            (Key::Load(1), r#"{"inflight":4}"#.to_owned()),
            (Key::Specs, r#""1:00""#.to_owned()),
        ];
        let errors = said.replace(NODE, &values);
        assert!(matches!(errors[..], [(Key::Claim(1), ValueError::Malformed(_))]));
        assert_eq!(said.claims.len(), 1);
        assert_eq!(said.loads_by_claim().values().next().unwrap().inflight, 4);
        assert_eq!(said.specs, "1:00");
    }

    #[test]
    fn rule_1_what_is_no_longer_said_is_gone() {
        let mut said = Said::default();
        said.replace(NODE, &[(Key::Claim(1), claim(NODE, 1)), (Key::Left, "true".to_owned())]);
        assert!(said.left);
        said.replace(NODE, &[]);
        assert_eq!(said, Said::default());
    }

    #[test]
    fn rule_1_nobody_claims_for_another() {
        let mut said = Said::default();
        let foreign = claim(NodeId::from_bytes([3; 16]), 1);
        assert!(matches!(said.set(NODE, Key::Claim(1), &foreign), Err(ValueError::ForeignClaim(_))));
        assert!(matches!(said.set(NODE, Key::Claim(2), &claim(NODE, 1)), Err(ValueError::ForeignClaim(_))));
        assert!(said.claims.is_empty());
    }

    #[test]
    fn an_oversized_value_is_refused() {
        let text = serde_json::to_string(&"x".repeat(2000)).unwrap();
        assert!(matches!(Said::default().set(NODE, Key::Specs, &text), Err(ValueError::TooLarge(..))));
    }
}
