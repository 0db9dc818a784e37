//! Who asks for tokens: keys of clients, and how urgent their requests are.

mod record;
mod text;

pub use self::{
    record::{KeyGrant, KeyHash, KeyName, KeyRecord, KeyStatus, KeyUse},
    text::{KEY_PREFIX, key_id, key_text},
};

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::id::{ParseIdError, base32};

/// Bytes of a key's id: 80 random bits, so that no two keys of a mesh share one.
const KEY_ID_LEN: usize = 10;

/// Names one key of a client without giving it away: for lists, logs, limits and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_LEN]);

impl KeyId {
    /// Characters of its text.
    pub const TEXT_LEN: usize = 16;

    /// The id of these random bytes.
    pub const fn from_bytes(bytes: [u8; KEY_ID_LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32().encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let mut id = Self(Default::default());
        let fits = base32().decode_len(text.len()).is_ok_and(|length| length == id.0.len());
        let is_read = fits && base32().decode_mut(text.as_bytes(), &mut id.0).is_ok();
        if is_read { Ok(id) } else { Err(ParseIdError::NotAKey(text.to_owned())) }
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            Deserialize::deserialize(deserializer).map(Self)
        }
    }
}

/// Who goes first where not all can be served at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Before all others: a person waits.
    High,
    /// As most.
    #[default]
    Normal,
    /// After all others: batches that can wait.
    Low,
}

impl Priority {
    /// All, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its name, as it is written in specs and shown to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not one of high, normal and low"))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text_and_json() {
        let id = KeyId::from_bytes([0xa7; KEY_ID_LEN]);
        let text = id.to_string();
        assert_eq!(text.len(), KeyId::TEXT_LEN);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(serde_json::from_str::<KeyId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        for damaged in ["", "abc", &text.to_uppercase(), &text[1..], &format!("{text}aa")] {
            assert!(damaged.parse::<KeyId>().is_err(), "{damaged}");
        }
    }

    #[test]
    fn priorities_sort_by_urgency() {
        assert!(Priority::ALL.is_sorted());
        for priority in Priority::ALL {
            assert_eq!(serde_json::to_string(&priority).unwrap(), format!("\"{priority}\""));
        }
    }
}
