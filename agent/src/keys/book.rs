//! What clients of this node's ingress used, by day, key and endpoint.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use shoal_ingress::{KeyCounts, KeyUsage};
use shoal_types::{EndpointName, KeyId, UnixMillis};
use tracing::{error, warn};

use crate::state_file::{StateFile, StateFileError};

/// Days that are kept, today included: a month and what is needed to look back at it.
pub(crate) const DAYS_KEPT: u32 = 35;
/// Most rows of all days, some 100 bytes each on disk. Beyond it the oldest days go.
const ROWS_MAX: usize = 50_000;
const DAY_MILLIS: u64 = 24 * 3600 * 1000;

/// Days since the epoch, in UTC.
pub(crate) fn day_of(now: UnixMillis) -> u32 {
    u32::try_from(now.as_millis() / DAY_MILLIS).unwrap_or(u32::MAX)
}

/// `day` as people write it: `2026-11-30`.
pub(crate) fn day_text(day: u32) -> String {
    let mut text = UnixMillis::from_millis(u64::from(day) * DAY_MILLIS).to_string();
    text.truncate("2026-11-30".len());
    text
}

/// One row of the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageRow {
    /// Days since the epoch, in UTC.
    pub(crate) day: u32,
    /// Who.
    pub(crate) key: KeyId,
    /// Of what.
    pub(crate) endpoint: EndpointName,
    /// How much.
    pub(crate) counts: KeyCounts,
}

type Rows = BTreeMap<KeyId, BTreeMap<EndpointName, KeyCounts>>;

/// The pages, as they are on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Pages {
    days: BTreeMap<u32, Rows>,
}

impl Pages {
    fn enter(&mut self, usage: impl IntoIterator<Item = KeyUsage>, today: u32) {
        for KeyUsage { key, endpoint, counts } in usage {
            let rows = self.days.entry(today).or_default();
            rows.entry(key).or_default().entry(endpoint).or_default().add(&counts);
        }
        self.days.retain(|day, _| today.saturating_sub(*day) < DAYS_KEPT);
        while self.len() > ROWS_MAX && self.days.len() > 1 {
            let gone = self.days.pop_first().map(|(day, _)| day_text(day));
            warn!(day = gone, "More was used by more keys than is kept: the usage of a day is forgotten");
        }
    }

    fn len(&self) -> usize {
        self.days.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }

    fn tokens_of(&self, day: u32) -> HashMap<KeyId, u64> {
        let tokens = |counts: &BTreeMap<EndpointName, KeyCounts>| counts.values().map(KeyCounts::tokens).sum();
        self.days.get(&day).into_iter().flatten().map(|(key, counts)| (*key, tokens(counts))).collect()
    }

    fn rows(&self, since: u32) -> Vec<UsageRow> {
        let rows =
            self.days.range(since..).flat_map(|(day, rows)| rows.iter().map(move |(key, used)| (day, key, used)));
        rows.flat_map(|(day, key, used)| {
            let row = |(endpoint, counts): (&EndpointName, &KeyCounts)| UsageRow {
                day: *day,
                key: *key,
                endpoint: endpoint.clone(),
                counts: *counts,
            };
            used.iter().map(row).collect::<Vec<_>>()
        })
        .collect()
    }
}

/// The book of this node; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct UsageBook {
    pages: Arc<Mutex<Pages>>,
    file: Arc<StateFile<Pages>>,
}

impl UsageBook {
    /// Opens the book in `state_dir`; an empty one, and a line in the log, if it cannot be read. Blocks.
    pub(crate) fn open(state_dir: &Path) -> Self {
        let file = StateFile::new(state_dir, "key-usage.json", "which says what clients used");
        let pages = file.read().unwrap_or_else(|error| {
            error!(%error, "What clients used at this node is lost");
            Pages::default()
        });
        Self { pages: Arc::new(Mutex::new(pages)), file: Arc::new(file) }
    }

    /// Enters `usage` under `today`.
    pub(super) fn enter(&self, usage: impl IntoIterator<Item = KeyUsage>, today: u32) {
        self.lock().enter(usage, today);
    }

    /// Tokens of `day` by key.
    pub(super) fn tokens_of(&self, day: u32) -> HashMap<KeyId, u64> {
        self.lock().tokens_of(day)
    }

    /// What was used on `since` and later.
    pub(crate) fn rows(&self, since: u32) -> Vec<UsageRow> {
        self.lock().rows(since)
    }

    /// On disk when it returns. Blocks.
    pub(super) fn write(&self) -> Result<(), StateFileError> {
        let pages = self.lock().clone();
        self.file.write(&pages)
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(key: u8, endpoint: &str, completion: u64) -> KeyUsage {
        let counts = KeyCounts { requests: 1, prompt: 1, completion, cached: 0 };
        KeyUsage { key: KeyId::from_bytes([key; 10]), endpoint: endpoint.parse().unwrap(), counts }
    }

    #[test]
    fn usage_adds_up_by_day_key_and_endpoint_and_survives() {
        let dir = tempfile::tempdir().unwrap();
        let book = UsageBook::open(dir.path());
        book.enter([usage(1, "a", 10), usage(1, "b", 20), usage(2, "a", 30)], 100);
        book.enter([usage(1, "a", 1)], 100);
        book.enter([usage(1, "a", 5)], 101);
        book.write().unwrap();
        let book = UsageBook::open(dir.path());
        let rows: Vec<_> =
            book.rows(100).into_iter().map(|row| (row.day, row.endpoint.to_string(), row.counts)).collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0], (100, "a".to_owned(), KeyCounts { requests: 2, prompt: 2, completion: 11, cached: 0 }));
        assert_eq!(book.rows(101).len(), 1);
        assert_eq!(book.tokens_of(100)[&KeyId::from_bytes([1; 10])], 34);
    }

    #[test]
    fn old_days_are_forgotten() {
        let mut pages = Pages::default();
        pages.enter([usage(1, "a", 1)], 100);
        pages.enter([usage(1, "a", 1)], 100 + DAYS_KEPT - 1);
        assert_eq!(pages.len(), 2);
        pages.enter([], 100 + DAYS_KEPT);
        assert_eq!(pages.len(), 1);
    }

    #[test]
    fn days_are_those_of_utc() {
        let day = day_of(UnixMillis::from_millis(1_796_083_199_999));
        assert_eq!((day_text(day), day_text(day + 1)), ("2026-11-30".to_owned(), "2026-12-01".to_owned()));
    }
}
