//! Putting back what a backup has and the store has not.
//!
//! What was made or revoked is in grow-only sets, so restoring can only add to them: a revoked node, key or token stays
//! revoked, whichever of the two says so. Endpoints can have changed since, and are put back as new writes of this node.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointName, KeyName, KeyRecord, UnixMillis};

use super::{
    Store, StoreError,
    backup::{Backup, Origin},
    core::Core,
    entry::{Entry, EntryKey},
    snapshot::EndpointBody,
};

/// How to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Also endpoints that are there and differ.
    pub replace: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What becomes of one entry of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Which, such as `endpoint/llama`.
    pub what: String,
    /// What is done about it.
    pub outcome: RestoreOutcome,
}

/// See [`Restored`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestoreOutcome {
    /// It was not there, and is put back.
    Created,
    /// An endpoint that was there otherwise, and is put back as it was.
    Replaced,
    /// It is there already.
    Unchanged,
    /// An endpoint that is there otherwise, and stays as it is.
    Differs,
    /// It was revoked since, and stays so.
    StaysRevoked,
    /// A join token or a root of another mesh, which would lead nowhere.
    OfAnotherMesh,
    /// There is another key of this name.
    NameTaken,
    /// This store cannot take it.
    Refused(String),
}

impl fmt::Display for RestoreOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Differs => "differs, left as it is (--replace puts it back)",
            Self::StaysRevoked => "was revoked since, stays revoked",
            Self::OfAnotherMesh => "of another mesh, left out",
            Self::NameTaken => "another key has this name, left out",
            Self::Refused(why) => return write!(f, "refused: {why}"),
        })
    }
}

impl Store {
    /// All that stands here, deletions left out.
    pub(crate) async fn backup(&self, origin: Origin) -> Result<Backup, StoreError> {
        let entries = self.blocking(|core| {
            Ok(core.entries().filter(|entry| !entry.is_tombstone()).map(|entry| Entry::clone(entry)).collect())
        });
        Ok(Backup::new(origin, entries.await?))
    }

    /// Puts back what `backup` has and this store has not. What a later step fails at does not undo an earlier one, and
    /// doing it again does the rest.
    pub(crate) async fn restore(
        &self,
        backup: Backup,
        options: RestoreOptions,
        now: UnixMillis,
    ) -> Result<Vec<Restored>, StoreError> {
        self.check_writable(now)?;
        let (restored, written) = self
            .blocking(move |core| {
                let mut written = Vec::new();
                let restored = core.restore(backup, options, now, &mut written)?;
                Ok((restored, written))
            })
            .await?;
        written.into_iter().for_each(|entry| self.push(entry));
        Ok(restored)
    }
}

const fn is_revocation(key: &EntryKey) -> bool {
    matches!(key, EntryKey::RevokedToken(_) | EntryKey::RevokedNode(_) | EntryKey::RevokedKey(_))
}

/// How an entry is put back.
enum Step {
    Leave(RestoreOutcome),
    /// As this node's own write.
    Apply(Box<EndpointBody>, RestoreOutcome),
    /// As it is, with the signature of who wrote it.
    Merge,
    /// As this node's own write, since its writer is of another mesh.
    Write(String),
}

impl Core {
    pub(super) fn restore(
        &mut self,
        mut backup: Backup,
        options: RestoreOptions,
        now: UnixMillis,
        written: &mut Vec<Arc<Entry>>,
    ) -> Result<Vec<Restored>, StoreError> {
        self.may_write()?;
        // Whatever stops it half way, nothing is good again that the backup says is not.
        backup.entries.sort_by_key(|entry| !is_revocation(&entry.key));
        let same_mesh = backup.origin.mesh == self.mesh();
        let (mut restored, mut merged) = (Vec::with_capacity(backup.entries.len()), Vec::new());
        for entry in backup.entries {
            let what = entry.key.to_string();
            let step = self.step(&entry, same_mesh, options.replace);
            let outcome = match (step, options.dry_run) {
                (Step::Leave(outcome), _) | (Step::Apply(_, outcome), true) => outcome,
                (Step::Merge | Step::Write(_), true) => RestoreOutcome::Created,
                (Step::Apply(body, outcome), false) => {
                    written.extend(self.apply(body.endpoint, None, now)?.1);
                    outcome
                }
                (Step::Merge, false) => {
                    merged.push((restored.len(), entry));
                    RestoreOutcome::Created
                }
                (Step::Write(body), false) => {
                    written.extend(self.add(entry.key, body, now)?);
                    RestoreOutcome::Created
                }
            };
            restored.push(Restored { what, outcome });
        }
        // In one write, as there can be thousands.
        self.merge(self.node(), merged.iter().map(|(_, entry)| entry.clone()).collect(), now)?;
        for (index, entry) in merged.iter().filter(|(_, entry)| !self.contains(&entry.key)) {
            let why = format!("what node {} signed does not count here; the log says why", entry.version.node);
            restored[*index].outcome = RestoreOutcome::Refused(why);
        }
        Ok(restored)
    }

    fn step(&self, entry: &Entry, same_mesh: bool, replace: bool) -> Step {
        if let Err(why) = entry.check() {
            return Step::Leave(RestoreOutcome::Refused(why));
        }
        let Some(body) = entry.body.clone() else {
            return Step::Leave(RestoreOutcome::Refused("it is a deletion".to_owned()));
        };
        match &entry.key {
            EntryKey::Endpoint(name) => self.endpoint_step(name, &body, replace),
            key if self.contains(key) => Step::Leave(match key {
                EntryKey::Key(id) if self.contains(&EntryKey::RevokedKey(*id)) => RestoreOutcome::StaysRevoked,
                EntryKey::Token(id) if self.contains(&EntryKey::RevokedToken(*id)) => RestoreOutcome::StaysRevoked,
                _ => RestoreOutcome::Unchanged,
            }),
            EntryKey::RevokedNode(node) if *node == self.node() => {
                Step::Leave(RestoreOutcome::Refused("it is this node: restore at another one".to_owned()))
            }
            EntryKey::Key(id) if self.contains(&EntryKey::RevokedKey(*id)) => Step::Leave(RestoreOutcome::StaysRevoked),
            EntryKey::Key(_) if self.has_key_named_as(&body) => Step::Leave(RestoreOutcome::NameTaken),
            EntryKey::Key(_)
            | EntryKey::RevokedKey(_)
            | EntryKey::RevokedNode(_)
            | EntryKey::Token(_)
            | EntryKey::RevokedToken(_)
            | EntryKey::SpentToken(..)
            | EntryKey::RetiredRoot(_)
                if same_mesh =>
            {
                Step::Merge
            }
            EntryKey::Key(_) | EntryKey::RevokedKey(_) | EntryKey::RevokedNode(_) => Step::Write(body),
            EntryKey::Token(_) | EntryKey::RevokedToken(_) | EntryKey::SpentToken(..) | EntryKey::RetiredRoot(_) => {
                Step::Leave(RestoreOutcome::OfAnotherMesh)
            }
        }
    }

    fn endpoint_step(&self, name: &EndpointName, body: &str, replace: bool) -> Step {
        let body: EndpointBody = match serde_json::from_str(body) {
            Ok(body) => body,
            Err(error) => return Step::Leave(RestoreOutcome::Refused(format!("this version cannot read it: {error}"))),
        };
        match self.endpoint(name) {
            Some(record) if record.endpoint == body.endpoint => Step::Leave(RestoreOutcome::Unchanged),
            Some(_) if !replace => Step::Leave(RestoreOutcome::Differs),
            Some(_) => Step::Apply(Box::new(body), RestoreOutcome::Replaced),
            None => Step::Apply(Box::new(body), RestoreOutcome::Created),
        }
    }

    /// Whether a key that counts has the name of the one that `body` describes.
    fn has_key_named_as(&self, body: &str) -> bool {
        let name: Option<KeyName> = serde_json::from_str(body).map(|record: KeyRecord| record.name).ok();
        name.is_some_and(|name| self.key_named(&name).is_some())
    }
}
