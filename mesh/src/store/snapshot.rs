//! What the rest of the program reads of the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use shoal_types::{
    Endpoint, EndpointName, EndpointRecord, KeyId, KeyRecord, NodeId, PastRevision, Revision, UnixMillis,
};
use tracing::warn;

use super::{
    digest::Digest,
    entry::{Entry, EntryKey},
};
use crate::identity::TokenId;

/// The store at one moment; replaced whole on every change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) endpoints: BTreeMap<EndpointName, Arc<EndpointRecord>>,
    /// Nodes that are members no more, and since when.
    pub(crate) revoked_nodes: BTreeMap<NodeId, UnixMillis>,
    /// Nodes that have joined with a token.
    pub(crate) joined_nodes: Arc<BTreeSet<NodeId>>,
    pub(crate) revoked_tokens: BTreeSet<TokenId>,
    /// Keys of clients that were not revoked, expired ones included.
    pub(crate) keys: Arc<Keys>,
    pub(crate) revoked_keys: BTreeSet<KeyId>,
    pub(crate) digest: Digest,
}

/// Keys of clients, without their secrets.
pub type Keys = BTreeMap<KeyId, Arc<KeyRecord>>;

/// The body of an endpoint's entry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EndpointBody {
    pub(super) revision: Revision,
    pub(super) endpoint: Endpoint,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    pub(super) previous: Vec<PastRevision>,
}

/// Those that this program understands: what a newer one ran before is no reason not to run what it runs now.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PastRevision>, D::Error> {
    let previous = Vec::<Value>::deserialize(deserializer)?;
    Ok(previous.into_iter().filter_map(|past| serde_json::from_value(past).ok()).collect())
}

impl Snapshot {
    /// Notes that `new` now stands where `old` stood.
    pub(super) fn replace(&mut self, old: Option<&Entry>, new: &Entry) {
        if let Some(old) = old {
            self.digest.remove(&old.key, old.rank());
        }
        self.digest.add(&new.key, new.rank());
        match &new.key {
            EntryKey::Endpoint(name) => match record(name, new) {
                Some(record) => drop(self.endpoints.insert(name.clone(), Arc::new(record))),
                None => drop(self.endpoints.remove(name)),
            },
            EntryKey::RevokedNode(node) => drop(self.revoked_nodes.insert(*node, new.version.time)),
            EntryKey::RevokedToken(token) => drop(self.revoked_tokens.insert(*token)),
            EntryKey::Key(key) => self.replace_key(*key, new),
            EntryKey::RevokedKey(key) => {
                self.revoked_keys.insert(*key);
                if self.keys.contains_key(key) {
                    Arc::make_mut(&mut self.keys).remove(key);
                }
            }
            EntryKey::SpentToken(_, node) => drop(Arc::make_mut(&mut self.joined_nodes).insert(*node)),
            EntryKey::Token(_) | EntryKey::RetiredRoot(_) => {}
        }
    }

    /// Whatever comes first, a key that was revoked is none.
    fn replace_key(&mut self, key: KeyId, new: &Entry) {
        let record = if self.revoked_keys.contains(&key) { None } else { key_record(key, new) };
        match record {
            Some(record) => drop(Arc::make_mut(&mut self.keys).insert(key, Arc::new(record))),
            None if self.keys.contains_key(&key) => drop(Arc::make_mut(&mut self.keys).remove(&key)),
            None => {}
        }
    }

    /// Notes that nothing stands where `old`, an endpoint's entry, stood.
    pub(super) fn remove(&mut self, old: &Entry) {
        self.digest.remove(&old.key, old.rank());
        if let EntryKey::Endpoint(name) = &old.key {
            self.endpoints.remove(name);
        }
    }
}

/// The key that `entry` describes. One that this program does not understand is kept and passed on, and serves nobody here.
fn key_record(key: KeyId, entry: &Entry) -> Option<KeyRecord> {
    let record = serde_json::from_str(entry.body.as_deref()?);
    record
        .inspect_err(|error| {
            let writer = entry.version.node;
            warn!(%key, %writer, %error, "a key cannot be read, perhaps a newer node wrote it; it is kept, and not accepted");
        })
        .ok()
}

/// The endpoint that `entry` describes. One that this program does not understand is kept and passed on, not served.
fn record(name: &EndpointName, entry: &Entry) -> Option<EndpointRecord> {
    let body: EndpointBody = match serde_json::from_str(entry.body.as_deref()?) {
        Ok(body) => body,
        Err(error) => {
            let writer = entry.version.node;
            warn!(endpoint = %name, %writer, %error, "an endpoint cannot be read, perhaps a newer node wrote it; it is kept");
            return None;
        }
    };
    if body.endpoint.metadata.name != *name {
        warn!(endpoint = %name, inside = %body.endpoint.metadata.name, "an endpoint names itself otherwise; it is kept");
        return None;
    }
    Some(EndpointRecord {
        endpoint: body.endpoint,
        revision: body.revision,
        version: entry.version,
        previous: body.previous,
    })
}
