//! Threads that serve clients, each with a runtime of its own.
//!
//! A client's connection stays on the thread that it was given to, and so do its requests and their connections to engines:
//! nothing of a request is handed from one core to another, nor waits for one to wake up. That is worth a third of what a
//! request costs.

mod per_worker;

use std::{
    cell::Cell,
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use per_worker::PerWorker;

/// Less than any time that is given to every client.
const BEAT: Duration = Duration::from_secs(1);

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The number of the worker whose thread this is, from 1 on; 0 on any other thread.
pub(crate) fn current() -> usize {
    CURRENT.get()
}

/// Where what serves clients runs.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    thread: JoinHandle<()>,
    /// Connections that it has.
    busy: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `count` threads. With none, all runs where it is spawned from.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut workers = Self::default();
        for number in 1..=count {
            // Those that run are ended where one does not start.
            workers.workers.push(Worker::start(number, workers.stop.clone())?);
        }
        Ok(workers)
    }

    /// Runs `serving` on the thread that has the fewest to run, as one of `tasks`.
    pub(crate) fn spawn(&self, tasks: &TaskTracker, serving: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.busy.load(Relaxed)) else {
            tasks.spawn(serving);
            return;
        };
        let place = Place::take(&worker.busy);
        let serving = async move {
            let _place = place;
            serving.await;
        };
        tasks.spawn_on(serving, &worker.runtime);
    }

    /// Ends all threads, and with them what still runs there.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        let workers = std::mem::take(&mut self.workers);
        let joined = tokio::task::spawn_blocking(|| workers.into_iter().for_each(|worker| worker.join()));
        // It ends as fast as a thread takes to notice.
        let _ = joined.await;
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Worker {
    fn start(number: usize, stop: CancellationToken) -> io::Result<Self> {
        let (told, started) = mpsc::sync_channel(1);
        let run = move || {
            CURRENT.set(number);
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let _ = told.send(Ok(runtime.handle().clone()));
                    runtime.block_on(stop.run_until_cancelled(beat()));
                    // A name that is still being looked up is not waited for.
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            }
        };
        let thread = thread::Builder::new().name(format!("ingress-{number}")).spawn(run)?;
        let runtime = started.recv().map_err(io::Error::other)??;
        Ok(Self { runtime, thread, busy: Arc::default() })
    }

    fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a thread that served clients has panicked");
        }
    }
}

/// A timer that is nearer than those that every request sets. Where one is set that is nearer than all that there were when the thread
/// went to sleep, tokio wakes up what sleeps until then, which is the thread itself, by a call of the kernel: where all clients
/// of a worker wait for their answers, that would be each request.
async fn beat() {
    loop {
        sleep(BEAT).await;
    }
}

/// One connection of a worker.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(busy: &Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Relaxed);
        Self(Arc::clone(busy))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    #[tokio::test]
    async fn what_runs_at_once_is_spread_over_all_threads_and_ends_with_them() {
        let (workers, tasks, gate) = (Workers::start(3).unwrap(), TaskTracker::new(), Arc::new(Semaphore::new(0)));
        let (told, mut numbers) = mpsc::channel(3);
        for _ in 0..3 {
            let (told, gate) = (told.clone(), Arc::clone(&gate));
            workers.spawn(&tasks, async move {
                told.send(current()).await.unwrap();
                let _ = gate.acquire().await;
            });
        }
        let mut seen = HashSet::new();
        for _ in 0..3 {
            seen.insert(numbers.recv().await.unwrap());
        }
        assert_eq!(seen, HashSet::from([1, 2, 3]));
        assert_eq!(current(), 0);
        tasks.close();
        workers.end().await;
        tasks.wait().await;
    }

    #[tokio::test]
    async fn without_threads_all_runs_where_it_is_spawned_from() {
        let (workers, tasks) = (Workers::start(0).unwrap(), TaskTracker::new());
        let (told, mut numbers) = mpsc::channel(3);
        workers.spawn(&tasks, async move { told.send(current()).await.unwrap() });
        assert_eq!(numbers.recv().await, Some(0));
        workers.end().await;
    }
}
