//! NVML, on threads of its own: a sick driver blocks its callers for seconds, or for ever.
//!
//! One thread opens the driver; for each GPU one takes samples and one waits for events. They report through one channel and
//! end when nobody reads it. A thread that hangs in a call is left there: it ends when the call does, or with the process.

mod alarms;
mod mig;
mod probe;
mod sample;
mod session;

use std::{
    path::PathBuf,
    sync::mpsc::{self as sync_mpsc, RecvTimeoutError},
    thread,
    time::Duration,
};

use nvml_wrapper::{Nvml, error::NvmlError};
use shoal_types::GpuId;
use tokio::{sync::mpsc, time::Instant};

use self::session::{Orphans, Session};
use super::{
    fault::{Alarm, Trouble},
    roster::Sample,
};

/// Reports that may wait: eight GPUs give some ten a second.
const REPORTS: usize = 64;
/// Time between two tries to open a driver that is not there. Looking for a file costs nothing.
const RETRY: Duration = Duration::from_secs(60);
/// Time between two counts of the GPUs of an open driver.
const RECOUNT: Duration = Duration::from_secs(60);

/// What the driver's threads tell.
#[derive(Debug)]
pub(super) struct Report {
    /// Which opening of the driver it is from: what comes late from one before says nothing about now.
    pub(super) session: u32,
    pub(super) finding: Finding,
}

/// One thing that they found.
#[derive(Debug)]
pub(super) enum Finding {
    /// The driver cannot be used, and why.
    Unusable(String),
    /// It is open, and knows so many GPUs.
    Opened(u32),
    /// How the GPU at an index was at a time.
    Sampled(u32, Box<Sample>, Instant),
    /// That it could not be asked.
    Troubled(u32, Trouble),
    /// What a GPU told.
    Alarm(GpuId, Alarm),
}

/// Where one session's threads report to.
#[derive(Debug, Clone)]
struct Outbox {
    session: u32,
    reports: mpsc::Sender<Report>,
}

impl Outbox {
    /// Waits for room. `false` once nobody reads it any more.
    fn send(&self, finding: Finding) -> bool {
        self.reports.blocking_send(Report { session: self.session, finding }).is_ok()
    }
}

/// The order to open the driver anew: handles of a GPU that was reset are worth nothing.
#[derive(Debug)]
pub(super) struct Reopen;

/// The far end of the driver's threads, which end once it is dropped.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) reports: mpsc::Receiver<Report>,
    orders: sync_mpsc::SyncSender<Reopen>,
}

impl Driver {
    /// Starts the thread that opens `library`, or NVML as the loader finds it.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(library: Option<PathBuf>) -> std::io::Result<Self> {
        let (sender, reports) = mpsc::channel(REPORTS);
        let (orders, inbox) = sync_mpsc::sync_channel(1);
        thread::Builder::new().name("nvml".to_owned()).spawn(move || run(library, &sender, &inbox))?;
        Ok(Self { reports, orders })
    }

    /// Asks that the driver be opened anew. One such order at a time is enough.
    pub(super) fn reopen(&self) {
        // Full: it has been asked and not yet done. Disconnected: there is nobody to do it.
        let _ = self.orders.try_send(Reopen);
    }
}

/// How many GPUs the driver behind `library` knows, or why it cannot be used. Asked on a thread of its own, which a driver
/// that hangs may keep.
pub(crate) async fn count_gpus(library: Option<PathBuf>, deadline: Duration) -> Result<u32, String> {
    let mut driver = Driver::start(library).map_err(|error| format!("no thread to ask it on: {error}"))?;
    let first = async {
        loop {
            match driver.reports.recv().await?.finding {
                Finding::Opened(count) => return Some(Ok(count)),
                Finding::Unusable(why) => return Some(Err(why)),
                Finding::Sampled(..) | Finding::Troubled(..) | Finding::Alarm(..) => {}
            }
        }
    };
    match tokio::time::timeout(deadline, first).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Err("NVML ended without an answer".to_owned()),
        Err(_) => Err(format!("NVML does not answer within {deadline:?}: the driver hangs")),
    }
}

/// What to do when the driver is no longer to be used as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Open,
    End,
}

/// Opens the driver again and again, until nobody is interested.
fn run(library: Option<PathBuf>, reports: &mpsc::Sender<Report>, orders: &sync_mpsc::Receiver<Reopen>) {
    let mut orphans = Orphans::default();
    let mut number = 0;
    let mut next = Next::Open;
    while next == Next::Open {
        number += 1;
        let outbox = Outbox { session: number, reports: reports.clone() };
        next = match open(library.as_ref()).and_then(|nvml| Ok((nvml.device_count()?, nvml))) {
            Ok((count, nvml)) => {
                let session = Session::start(nvml, count, &outbox);
                let next = session.keep(orders, &mut orphans);
                orphans.add(session);
                next
            }
            Err(error) if outbox.send(Finding::Unusable(unusable(&error))) => until_retry(orders),
            Err(_) => Next::End,
        };
    }
}

fn until_retry(orders: &sync_mpsc::Receiver<Reopen>) -> Next {
    match orders.recv_timeout(RETRY) {
        Ok(Reopen) | Err(RecvTimeoutError::Timeout) => Next::Open,
        Err(RecvTimeoutError::Disconnected) => Next::End,
    }
}

fn open(library: Option<&PathBuf>) -> Result<Nvml, NvmlError> {
    match library {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    }
}

/// What is wrong and what to do about it.
fn unusable(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) => format!("NVIDIA's management library is not there ({error})"),
        NvmlError::DriverNotLoaded => "NVIDIA's driver is not loaded".to_owned(),
        NvmlError::LibRmVersionMismatch => {
            "NVIDIA's library and driver are of different versions; load the new driver, or reboot".to_owned()
        }
        other => format!("NVML does not start: {other}"),
    }
}

impl From<&NvmlError> for Trouble {
    fn from(error: &NvmlError) -> Self {
        match error {
            NvmlError::GpuLost => Self::Lost,
            NvmlError::ResetRequired => Self::ResetRequired,
            other => Self::Other(other.to_string()),
        }
    }
}
