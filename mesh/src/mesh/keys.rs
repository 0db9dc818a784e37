//! Keys of clients: made here, good at every node.

use shoal_types::{KeyGrant, KeyHash, KeyId, KeyName, KeyRecord, KeyStatus, UnixMillis, key_text};

use super::{Mesh, MeshError};
use crate::{
    clock,
    identity::{random, sha256},
};

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// Names it without giving it away.
    pub id: KeyId,
    /// All of it. It is kept nowhere, so this is the only time that anybody sees it.
    pub text: String,
}

impl Mesh {
    /// Makes a key, on record in the store before it is returned. Live nodes accept it as soon as they were pushed the entry,
    /// which takes a round trip; others once they compare stores.
    ///
    /// # Errors
    /// If there is a key of that name, or why it could not be recorded.
    pub async fn create_key(
        &self,
        name: KeyName,
        grant: KeyGrant,
        expires: Option<UnixMillis>,
    ) -> Result<NewKey, MeshError> {
        let id = KeyId::from_bytes(random()?);
        let text = key_text(id, &random()?);
        let (created, hash) = (clock::now(), KeyHash::new(sha256(text.as_bytes())));
        self.store.note_key(id, KeyRecord { name, hash, created, expires, grant }, created).await?;
        Ok(NewKey { id, text })
    }

    /// All keys of the mesh, the oldest first, without their secrets.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn keys(&self) -> Result<Vec<KeyStatus>, MeshError> {
        Ok(self.store.all_keys().await?)
    }

    /// Takes a key back, for good.
    ///
    /// # Errors
    /// If there is no such key, or it could not be written.
    pub async fn revoke_key(&self, key: KeyId) -> Result<(), MeshError> {
        Ok(self.store.revoke_key(key, clock::now()).await?)
    }
}
