//! The store's file: redb, one table of entries and one of numbers. Everything here blocks.

use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
};
use shoal_types::UnixMillis;

use super::{
    StoreError,
    entry::{Entry, EntryKey},
};

/// By the text of the key, as JSON: readable without this program, and independent of the frame version.
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Physical part of the latest tick of the node's hybrid clock.
const CLOCK: &str = "clock";
/// When this node last had everything that its peers have.
const SEEN: &str = "seen";

/// The open file.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// `None` only while it could not be opened again after an error.
    database: Option<Database>,
}

/// What was in it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) entries: Vec<Entry>,
    pub(super) clock: UnixMillis,
    pub(super) seen: Option<UnixMillis>,
}

/// One transaction: all of it, or nothing.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    pub(super) put: Vec<&'a Entry>,
    pub(super) remove: Vec<&'a EntryKey>,
    pub(super) clock: UnixMillis,
    /// `None` leaves what is written there.
    pub(super) seen: Option<UnixMillis>,
}

impl Disk {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file, or makes it, and reads all of it.
    pub(super) fn open(path: &Path) -> Result<(Self, Loaded), StoreError> {
        let database = open(path)?;
        let loaded = load(&database, path)?;
        Ok((Self { path: path.to_owned(), database: Some(database) }, loaded))
    }

    /// As after an error.
    #[cfg(test)]
    pub(super) fn close(&mut self) {
        self.database = None;
    }

    /// Writes `batch`; it is on the disk, not in a cache, when this returns.
    pub(super) fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
        match write(&database, batch) {
            Ok(()) => {
                self.database = Some(database);
                Ok(())
            }
            // After an I/O error redb refuses everything until the file is opened anew, which the next write does: a
            // disk that was full for a while must not need a restart.
            Err(source) => {
                drop(database);
                Err(StoreError::Disk { action: "write", path: self.path.clone(), source: Box::new(source) })
            }
        }
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    Database::create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        DatabaseError::Storage(StorageError::Corrupted(reason)) => damaged(reason),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            damaged(error.to_string())
        }
        DatabaseError::RepairAborted => damaged("its repair was broken off".to_owned()),
        DatabaseError::UpgradeRequired(version) => damaged(format!("format {version} is not read by this version")),
        other => StoreError::Disk { action: "open", path: path.to_owned(), source: Box::new(other.into()) },
    })
}

fn load(database: &Database, path: &Path) -> Result<Loaded, StoreError> {
    let failed = |source: redb::Error| match source {
        redb::Error::Corrupted(reason) => StoreError::Damaged { path: path.to_owned(), reason },
        source => StoreError::Disk { action: "read", path: path.to_owned(), source: Box::new(source) },
    };
    let rows = read(database).map_err(failed)?;
    let parse = |(key, value): (String, Vec<u8>)| {
        let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
        let entry: Entry = serde_json::from_slice(&value).map_err(|error| damaged(format!("entry {key}: {error}")))?;
        if entry.key.to_string() == key { Ok(entry) } else { Err(damaged(format!("entry {key} holds {}", entry.key))) }
    };
    Ok(Loaded {
        entries: rows.entries.into_iter().map(parse).collect::<Result<_, _>>()?,
        clock: UnixMillis::from_millis(rows.clock.unwrap_or_default()),
        seen: rows.seen.map(UnixMillis::from_millis),
    })
}

struct Rows {
    entries: Vec<(String, Vec<u8>)>,
    clock: Option<u64>,
    seen: Option<u64>,
}

fn read(database: &Database) -> Result<Rows, redb::Error> {
    // Makes the tables of a new file.
    let transaction = database.begin_write()?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(NUMBERS)?;
    transaction.commit()?;
    let transaction = database.begin_read()?;
    let mut entries = Vec::new();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (key, value) = row?;
        entries.push((key.value().to_owned(), value.value().to_vec()));
    }
    let numbers = transaction.open_table(NUMBERS)?;
    let number = |name| Ok::<_, redb::Error>(numbers.get(name)?.map(|number| number.value()));
    Ok(Rows { entries, clock: number(CLOCK)?, seen: number(SEEN)? })
}

fn write(database: &Database, batch: &Batch<'_>) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        for entry in &batch.put {
            let value = serde_json::to_vec(entry).map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            entries.insert(entry.key.to_string().as_str(), value.as_slice())?;
        }
        for key in &batch.remove {
            entries.remove(key.to_string().as_str())?;
        }
        let mut numbers = transaction.open_table(NUMBERS)?;
        numbers.insert(CLOCK, batch.clock.as_millis())?;
        if let Some(seen) = batch.seen {
            numbers.insert(SEEN, seen.as_millis())?;
        }
    }
    transaction.commit()?;
    Ok(())
}
