//! What the mesh keeps of a key: all but its secret.

use std::{collections::BTreeSet, fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{KeyId, Priority};
use crate::{
    EndpointName, UnixMillis,
    id::{ParseIdError, is_label},
};

/// What people call a key: a DNS label, as it becomes a label of metrics. Keys that are not revoked have different names,
/// unless two nodes made them at the same moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if is_label(text) { Ok(Self(text.to_owned())) } else { Err(ParseIdError::NotAName(text.to_owned())) }
    }
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// SHA-256 of a key's whole text. The secret in it is 256 random bits, so nobody can go through all of them, and what slows
/// down the guessing of passwords (salt, many rounds) would only slow down every request.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash whose bytes these are.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl PartialEq for KeyHash {
    /// In the same time wherever they differ, so that nobody learns by trying how much was right.
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| D::Error::custom("a hash of a key is 64 hexadecimal digits"))
    }
}

/// A key as the store has it. Written once: it is revoked by another entry, and never changed. A program that does not
/// know a field of it serves nobody by it, as the field may forbid just that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRecord {
    /// What people call it.
    pub name: KeyName,
    /// What its text hashes to.
    pub hash: KeyHash,
    /// When it was made.
    pub created: UnixMillis,
    /// From when on it is of no use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixMillis>,
    /// What it may be used for.
    #[serde(default)]
    pub grant: KeyGrant,
}

impl KeyRecord {
    /// Whether it is still of use at `now`.
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// What a key may be used for, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct KeyGrant {
    /// The endpoints that it is good for; empty for all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub endpoints: BTreeSet<EndpointName>,
    /// Requests in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// Tokens of prompts and answers in a day (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How urgent its requests are.
    pub priority: Priority,
    /// Its share of what a queue gives out among keys of the same priority, at least 1.
    pub weight: u16,
}

impl Default for KeyGrant {
    fn default() -> Self {
        Self {
            endpoints: BTreeSet::new(),
            requests_per_minute: None,
            tokens_per_minute: None,
            tokens_per_day: None,
            concurrency: None,
            priority: Priority::Normal,
            weight: 1,
        }
    }
}

impl KeyGrant {
    /// Whether it is good for `endpoint`.
    pub fn allows(&self, endpoint: &EndpointName) -> bool {
        self.endpoints.is_empty() || self.endpoints.contains(endpoint)
    }

    /// Whether any amount of it is limited.
    pub const fn is_limited(&self) -> bool {
        self.requests_per_minute.is_some()
            || self.tokens_per_minute.is_some()
            || self.tokens_per_day.is_some()
            || self.concurrency.is_some()
    }
}

/// A key as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// Which.
    pub id: KeyId,
    /// What people call it.
    pub name: KeyName,
    /// When it was made.
    pub created: UnixMillis,
    /// From when on it is of no use.
    pub expires: Option<UnixMillis>,
    /// What it may be used for.
    pub grant: KeyGrant,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// What one node's ingress has let through by a key: what others count against its limits. Rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyUse {
    /// Requests of the last minute.
    pub requests: u32,
    /// Tokens of the last minute.
    pub tokens: u32,
    /// Requests that are not finished.
    pub inflight: u32,
    /// Which day it is there, in days since the epoch (UTC), and the tokens of that day.
    pub day: u32,
    pub tokens_of_day: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> KeyRecord {
        KeyRecord {
            name: "team-a".parse().unwrap(),
            hash: KeyHash::new([0xab; 32]),
            created: UnixMillis::from_millis(1),
            expires: Some(UnixMillis::from_millis(9)),
            grant: KeyGrant { requests_per_minute: Some(60), ..KeyGrant::default() },
        }
    }

    #[test]
    fn a_record_survives_json_and_what_is_not_understood_is_not_served() {
        let text = serde_json::to_string(&record()).unwrap();
        assert_eq!(serde_json::from_str::<KeyRecord>(&text).unwrap(), record());
        let newer = text.replace("\"requestsPerMinute\":60", "\"countries\":[\"fr\"]");
        assert!(serde_json::from_str::<KeyRecord>(&newer).is_err());
        assert!(!format!("{:?}", record()).contains("ab"), "a hash is nobody's business");
    }

    #[test]
    fn hashes_are_equal_if_all_of_them_is() {
        let mut other = [7; 32];
        assert_eq!(KeyHash::new([7; 32]), KeyHash::new(other));
        for at in [0, 31] {
            other = [7; 32];
            other[at] ^= 1;
            assert_ne!(KeyHash::new([7; 32]), KeyHash::new(other));
        }
    }

    #[test]
    fn a_key_is_good_for_what_it_names_until_it_expires() {
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut record = record();
        assert!(record.grant.allows(&a) && record.grant.allows(&b));
        record.grant.endpoints = [a].into();
        assert!(!record.grant.allows(&b));
        assert!(record.is_valid(UnixMillis::from_millis(8)) && !record.is_valid(UnixMillis::from_millis(9)));
    }
}
