//! Identifiers. All are values that compare, hash and print; none can be made from text without being checked.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use data_encoding::{Encoding, Specification};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{UnixMillis, stable_hash};

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Node and mesh ids are 26 characters of lower-case base32 (RFC 4648 alphabet, no padding).
    #[error("`{0}` is not an id: expected 26 characters of a-z and 2-7")]
    NotBase32(String),
    /// Ids of keys are 16 characters of lower-case base32.
    #[error("`{0}` is not the id of a key: expected 16 characters of a-z and 2-7")]
    NotAKey(String),
    /// Claim ids are `NODE.GENERATION.COUNTER`.
    #[error("`{0}` is not a replica id: expected NODE.GENERATION.COUNTER")]
    NotAClaim(String),
    /// Versions are `MILLISECONDS.COUNTER.NODE`.
    #[error("`{0}` is not a version: copy it from `shoal get endpoints -o wide`")]
    NotAVersion(String),
    /// Names of endpoints and keys are DNS labels (RFC 1123), because they become part of file names and metric labels.
    #[error(
        "`{0}` is not a valid name: use 1 to 63 characters of a-z, 0-9 and `-`, starting and ending with a letter or digit"
    )]
    NotAName(String),
}

/// Bytes of a node or mesh id: the first 128 bits of a SHA-256 over a DER SubjectPublicKeyInfo.
const ID_LEN: usize = 16;
/// Characters of its base32 form.
const ID_TEXT_LEN: usize = 26;

pub(crate) fn base32() -> &'static Encoding {
    static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
        let mut spec = Specification::new();
        spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        // The alphabet is a constant that satisfies every condition of the specification.
        #[allow(clippy::expect_used)]
        spec.encoding().expect("32 distinct ASCII symbols")
    });
    &BASE32
}

macro_rules! key_hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// The id whose bytes are the first 16 of `digest` (a SHA-256 over a SubjectPublicKeyInfo).
            pub fn from_key_digest(digest: &[u8; 32]) -> Self {
                let mut id = [0; ID_LEN];
                id.copy_from_slice(&digest[..ID_LEN]);
                Self(id)
            }

            /// The raw 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }

            /// The raw 16 bytes, as received in a frame.
            pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
                Self(bytes)
            }

            /// The first eight characters, for people; not unique by construction.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(8);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base32().encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let not_base32 = || ParseIdError::NotBase32(text.to_owned());
                if text.len() != ID_TEXT_LEN {
                    return Err(not_base32());
                }
                let mut id = Self(Default::default());
                base32().decode_mut(text.as_bytes(), &mut id.0).map_err(|_| not_base32())?;
                Ok(id)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    // In a frame these are the 16 bytes as they are. A list of bytes is written and read one by one.
                    u128::from_le_bytes(self.0).serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    u128::deserialize(deserializer).map(|number| Self(number.to_le_bytes()))
                }
            }
        }
    };
}

key_hash_id! {
    /// One host running `shoal agent`: the hash of its public key, so that nobody else can have it.
    NodeId
}

key_hash_id! {
    /// One mesh: the hash of its root's public key, which is what a join token pins.
    MeshId
}

/// One claim on one replica, never used again: the node, the start of its daemon, and a counter within that start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId {
    /// The only node that may write this claim.
    pub node: NodeId,
    /// When that node's daemon started; rises with every start.
    pub generation: UnixMillis,
    /// Counts the claims of this generation, on from those of earlier ones that it took over: among the claims that a
    /// node has at one time it is unique, and gossip names them by it.
    pub counter: u32,
}

impl ClaimId {
    /// The name people see and type, such as `llama-70b-x4k2p`: the endpoint and five characters of a hash.
    pub fn replica_name(&self, endpoint: &EndpointName) -> String {
        let hash = stable_hash(&[b"replica", self.to_string().as_bytes()]);
        let text = base32().encode(&hash.to_be_bytes());
        format!("{endpoint}-{}", &text[..5])
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.generation.as_millis(), self.counter)
    }
}

impl fmt::Debug for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimId({self})")
    }
}

impl FromStr for ClaimId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let not_a_claim = || ParseIdError::NotAClaim(text.to_owned());
        let mut parts = text.split('.');
        let (Some(node), Some(generation), Some(counter), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(not_a_claim());
        };
        Ok(Self {
            node: node.parse().map_err(|_| not_a_claim())?,
            generation: UnixMillis::from_millis(generation.parse().map_err(|_| not_a_claim())?),
            counter: counter.parse().map_err(|_| not_a_claim())?,
        })
    }
}

impl Serialize for ClaimId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.node, self.generation, self.counter).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ClaimId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        let (node, generation, counter) = Deserialize::deserialize(deserializer)?;
        Ok(Self { node, generation, counter })
    }
}

/// The name of an endpoint: a DNS label, unique in the mesh. Cheap to clone, as each request does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[schemars(transparent)]
pub struct EndpointName(#[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))] Arc<str>);

impl EndpointName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EndpointName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if is_label(text) { Ok(Self(text.into())) } else { Err(ParseIdError::NotAName(text.to_owned())) }
    }
}

/// Whether `text` is a DNS label of lower-case letters.
pub(crate) fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
        && bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
}

impl<'de> Deserialize<'de> for EndpointName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    #[test]
    fn ids_survive_text() {
        let id = node(0xa7);
        assert_eq!(id.to_string().len(), ID_TEXT_LEN);
        assert_eq!(id.to_string().parse(), Ok(id));
        let claim = ClaimId { node: id, generation: UnixMillis::from_millis(1_700_000_000_123), counter: 7 };
        assert_eq!(claim.to_string().parse(), Ok(claim));
    }

    #[test]
    fn damaged_ids_are_refused() {
        assert!("short".parse::<NodeId>().is_err());
        assert!("A".repeat(26).parse::<NodeId>().is_err());
        assert!(format!("{}.1", node(1)).parse::<ClaimId>().is_err());
        for name in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
            assert!(name.parse::<EndpointName>().is_err(), "{name}");
        }
    }
}
