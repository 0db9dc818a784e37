//! How far a model has been fetched: for people, and for whoever else needs room meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use shoal_types::{Progress, ProgressUnit};
use tokio::sync::watch;

/// Watchers are told after so many bytes.
const STEP: u64 = 4 << 20;

/// Counts what is fetched of one model, by several downloads at once.
#[derive(Debug)]
pub(super) struct Meter {
    done: AtomicU64,
    total: u64,
    /// Bytes that are still to be written.
    remaining: Arc<AtomicU64>,
    progress: watch::Sender<Option<Progress>>,
}

impl Meter {
    /// Of `total` bytes, `remaining` are not there yet.
    pub(super) fn new(total: u64, remaining: Arc<AtomicU64>, progress: watch::Sender<Option<Progress>>) -> Self {
        let done = AtomicU64::new(total.saturating_sub(remaining.load(Ordering::Relaxed)));
        let meter = Self { done, total, remaining, progress };
        meter.tell(0);
        meter
    }

    /// `bytes` more are there.
    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        // Saturating: another may count on it, and a server that sends too much is found out a moment later.
        let less = |remaining: u64| Some(remaining.saturating_sub(bytes));
        let _ = self.remaining.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.tell(STEP);
    }

    /// `bytes` that were there have to be fetched again.
    pub(super) fn undo(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
        self.remaining.fetch_add(bytes, Ordering::Relaxed);
        self.tell(0);
    }

    /// Says how far it is, if that is at least `step` away from what was said last, or the end.
    fn tell(&self, step: u64) {
        let done = self.done.load(Ordering::Relaxed).min(self.total);
        self.progress.send_if_modified(|said| {
            let last = said.map_or(0, |said| said.done);
            let news = done == self.total || done.abs_diff(last) >= step;
            if news {
                *said = Some(Progress { done, total: self.total, unit: ProgressUnit::Bytes });
            }
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_steps_and_at_the_end() {
        let (sender, mut receiver) = watch::channel(None);
        let remaining = Arc::new(AtomicU64::new(3 * STEP));
        let meter = Meter::new(4 * STEP, remaining.clone(), sender);
        let mut said = || receiver.has_changed().unwrap().then(|| receiver.borrow_and_update().unwrap().done);
        assert_eq!(said(), Some(STEP));
        meter.add(STEP - 1);
        assert_eq!(said(), None);
        meter.add(1);
        assert_eq!(said(), Some(2 * STEP));
        meter.undo(STEP);
        assert_eq!(said(), Some(STEP));
        assert_eq!(remaining.load(Ordering::Relaxed), 3 * STEP);
        meter.add(3 * STEP);
        assert_eq!(said(), Some(4 * STEP));
        assert_eq!(remaining.load(Ordering::Relaxed), 0);
    }
}
