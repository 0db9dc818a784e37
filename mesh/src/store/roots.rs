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
    ///
    /// # Errors
    /// [`StoreError::Succession`] if it is not of this mesh, or another root has taken the place already.
    pub(crate) async fn succeed(&self, succession: &Succession, now: UnixMillis) -> Result<(), StoreError> {
        self.check_writable(now)?;
        let key = EntryKey::RetiredRoot(succession.old_root().map_err(StoreError::Signing)?);
        let (body, succession) = (serde_json::to_string(&succession.to_string())?, succession.clone());
        let written = self.blocking(move |core| {
            core.roots().judge(&succession).map_err(StoreError::Succession)?;
            core.add(key, body, now)
        });
        written.await?.into_iter().for_each(|entry| self.push(entry));
        Ok(())
    }
}

impl Core {
    /// Whether `entry`, if it replaces the root, is what both roots have signed.
    pub(super) fn judge_succession(&self, entry: &Entry) -> Result<(), String> {
        let EntryKey::RetiredRoot(root) = &entry.key else { return Ok(()) };
        let succession = succession(entry)?;
        let old = succession.old_root().map_err(|error: IdentityError| error.to_string())?;
        if old == *root { self.roots().judge(&succession) } else { Err(format!("it is about root {old}, not {root}")) }
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

    /// The same of all `entries`, whichever comes first: one may count only once another does.
    pub(super) fn follow_successions(&self, entries: &[Entry]) {
        let mut waiting: Vec<&Entry> = entries.iter().filter(|entry| entry.key.is_of_roots()).collect();
        while let Some(next) = waiting.iter().position(|entry| self.judge_succession(entry).is_ok()) {
            self.follow_succession(waiting.swap_remove(next));
        }
        // What is left says why it cannot be followed.
        waiting.into_iter().for_each(|entry| self.follow_succession(entry));
    }
}

fn succession(entry: &Entry) -> Result<Succession, String> {
    let body = entry.body.as_deref().unwrap_or_default();
    let text: String = serde_json::from_str(body).map_err(|error| error.to_string())?;
    text.parse().map_err(|error: crate::identity::IssuingError| error.to_string())
}
