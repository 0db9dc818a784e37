//! What each worker has for itself.

use super::current;

/// One `T` for each worker, and one that all other threads share.
///
/// A line of memory that two cores write goes from one to the other each time, which takes some 80 ns. So what only one of them needs
/// is on lines of its own.
#[derive(Debug)]
pub(crate) struct PerWorker<T>(Box<[Own<T>]>);

/// Two lines, as they are fetched in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Own<T>(T);

impl<T> PerWorker<T> {
    /// What `make` gives, for each of `workers`, and for whoever is none.
    pub(crate) fn new(workers: usize, mut make: impl FnMut() -> T) -> Self {
        Self((0..=workers).map(|_| Own(make())).collect())
    }

    /// That of the worker whose thread this is.
    pub(crate) fn mine(&self) -> &T {
        &self.0.get(current()).unwrap_or(&self.0[0]).0
    }

    /// Those of all.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|own| &own.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::workers::Workers;

    #[tokio::test]
    async fn each_worker_has_its_own_and_whoever_is_none_shares_one() {
        let (workers, tasks) = (Workers::unbalanced(2), TaskTracker::new());
        let counts = std::sync::Arc::new(PerWorker::new(1, AtomicU32::default));
        counts.mine().fetch_add(1, Relaxed);
        for at in 0..2 {
            let counts = std::sync::Arc::clone(&counts);
            workers.spawn_at(at, &tasks, async move {
                counts.mine().fetch_add(10, Relaxed);
                std::future::pending::<()>().await;
            });
        }
        // One of the two is a worker more than there was to be.
        while counts.all().map(|count| count.load(Relaxed)).sum::<u32>() < 21 {
            tokio::task::yield_now().await;
        }
        assert_eq!(counts.all().map(|count| count.load(Relaxed)).collect::<Vec<_>>(), [11, 10]);
        workers.end().await;
    }
}
