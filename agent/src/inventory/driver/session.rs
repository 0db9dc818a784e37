//! One opening of the driver, and the threads that use it.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};

use nvml_wrapper::Nvml;
use tracing::warn;

use super::{Finding, Next, Outbox, RECOUNT, Reopen, alarms, probe};

/// How long the threads of a session may take to end: a wait for events takes a second.
const ENDING: Duration = Duration::from_secs(3);
/// Sessions whose threads hang, beyond which the driver is not opened anew.
const ORPHANS_MAX: usize = 2;

/// The driver, open.
#[derive(Debug)]
pub(super) struct Session {
    nvml: Arc<Nvml>,
    count: u32,
    /// Dropped, they tell the threads to end.
    stops: Vec<SyncSender<Infallible>>,
    /// Disconnected once all threads have ended and let go of the driver.
    ended: Receiver<Infallible>,
}

/// What tells a thread to end.
#[derive(Debug)]
pub(super) struct Stop(Receiver<Infallible>);

/// Sessions that are over, but not for all of their threads. Bounds how many threads can hang.
#[derive(Debug, Default)]
pub(super) struct Orphans(Vec<Receiver<Infallible>>);

impl Session {
    /// Starts two threads for each of `count` GPUs.
    pub(super) fn start(nvml: Nvml, count: u32, outbox: &Outbox) -> Self {
        let (ending, ended) = sync_channel(0);
        let mut session = Self { nvml: Arc::new(nvml), count, stops: Vec::new(), ended };
        // Once nobody reads it, `keep` returns at once, and the threads end with their first report.
        let _ = outbox.send(Finding::Opened(count));
        for index in 0..count {
            let (samples, events) = (outbox.clone(), outbox.clone());
            session.spawn(format!("gpu-{index}"), &ending, move |nvml, stop| probe::run(nvml, index, &samples, stop));
            session.spawn(format!("gpu-{index}-events"), &ending, move |nvml, stop| {
                alarms::run(nvml, index, &events, stop);
            });
        }
        session
    }

    fn spawn(
        &mut self,
        name: String,
        ending: &SyncSender<Infallible>,
        work: impl FnOnce(&Nvml, &Stop) + Send + 'static,
    ) {
        let (stop, stopped) = sync_channel(0);
        let (nvml, ending) = (Arc::clone(&self.nvml), ending.clone());
        let spawned = thread::Builder::new().name(name).spawn(move || {
            work(&nvml, &Stop(stopped));
            // In this order: who hears of the end may open the driver anew, which starts afresh only if nobody has it.
            drop(nvml);
            drop(ending);
        });
        match spawned {
            Ok(_) => self.stops.push(stop),
            Err(error) => warn!(%error, "a GPU stays unknown: its thread cannot be started"),
        }
    }

    /// Waits until the driver is to be opened anew, or nobody is interested any more.
    pub(super) fn keep(&self, orders: &Receiver<Reopen>, orphans: &mut Orphans) -> Next {
        loop {
            let wanted = match orders.recv_timeout(RECOUNT) {
                Ok(Reopen) => true,
                Err(RecvTimeoutError::Timeout) => self.nvml.device_count().is_ok_and(|count| count != self.count),
                Err(RecvTimeoutError::Disconnected) => return Next::End,
            };
            if wanted && orphans.have_room() {
                return Next::Open;
            }
        }
    }
}

impl Stop {
    /// Waits for `pause`; `true` if the thread is to end.
    pub(super) fn within(&self, pause: Duration) -> bool {
        self.0.recv_timeout(pause) != Err(RecvTimeoutError::Timeout)
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.try_recv() != Err(TryRecvError::Empty)
    }
}

impl Orphans {
    /// Ends `session`; keeps account of it if its threads do not follow.
    pub(super) fn add(&mut self, session: Session) {
        let Session { nvml, stops, ended, .. } = session;
        drop((nvml, stops));
        if ended.recv_timeout(ENDING) == Err(RecvTimeoutError::Timeout) {
            self.0.push(ended);
        }
    }

    fn have_room(&mut self) -> bool {
        self.0.retain(|ended| ended.try_recv() == Err(TryRecvError::Empty));
        let room = self.0.len() < ORPHANS_MAX;
        if !room {
            warn!("the GPU driver is not opened anew: too many calls to it hang");
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_hang_are_bounded() {
        let mut orphans = Orphans::default();
        let mut hanging = Vec::new();
        for _ in 0..ORPHANS_MAX {
            assert!(orphans.have_room());
            let (ending, ended) = sync_channel(0);
            hanging.push(ending);
            orphans.0.push(ended);
        }
        assert!(!orphans.have_room());
        hanging.pop();
        assert!(orphans.have_room(), "one came back");
    }
}
