//! The latest requests, for whoever asks why one went where it did.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::RequestRecord;
use crate::workers::PerWorker;

/// Requests that are remembered of those that something happened to. One takes about 800 bytes where it had a handful of replicas to
/// choose from, and at most 12 KiB: 3 MB usually, 48 MiB at worst.
const EVENTFUL_MAX: usize = 4096;
/// And of those that the first replica answered at once, by each worker. They are what nearly all are, so that no lock is shared for
/// them, and what is forgotten is still near when what comes takes its memory.
const PLAIN_MAX: usize = 512;
/// How long.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(600);
/// Most records that are given out of one id: clients choose ids, and may use one for everything.
const SAME_ID_MAX: usize = 16;

/// The latest requests.
#[derive(Debug)]
pub(crate) struct Recent {
    eventful: Ring,
    plain: PerWorker<Ring>,
}

/// Some of them, the newest last.
#[derive(Debug)]
struct Ring {
    records: Mutex<VecDeque<(Instant, Arc<RequestRecord>)>>,
    max: usize,
}

impl Recent {
    /// None yet, of requests that so many workers serve.
    pub(crate) fn new(workers: usize) -> Self {
        Self { eventful: Ring::new(EVENTFUL_MAX), plain: PerWorker::new(workers, || Ring::new(PLAIN_MAX)) }
    }

    /// Remembers `record`, which is of `now`.
    pub(crate) fn add(&self, record: Arc<RequestRecord>, now: Instant) {
        let ring = if record.is_plain() { self.plain.mine() } else { &self.eventful };
        ring.add(record, now);
    }

    /// The requests with this id, the newest first.
    pub(crate) fn find(&self, id: &str) -> Vec<Arc<RequestRecord>> {
        self.newest(SAME_ID_MAX, |record| record.id == id)
    }

    /// The newest, newest first, at most `limit`.
    pub(crate) fn latest(&self, limit: usize) -> Vec<Arc<RequestRecord>> {
        self.newest(limit, |_| true)
    }

    fn newest(&self, limit: usize, is_wanted: impl Fn(&RequestRecord) -> bool) -> Vec<Arc<RequestRecord>> {
        let rings = std::iter::once(&self.eventful).chain(self.plain.all());
        let mut found: Vec<_> = rings.flat_map(|ring| ring.newest(limit, &is_wanted)).collect();
        found.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        found.into_iter().take(limit).map(|(_, record)| record).collect()
    }
}

impl Ring {
    fn new(max: usize) -> Self {
        Self { records: Mutex::default(), max }
    }

    fn add(&self, record: Arc<RequestRecord>, now: Instant) {
        let gone = {
            let mut records = self.lock();
            records.push_back((now, record));
            let full = records.len() > self.max;
            let old = records.front().is_some_and(|(at, _)| *at + KEPT_FOR < now);
            // One for one: an idle time leaves old ones behind.
            if full || old { records.pop_front() } else { None }
        };
        drop(gone); // it is freed without the lock
    }

    /// Those that are not too old, the newest first, at most `limit`.
    fn newest(&self, limit: usize, is_wanted: impl Fn(&RequestRecord) -> bool) -> Vec<(Instant, Arc<RequestRecord>)> {
        let now = Instant::now();
        let (gone, found): (Vec<_>, Vec<_>) = {
            let mut records = self.lock();
            // What comes pushes old ones out, one for one; where nothing comes, whoever asks does.
            let old = records.partition_point(|(at, _)| *at + KEPT_FOR < now);
            let gone = records.drain(..old).collect();
            let wanted = records.iter().rev().filter(|(_, record)| is_wanted(record));
            (gone, wanted.take(limit).cloned().collect())
        };
        drop(gone); // without the lock, as above
        found
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Arc<RequestRecord>)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Outcome, tests::record};

    fn eventful(id: &str) -> RequestRecord {
        RequestRecord { status: Some(502), ..record(id) }
    }

    /// Rule 9: everything is bounded.
    #[tokio::test(start_paused = true)]
    async fn requests_are_remembered_within_bounds_of_number_and_time() {
        for (of, max) in [(record as fn(&str) -> RequestRecord, PLAIN_MAX), (eventful, EVENTFUL_MAX)] {
            let recent = Recent::new(0);
            for number in 0..=max {
                recent.add(Arc::new(of(&number.to_string())), Instant::now());
            }
            assert_eq!(recent.latest(usize::MAX).len(), max);
            assert!(recent.find("0").is_empty());
            assert_eq!(recent.find("1").len(), 1);
            tokio::time::advance(Duration::from_millis(1)).await;
            for _ in 0..20 {
                recent.add(Arc::new(of("same")), Instant::now());
            }
            assert_eq!(recent.find("same").len(), SAME_ID_MAX);
            tokio::time::advance(KEPT_FOR + Duration::from_secs(1)).await;
            assert!(recent.find("same").is_empty() && recent.latest(1).is_empty());
            assert!(recent.eventful.lock().is_empty() && recent.plain.mine().lock().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_something_happened_to_outlives_what_nothing_happened_to() {
        let recent = Recent::new(2);
        for number in 0..2 * PLAIN_MAX {
            let of = if number % 2 == 0 { record } else { eventful };
            recent.add(Arc::new(of(&number.to_string())), Instant::now());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        recent.add(Arc::new(record("last")), Instant::now());
        assert!(recent.find("0").is_empty() && recent.find("1").len() == 1);
        let latest: Vec<_> = recent.latest(3).iter().map(|record| record.id.clone()).collect();
        assert_eq!(latest, ["last", &(2 * PLAIN_MAX - 1).to_string(), &(2 * PLAIN_MAX - 2).to_string()]);
    }

    #[test]
    fn a_request_is_plain_if_the_first_replica_answered_it_at_once() {
        assert!(record("a").is_plain());
        let waited = [record("a").decisions, record("a").decisions].concat();
        for eventful in [
            eventful("a"),
            RequestRecord { status: None, ..record("a") },
            RequestRecord { outcome: Outcome::Broken, ..record("a") },
            RequestRecord { resumes: 1, ..record("a") },
            RequestRecord { decisions: waited, ..record("a") },
            // It stood in line from the beginning, and was chosen for once.
            RequestRecord { queued_us: Some(20_000), ..record("a") },
            RequestRecord { decisions: Vec::new(), ..record("a") },
        ] {
            assert!(!eventful.is_plain(), "{eventful:?}");
        }
    }
}
