//! The latest requests, for whoever asks why one went where it did.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::RequestRecord;

/// Requests that are remembered. One takes about 600 bytes where it had a handful of replicas to choose from, and at most
/// 12 KiB: 2.5 MB usually, 48 MiB at worst.
const RECORDS_MAX: usize = 4096;
/// How long.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(600);
/// Most records that are given out of one id: clients choose ids, and may use one for everything.
const SAME_ID_MAX: usize = 16;

/// The latest requests, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<(Instant, Arc<RequestRecord>)>>);

impl Recent {
    /// Remembers `record`, which is of `now`.
    pub(crate) fn add(&self, record: Arc<RequestRecord>, now: Instant) {
        let gone = {
            let mut records = self.lock();
            records.push_back((now, record));
            let full = records.len() > RECORDS_MAX;
            let old = records.front().is_some_and(|(at, _)| *at + KEPT_FOR < now);
            // One for one: an idle time leaves old ones behind, which nobody is told of.
            if full || old { records.pop_front() } else { None }
        };
        drop(gone); // it is freed without the lock
    }

    /// The requests with this id, the newest first.
    pub(crate) fn find(&self, id: &str) -> Vec<Arc<RequestRecord>> {
        let records = self.lock();
        let same = young(&records).filter(|record| record.id == id);
        same.take(SAME_ID_MAX).map(Arc::clone).collect()
    }

    /// The newest, newest first, at most `limit`.
    pub(crate) fn latest(&self, limit: usize) -> Vec<Arc<RequestRecord>> {
        young(&self.lock()).take(limit).map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Arc<RequestRecord>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that are not too old, the newest first.
fn young(records: &VecDeque<(Instant, Arc<RequestRecord>)>) -> impl Iterator<Item = &Arc<RequestRecord>> {
    let now = Instant::now();
    records.iter().rev().take_while(move |(at, _)| *at + KEPT_FOR >= now).map(|(_, record)| record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::record;

    /// Rule 9: everything is bounded.
    #[tokio::test(start_paused = true)]
    async fn requests_are_remembered_within_bounds_of_number_and_time() {
        let recent = Recent::default();
        for number in 0..=RECORDS_MAX {
            recent.add(Arc::new(record(&number.to_string())), Instant::now());
        }
        assert_eq!(recent.lock().len(), RECORDS_MAX);
        assert!(recent.find("0").is_empty());
        assert_eq!(recent.find("1").len(), 1);
        let latest: Vec<_> = recent.latest(2).iter().map(|record| record.id.clone()).collect();
        assert_eq!(latest, [RECORDS_MAX.to_string(), (RECORDS_MAX - 1).to_string()]);
        for _ in 0..20 {
            recent.add(Arc::new(record("same")), Instant::now());
        }
        assert_eq!(recent.find("same").len(), SAME_ID_MAX);
        tokio::time::advance(KEPT_FOR + Duration::from_secs(1)).await;
        assert!(recent.find("same").is_empty() && recent.latest(1).is_empty());
    }
}
