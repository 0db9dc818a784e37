//! The keys that a node gossips about itself.

use std::{fmt, str::FromStr};

use shoal_types::{EndpointName, KeyId, stable_hash};

/// One gossiped key. Values are JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// `NodeFacts`.
    Facts,
    /// `Gpu`, by its place in the node's list.
    Gpu(u16),
    /// `Claim`, by the counter of its id.
    Claim(u32),
    /// `Load` of the claim with that counter.
    Load(u32),
    /// A list of `Refusal`.
    Refusals,
    /// `Departure`, set while the node is leaving.
    Departure,
    /// Set when the node said goodbye.
    Left,
    /// Digest of the node's store.
    Specs,
    /// `Mandate`, by the hash of its endpoint's name: a name is longer than what chitchat repeats in every round.
    Mandate(u64),
    /// `Demand`, by the same hash.
    Demand(u64),
    /// A list of `PastDeparture`.
    Departures,
    /// Milliseconds by cluster.
    Distances,
    /// A list of the names of models.
    Models,
    /// `KeyUse`, by the key of a client.
    Used(KeyId),
}

impl Key {
    /// The keys of which a node has one each.
    pub(super) const SINGLE: [Self; 8] = [
        Self::Facts,
        Self::Refusals,
        Self::Departure,
        Self::Left,
        Self::Specs,
        Self::Departures,
        Self::Distances,
        Self::Models,
    ];

    /// Where what a steward says of `endpoint` belongs.
    pub(crate) fn mandate(endpoint: &EndpointName) -> Self {
        Self::Mandate(name_hash(endpoint))
    }

    /// Where what an ingress says of `endpoint` belongs.
    pub(crate) fn demand(endpoint: &EndpointName) -> Self {
        Self::Demand(name_hash(endpoint))
    }

    /// Most bytes of a value. One kilobyte keeps a round of gossip small (chitchat sends no part of a value, and
    /// damages what is over 64 KiB); some are lists that an operator can make longer.
    pub(crate) const fn value_max(self) -> usize {
        match self {
            Self::Facts | Self::Refusals | Self::Distances | Self::Models => 4 << 10,
            // Two histograms.
            Self::Demand(_) => 2 << 10,
            Self::Gpu(_)
            | Self::Claim(_)
            | Self::Load(_)
            | Self::Departure
            | Self::Left
            | Self::Specs
            | Self::Mandate(_)
            | Self::Departures
            | Self::Used(_) => 1 << 10,
        }
    }
}

fn name_hash(endpoint: &EndpointName) -> u64 {
    stable_hash(&[endpoint.as_str().as_bytes()])
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Facts => f.write_str("facts"),
            Self::Gpu(index) => write!(f, "gpu/{index}"),
            Self::Claim(counter) => write!(f, "claim/{counter}"),
            Self::Load(counter) => write!(f, "load/{counter}"),
            Self::Refusals => f.write_str("refusals"),
            Self::Departure => f.write_str("departure"),
            Self::Left => f.write_str("left"),
            Self::Specs => f.write_str("specs"),
            Self::Mandate(hash) => write!(f, "mandate/{hash:016x}"),
            Self::Demand(hash) => write!(f, "demand/{hash:016x}"),
            Self::Departures => f.write_str("departures"),
            Self::Distances => f.write_str("distances"),
            Self::Models => f.write_str("models"),
            Self::Used(key) => write!(f, "used/{key}"),
        }
    }
}

/// A key of a newer program, or damage: skipped by readers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a gossip key of this version")]
pub(crate) struct UnknownKey(String);

impl FromStr for Key {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<Self, UnknownKey> {
        let unknown = || UnknownKey(text.to_owned());
        let Some((family, which)) = text.split_once('/') else {
            return Self::SINGLE.into_iter().find(|key| key.to_string() == text).ok_or_else(unknown);
        };
        let key = match family {
            "gpu" => which.parse().ok().map(Self::Gpu),
            "claim" => which.parse().ok().map(Self::Claim),
            "load" => which.parse().ok().map(Self::Load),
            "mandate" => u64::from_str_radix(which, 16).ok().map(Self::Mandate),
            "used" => which.parse().ok().map(Self::Used),
            "demand" => u64::from_str_radix(which, 16).ok().map(Self::Demand),
            _ => None,
        };
        // One key has one text: of two, one could not be deleted.
        key.filter(|key| key.to_string() == text).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_text() {
        let many = [Key::Gpu(7), Key::Claim(u32::MAX), Key::Load(1), Key::Mandate(u64::MAX), Key::Demand(7)];
        let many = many.into_iter().chain([Key::Used(KeyId::from_bytes([7; 10]))]);
        for key in Key::SINGLE.into_iter().chain(many) {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        let foreign =
            ["", "gpu", "gpu/", "gpu/-1", "gpu/07", "gpu/1/2", "claim/x", "steward/a", "mandate/7", "departures/"];
        for foreign in foreign {
            assert!(foreign.parse::<Key>().is_err(), "{foreign}");
        }
    }

    /// Nodes of all versions must find the same key.
    #[test]
    fn endpoints_have_the_same_keys_for_ever() {
        let llama = "llama".parse().unwrap();
        assert_eq!(Key::mandate(&llama).to_string(), "mandate/d7b8552dc7eb5f8e");
        assert_eq!(Key::demand(&llama).to_string(), "demand/d7b8552dc7eb5f8e");
    }
}
