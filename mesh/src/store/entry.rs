//! One entry of the store, as it is signed, sent and kept.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use shoal_types::{EndpointName, Hlc, KeyId, MeshId, NodeId, wire};

use super::merge::Rank;
use crate::identity::TokenId;

/// Largest body, in bytes. A spec is a few kilobytes; a frame carries several entries.
pub(super) const BODY_MAX: usize = 64 << 10;
/// Most certificates of a chain, and largest certificate.
const CHAIN_MAX: usize = 3;
const CERTIFICATE_MAX: usize = 4 << 10;
const SIGNATURE_LEN: usize = 64;

/// What an entry is about. New kinds are added at the end, with a new frame version; see [`EntryKey::protocol`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum EntryKey {
    /// An endpoint; the only kind that can be deleted.
    Endpoint(EndpointName),
    /// A join token that was made, without its secret.
    Token(TokenId),
    /// A join token that admits nobody any more.
    RevokedToken(TokenId),
    /// One use of a join token.
    SpentToken(TokenId, NodeId),
    /// A node that is no longer a member.
    RevokedNode(NodeId),
    /// A key of a client that was made, without its secret.
    Key(KeyId),
    /// A key of a client that is good for nothing any more.
    RevokedKey(KeyId),
    /// A root that another has taken the place of, by the id of a mesh that began with it.
    RetiredRoot(MeshId),
}

impl EntryKey {
    /// Whether entries of this kind may be deleted; the others are grow-only sets.
    const fn can_be_deleted(&self) -> bool {
        match self {
            Self::Endpoint(_) => true,
            Self::Token(_)
            | Self::RevokedToken(_)
            | Self::SpentToken(..)
            | Self::RevokedNode(_)
            | Self::Key(_)
            | Self::RevokedKey(_)
            | Self::RetiredRoot(_) => false,
        }
    }

    /// Whether the root of the mesh is replaced by entries of this kind: they come before what the roots have signed.
    pub(super) const fn is_of_roots(&self) -> bool {
        matches!(self, Self::RetiredRoot(_))
    }

    /// The place of a write among those under this key. When a root went is said once: whoever said it later does not move
    /// the moment until which writes under it count.
    pub(super) const fn rank(&self, version: Hlc, tombstone: bool) -> Rank {
        if self.is_of_roots() { Rank::of_first(version) } else { Rank::new(version, tombstone) }
    }

    /// The oldest frame version in which there are entries of this kind. Who speaks an older one is not sent any: it could
    /// not read the frame, and with it nothing else that is in it.
    pub(super) const fn protocol(&self) -> u8 {
        match self {
            Self::RetiredRoot(_) => 3,
            Self::Key(_) | Self::RevokedKey(_) => 2,
            Self::Endpoint(_)
            | Self::Token(_)
            | Self::RevokedToken(_)
            | Self::SpentToken(..)
            | Self::RevokedNode(_) => wire::PROTOCOL_MIN,
        }
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(name) => write!(f, "endpoint/{name}"),
            Self::Token(token) => write!(f, "token/{token}"),
            Self::RevokedToken(token) => write!(f, "revoked-token/{token}"),
            Self::SpentToken(token, node) => write!(f, "spent-token/{token}/{node}"),
            Self::RevokedNode(node) => write!(f, "revoked-node/{node}"),
            Self::Key(key) => write!(f, "key/{key}"),
            Self::RevokedKey(key) => write!(f, "revoked-key/{key}"),
            Self::RetiredRoot(root) => write!(f, "retired-root/{root}"),
        }
    }
}

/// One write. Made by [`seal`](super::seal::seal), never changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(super) key: EntryKey,
    pub(super) version: Hlc,
    /// JSON, kept to the letter so that fields of newer programs survive; `None` is a tombstone.
    pub(super) body: Option<String>,
    /// Certificates of the writer, leaf first, in DER.
    pub(super) chain: Vec<Blob>,
    /// Over [`signed_message`], by the leaf's key.
    pub(super) signature: Blob,
}

impl Entry {
    /// Its place in the order of writes.
    pub(super) const fn rank(&self) -> Rank {
        self.key.rank(self.version, self.body.is_none())
    }

    /// Whether it is a deletion.
    pub(super) const fn is_tombstone(&self) -> bool {
        self.body.is_none()
    }

    /// What the types cannot say. Returns what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        let body = self.body.as_ref().map_or(0, String::len);
        if self.is_tombstone() && !self.key.can_be_deleted() {
            Err("it deletes what is never deleted".to_owned())
        } else if body > BODY_MAX {
            Err(format!("its body of {body} bytes is over the limit of {BODY_MAX}"))
        } else if self.chain.len() > CHAIN_MAX
            || self.chain.iter().any(|certificate| certificate.0.len() > CERTIFICATE_MAX)
        {
            Err("its certificate chain is too large".to_owned())
        } else if self.signature.0.len() == SIGNATURE_LEN {
            Ok(())
        } else {
            Err("its signature has a wrong length".to_owned())
        }
    }

    /// What it takes in a frame, at most.
    pub(super) fn frame_len(&self) -> usize {
        let chain: usize = self.chain.iter().map(|certificate| certificate.0.len() + 8).sum();
        256 + self.body.as_ref().map_or(0, String::len) + chain + self.signature.0.len()
    }
}

/// The bytes that a writer signs. Independent of the frame version: signatures outlive it.
pub(super) fn signed_message(mesh: MeshId, key: &EntryKey, version: Hlc, body: Option<&str>) -> Vec<u8> {
    let key = key.to_string();
    let (time, counter) = (version.time.as_millis().to_be_bytes(), version.counter.to_be_bytes());
    let kind: &[u8] = if body.is_some() { b"body" } else { b"tombstone" };
    let parts: [&[u8]; 7] = [
        mesh.as_bytes(),
        key.as_bytes(),
        &time,
        &counter,
        version.node.as_bytes(),
        kind,
        body.unwrap_or_default().as_bytes(),
    ];
    let mut message = b"shoal store entry v1\0".to_vec();
    for part in parts {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

/// Bytes; base64 where people may read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(super) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&BASE64.encode(&self.0))
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            BASE64.decode(text.as_bytes()).map(Self).map_err(D::Error::custom)
        } else {
            Vec::deserialize(deserializer).map(Self)
        }
    }
}
