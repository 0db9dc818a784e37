//! Threads for what crosses from node to node.

use std::{io, num::NonZero, thread};

use tokio::runtime::{Builder, Handle, Runtime};

/// Cores for each of the threads.
const CORES_PER_THREAD: usize = 16;
/// Threads at most.
const THREADS_MAX: usize = 4;

/// Where connections to other nodes are driven, and the requests that cross them. The daemon's own threads are as many as
/// there are cores, and each packet would wake another one up: of what a request to another node cost, that was a quarter
/// (docs/benchmarks.md). One serves some 35,000 requests of other nodes a second, which is more than the engines of a small host
/// answer.
#[derive(Debug)]
pub(super) struct Crossing(Option<Runtime>);

impl Crossing {
    /// Starts its threads.
    pub(super) fn start() -> io::Result<(Self, Handle)> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (cores / CORES_PER_THREAD).clamp(1, THREADS_MAX);
        let runtime =
            Builder::new_multi_thread().worker_threads(threads).thread_name("crossing").enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok((Self(Some(runtime)), handle))
    }
}

impl Drop for Crossing {
    /// What still runs there ends with it: the daemon has waited for it as long as it waits for anything.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
