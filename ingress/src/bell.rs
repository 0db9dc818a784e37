//! Tells that a replica may have room again, where anybody waits for that. Where nobody does, it costs one atomic read.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use tokio::sync::Notify;

/// How many requests wait at this ingress, and the call to look after them.
///
/// Whoever waits says so, and then looks for room; whoever makes room counts it, and then looks whether anybody waits. By the fences
/// between the two, one of them sees the other.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    waiting: AtomicU32,
    rung: Notify,
}

impl Bell {
    /// One more request waits, unless `limit` do.
    pub(crate) fn enter(&self, limit: u32) -> bool {
        let one_more = |waiting: u32| (waiting < limit).then(|| waiting + 1);
        let may = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        fence(Ordering::SeqCst);
        may
    }

    /// One that has waited before waits again, whatever the limit.
    pub(crate) fn come_back(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// One waits no longer.
    pub(crate) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether anybody waits.
    pub(crate) fn anybody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Something has changed for those that wait.
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }

    /// A replica may have room again: it has been counted that it has.
    pub(crate) fn freed(&self) {
        fence(Ordering::SeqCst);
        if self.anybody_waits() {
            self.ring();
        }
    }

    /// Until it has been rung since the last time. Cancel safe.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }
}
