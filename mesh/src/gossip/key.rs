//! The keys that a node gossips about itself.

use std::{fmt, str::FromStr};

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
}

impl Key {
    /// Most bytes of a value. One kilobyte keeps a round of gossip small (chitchat sends no part of a value, and
    /// damages what is over 64 KiB); facts and refusals are lists that an operator can make longer.
    pub(crate) const fn value_max(self) -> usize {
        match self {
            Self::Facts | Self::Refusals => 4 << 10,
            Self::Gpu(_) | Self::Claim(_) | Self::Load(_) | Self::Departure | Self::Left | Self::Specs => 1 << 10,
        }
    }
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
        Ok(match text.split_once('/') {
            None => match text {
                "facts" => Self::Facts,
                "refusals" => Self::Refusals,
                "departure" => Self::Departure,
                "left" => Self::Left,
                "specs" => Self::Specs,
                _ => return Err(unknown()),
            },
            Some(("gpu", index)) => Self::Gpu(index.parse().map_err(|_| unknown())?),
            Some(("claim", counter)) => Self::Claim(counter.parse().map_err(|_| unknown())?),
            Some(("load", counter)) => Self::Load(counter.parse().map_err(|_| unknown())?),
            Some(_) => return Err(unknown()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_text() {
        let keys = [
            Key::Facts,
            Key::Gpu(7),
            Key::Claim(u32::MAX),
            Key::Load(1),
            Key::Refusals,
            Key::Departure,
            Key::Left,
            Key::Specs,
        ];
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for foreign in ["", "gpu", "gpu/", "gpu/-1", "gpu/1/2", "claim/x", "steward/a"] {
            assert!(foreign.parse::<Key>().is_err(), "{foreign}");
        }
    }
}
