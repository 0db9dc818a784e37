//! That the root of the mesh was replaced, as an entry of the store: so every node hears of it, whenever it comes.

use shoal_types::UnixMillis;

use super::{
    Store, StoreError,
    core::Core,
    entry::{Entry, EntryKey},
};
use crate::identity::{IdentityError, Succession};

impl Store {
    /// Makes `succession` hold, here and wherever the entry comes.
    pub(crate) async fn succeed(&self, succession: &Succession, now: UnixMillis) -> Result<(), StoreError> {
        let key = EntryKey::RetiredRoot(succession.old_root().map_err(StoreError::Signing)?);
        self.add(key, serde_json::to_string(&succession.to_string())?, now).await
    }
}

impl Core {
    /// Whether `entry`, if it replaces the root, is what both roots have signed.
    pub(super) fn judge_succession(&self, entry: &Entry) -> Result<(), String> {
        let EntryKey::RetiredRoot(root) = &entry.key else { return Ok(()) };
        let succession = succession(entry)?;
        let old = succession.old_root().map_err(|error: IdentityError| error.to_string())?;
        if old == *root && self.roots().accepts(&succession) {
            Ok(())
        } else {
            Err(format!("it is not by the roots of this mesh that root {root} goes"))
        }
    }

    /// Trusts what `entry`, which stands, says, if it replaces the root.
    pub(super) fn follow_succession(&self, entry: &Entry) {
        let EntryKey::RetiredRoot(_) = &entry.key else { return };
        let followed = succession(entry)
            .and_then(|succession| self.follow(&succession, entry.version.time).map_err(|error| error.to_string()));
        if let Err(error) = followed {
            tracing::error!(key = %entry.key, %error, "the root of the mesh was replaced, and this node cannot follow");
        }
    }

    /// Which root entries are about comes before what it has signed.
    pub(super) fn roots_first(entries: &mut [Entry]) {
        entries.sort_by_key(|entry| !matches!(entry.key, EntryKey::RetiredRoot(_)));
    }
}

fn succession(entry: &Entry) -> Result<Succession, String> {
    let body = entry.body.as_deref().unwrap_or_default();
    let text: String = serde_json::from_str(body).map_err(|error| error.to_string())?;
    text.parse().map_err(|error: crate::identity::IssuingError| error.to_string())
}
