//! Keys of clients, as entries of the store.
//!
//! Making a key and revoking it are two entries, and both are never taken back. So a revocation wins over whatever is said
//! of its key at the same time elsewhere, in whatever order the two arrive, and also at a node that was away for longer
//! than deletions are remembered.

use std::sync::Arc;

use shoal_types::{KeyId, KeyName, KeyRecord, KeyStatus, UnixMillis};
use tokio::sync::watch;

use super::{
    Store, StoreError,
    core::Core,
    entry::{Entry, EntryKey},
    snapshot::Keys,
    tokens::NOTHING_MORE,
};

/// Most keys that are made, revoked ones included: a quarter of the store, so that endpoints always find room.
pub(super) const KEYS_MAX: usize = 5_000;

impl Store {
    /// Notes a key before it is shown to anybody.
    pub(crate) async fn note_key(&self, id: KeyId, record: KeyRecord, now: UnixMillis) -> Result<(), StoreError> {
        self.check_writable(now)?;
        let entry = self.blocking(move |core| core.add_key(id, &record, now)).await?;
        self.push(entry);
        Ok(())
    }

    /// All keys, made anywhere, the oldest first.
    pub(crate) async fn all_keys(&self) -> Result<Vec<KeyStatus>, StoreError> {
        self.blocking(|core| Ok(core.all_keys())).await
    }

    /// Makes a key good for nothing any more.
    pub(crate) async fn revoke_key(&self, key: KeyId, now: UnixMillis) -> Result<(), StoreError> {
        let known = self.blocking(move |core| Ok(core.contains(&EntryKey::Key(key)))).await?;
        if !known {
            return Err(StoreError::UnknownKey { key });
        }
        self.add(EntryKey::RevokedKey(key), NOTHING_MORE.to_owned(), now).await
    }

    /// The keys that were not revoked, as they are and whenever they change.
    pub fn keys(&self) -> watch::Receiver<Arc<Keys>> {
        self.watch_keys()
    }
}

impl Core {
    fn add_key(&mut self, id: KeyId, record: &KeyRecord, now: UnixMillis) -> Result<Arc<Entry>, StoreError> {
        if let Some(key) = self.key_named(&record.name) {
            return Err(StoreError::KeyExists { name: record.name.clone(), key });
        }
        if self.entries().filter(|entry| key_of(entry).is_some()).count() >= KEYS_MAX {
            return Err(StoreError::TooManyKeys { max: KEYS_MAX });
        }
        self.write(EntryKey::Key(id), serde_json::to_string(record)?, now)
    }

    /// The key of this name, unless it was revoked.
    pub(super) fn key_named(&self, name: &KeyName) -> Option<KeyId> {
        let is_named = |key: &KeyId| self.key(*key).is_some_and(|known| known.name == *name);
        self.entries().filter_map(|entry| key_of(entry)).find(is_named)
    }

    fn all_keys(&self) -> Vec<KeyStatus> {
        let status = |entry: &Arc<Entry>| {
            let id = key_of(entry)?;
            let KeyRecord { name, hash: _, created, expires, grant } =
                serde_json::from_str(entry.body.as_deref()?).ok()?;
            let revoked = self.contains(&EntryKey::RevokedKey(id));
            Some(KeyStatus { id, name, created, expires, grant, revoked })
        };
        let mut keys: Vec<KeyStatus> = self.entries().filter_map(status).collect();
        keys.sort_by_key(|key| (key.created, key.id));
        keys
    }
}

fn key_of(entry: &Entry) -> Option<KeyId> {
    match entry.key {
        EntryKey::Key(key) => Some(key),
        EntryKey::Endpoint(_)
        | EntryKey::Token(_)
        | EntryKey::RevokedToken(_)
        | EntryKey::SpentToken(..)
        | EntryKey::RevokedNode(_)
        | EntryKey::RevokedKey(_)
        | EntryKey::RetiredRoot(_) => None,
    }
}
