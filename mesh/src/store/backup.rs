//! All that a store holds as text: a line that says what it is, a line for each entry, and one that seals it. Pure.
//!
//! The first line is read by any version of shoal; what follows has the form that its `format` names.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use shoal_types::{MeshId, NodeId, UnixMillis};

use super::entry::Entry;
use crate::identity::sha256;

/// What the first line says it is.
const KIND: &str = "shoal-backup";
/// The form that is written, and the only one so far.
const FORMAT: u32 = 1;

/// Why a text is not a backup that can be restored. Nothing was restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Not one at all.
    #[error("this is not a backup of shoal: its first line does not say so")]
    NotABackup,
    /// Of another version.
    #[error(
        "the backup has format {format}, and this version of shoal reads {FORMAT}: restore it with the version that made it"
    )]
    Format {
        /// The form that it has.
        format: u32,
    },
    /// Its end is missing.
    #[error("the backup is cut off: {found} of {expected} entries are there, and not the line that seals it")]
    CutOff {
        /// Entries that are there.
        found: usize,
        /// Entries that should be.
        expected: usize,
    },
    /// It is not what was written.
    #[error("the backup is damaged: it does not have the checksum that its last line says; take another copy")]
    Damaged,
    /// Whole, but not understood.
    #[error("line {line} of the backup cannot be read, perhaps a newer shoal wrote it: {reason}")]
    Unreadable {
        /// Which, from 1.
        line: usize,
        /// Why not.
        reason: String,
    },
}

/// What the first line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    kind: String,
    format: u32,
    #[serde(flatten)]
    origin: Origin,
    entries: usize,
}

/// Where and when a backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Of which mesh.
    pub mesh: MeshId,
    /// By which node.
    pub node: NodeId,
    /// When.
    pub made: UnixMillis,
}

/// The last line: SHA-256 of all bytes before it, in hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    sha256: String,
}

/// The entries of a store at one moment; deletions are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// Where it comes from.
    pub origin: Origin,
    pub(super) entries: Vec<Entry>,
}

impl Backup {
    pub(super) fn new(origin: Origin, entries: Vec<Entry>) -> Self {
        Self { origin, entries }
    }

    /// How many entries are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// It as text.
    ///
    /// # Errors
    /// Of the serializer.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let head =
            Head { kind: KIND.to_owned(), format: FORMAT, origin: self.origin.clone(), entries: self.entries.len() };
        let mut text = serde_json::to_string(&head)? + "\n";
        for entry in &self.entries {
            text += &serde_json::to_string(entry)?;
            text.push('\n');
        }
        let seal = Seal { sha256: HEXLOWER.encode(&sha256(text.as_bytes())) };
        text += &serde_json::to_string(&seal)?;
        text.push('\n');
        Ok(text)
    }

    /// The backup in `text`, if it is all there and as it was written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BackupError> {
        let head = text.lines().next().unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(head).map_err(|_| BackupError::NotABackup)?;
        if value["kind"] != KIND {
            return Err(BackupError::NotABackup);
        }
        let format = value["format"].as_u64().and_then(|format| u32::try_from(format).ok()).unwrap_or_default();
        if format != FORMAT {
            return Err(BackupError::Format { format });
        }
        let head: Head = serde_json::from_value(value)
            .map_err(|error| BackupError::Unreadable { line: 1, reason: error.to_string() })?;
        let sealed = text.strip_suffix('\n').unwrap_or(text);
        let (body, seal) = sealed.rsplit_once('\n').unwrap_or((sealed, ""));
        let Ok(seal) = serde_json::from_str::<Seal>(seal) else {
            return Err(BackupError::CutOff { found: body.lines().count().saturating_sub(1), expected: head.entries });
        };
        let covered = &text[..body.len() + 1];
        if seal.sha256 != HEXLOWER.encode(&sha256(covered.as_bytes())) || body.lines().count() != head.entries + 1 {
            return Err(BackupError::Damaged);
        }
        let entry = |(line, text): (usize, &str)| {
            serde_json::from_str(text).map_err(|error| BackupError::Unreadable { line, reason: error.to_string() })
        };
        let entries = (1..).zip(body.lines()).skip(1).map(entry).collect::<Result<_, _>>()?;
        Ok(Self { origin: head.origin, entries })
    }
}
