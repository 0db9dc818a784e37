//! The GPUs of this host, kept up to date.

use std::time::Duration;

use shoal_mesh::clock;
use shoal_types::GpuSource;
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    driver::{Driver, Finding, Report},
    fault::{FaultPolicy, GpuEvent},
    operator::{Clear, ClearError, GpuFaults, ORDERS, XidCounts},
    reading::GpuReading,
    roster::{Notice, Roster},
    simulated::simulated,
};
use crate::config::{FaultVerdict, GpuConfig};

/// Time between two publications; what GPUs report by themselves is published at once.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the daemon waits for the driver when it starts. GPUs that are later are added when they answer.
const FIRST: Duration = Duration::from_secs(2);
/// Events that a slow reader may be behind.
const EVENTS: usize = 64;
/// First and longest wait before the driver is opened anew to find a lost GPU again.
const REOPEN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5 * 60));

/// The GPUs of this host: real ones, or simulated ones, or none.
#[derive(Debug)]
pub(crate) struct GpuInventory {
    source: watch::Sender<GpuSource>,
    host: HostGpus,
    events: broadcast::Sender<GpuEvent>,
    counts: XidCounts,
    faults: GpuFaults,
    orders: mpsc::Receiver<Clear>,
}

#[derive(Debug)]
enum HostGpus {
    /// They never change.
    Fixed(Vec<GpuReading>),
    Driven(Box<Driven>),
}

/// GPUs with a driver, or a host whose driver may yet come.
#[derive(Debug)]
struct Driven {
    driver: Driver,
    roster: Roster,
    session: u32,
    /// Why the driver could not be used when that was last told.
    unusable: Option<String>,
    /// What has to be told.
    untold: Vec<Notice>,
    /// When to open the driver anew, and how long to wait after that; unless no GPU is lost.
    reopen: Option<(Instant, Duration)>,
}

impl GpuInventory {
    /// Loads NVML and waits, for two seconds at most, until each GPU has been looked at. Where NVML cannot be used, takes
    /// the configured simulated GPUs; without any, NVML is tried again from time to time.
    pub(crate) async fn open(config: &GpuConfig) -> Self {
        let (faults, orders) = mpsc::channel(ORDERS);
        let (source, host) = host_gpus(config).await;
        Self {
            source: watch::Sender::new(source),
            host,
            events: broadcast::Sender::new(EVENTS),
            counts: XidCounts::default(),
            faults: GpuFaults(faults),
            orders,
        }
    }

    /// Where the list comes from.
    pub(crate) fn source(&self) -> GpuSource {
        *self.source.borrow()
    }

    /// The same, as it changes: a driver may be loaded after the daemon has started.
    #[expect(dead_code, reason = "for whoever publishes the node's facts again when they change")]
    pub(crate) fn sources(&self) -> watch::Receiver<GpuSource> {
        self.source.subscribe()
    }

    /// What GPUs report and what is found wrong with them, from now on.
    pub(crate) fn events(&self) -> broadcast::Sender<GpuEvent> {
        self.events.clone()
    }

    /// How often each Xid came.
    pub(crate) fn xid_counts(&self) -> XidCounts {
        self.counts.clone()
    }

    /// Where an operator says that a GPU is well again.
    pub(crate) fn faults(&self) -> GpuFaults {
        self.faults.clone()
    }

    /// The GPUs as they are now.
    pub(crate) fn readings(&self) -> Vec<GpuReading> {
        match &self.host {
            HostGpus::Fixed(readings) => readings.clone(),
            HostGpus::Driven(driven) => driven.roster.readings(Instant::now()),
        }
    }

    /// Publishes them until `stop`. Nobody who reads them ever waits for the driver.
    pub(crate) async fn keep(mut self, readings: watch::Sender<Vec<GpuReading>>, stop: CancellationToken) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let publish = tokio::select! {
                () = stop.cancelled() => return,
                report = self.host.report() => self.take(report),
                Some(clear) = self.orders.recv() => self.clear(clear),
                _ = tick.tick() => {
                    self.look();
                    true
                }
            };
            if publish {
                let now = self.readings();
                readings.send_if_modified(|known| {
                    let changed = *known != now;
                    *known = now;
                    changed
                });
            }
        }
    }

    /// Returns whether that must be known at once.
    fn take(&mut self, report: Report) -> bool {
        let HostGpus::Driven(driven) = &mut self.host else { return false };
        driven.take(report);
        if driven.session > 0 {
            self.source.send_if_modified(|source| std::mem::replace(source, GpuSource::Nvml) != GpuSource::Nvml);
        }
        self.tell_all()
    }

    /// What time alone brings.
    fn look(&mut self) {
        let HostGpus::Driven(driven) = &mut self.host else { return };
        let now = Instant::now();
        driven.untold.extend(driven.roster.silences(now));
        driven.reopen_if_lost(now);
        self.tell_all();
    }

    /// Returns whether there was anything to tell.
    fn tell_all(&mut self) -> bool {
        let HostGpus::Driven(driven) = &mut self.host else { return false };
        let notices = std::mem::take(&mut driven.untold);
        notices.iter().for_each(|notice| self.tell(notice));
        !notices.is_empty()
    }

    fn clear(&mut self, Clear { gpu, reply }: Clear) -> bool {
        let cleared = match &mut self.host {
            HostGpus::Fixed(_) => Err(ClearError::Sound(gpu.clone())),
            HostGpus::Driven(driven) => driven.roster.clear(&gpu),
        };
        if cleared.is_ok() {
            info!(%gpu, "An operator says that a GPU is well again");
        }
        let publish = cleared.is_ok();
        // Whoever asked may have stopped waiting.
        let _ = reply.send(cleared);
        publish
    }

    fn tell(&self, notice: &Notice) {
        match notice {
            Notice::Event(event) => {
                let GpuEvent { gpu, verdict, reason, .. } = event;
                if *verdict == FaultVerdict::Ignore {
                    info!(%gpu, %reason, "A GPU reports what is to be ignored");
                } else {
                    warn!(%gpu, %reason, ?verdict, "Something is wrong with a GPU");
                }
                if let Some(xid) = event.xid {
                    self.counts.count(xid);
                }
                // There need not be anybody who listens.
                let _ = self.events.send(event.clone());
            }
            Notice::Cleared(gpu, fault) => info!(%gpu, reason = fault.reason, "A fault of a GPU is over"),
            Notice::Silent(gpu, true) => warn!(%gpu, "The driver does not answer for a GPU: its state is unknown"),
            Notice::Silent(gpu, false) => info!(%gpu, "The driver answers for a GPU again"),
        }
    }
}

impl HostGpus {
    /// The next report; never, where there is no driver.
    async fn report(&mut self) -> Report {
        if let Self::Driven(driven) = self
            && let Some(report) = driven.driver.reports.recv().await
        {
            return report;
        }
        std::future::pending().await
    }
}

impl Driven {
    fn take(&mut self, Report { session, finding }: Report) {
        let now = clock::now();
        match finding {
            Finding::Unusable(why) => {
                if self.unusable.as_ref() != Some(&why) {
                    warn!("No GPUs: {why}; looked for again from time to time");
                    self.unusable = Some(why);
                }
            }
            Finding::Opened(gpus) => {
                info!(gpus, "NVML is open");
                (self.session, self.unusable) = (session, None);
                self.roster.opened();
            }
            Finding::Sampled(..) | Finding::Troubled(..) if session < self.session => {}
            Finding::Sampled(index, sample, at) => self.untold.extend(self.roster.sampled(index, *sample, at, now)),
            Finding::Troubled(index, trouble) => self.untold.extend(self.roster.troubled(index, &trouble, now)),
            // Never too late to be heard: it happened.
            Finding::Alarm(gpu, alarm) => match self.roster.alarm(&gpu, alarm, now) {
                Some(notice) => self.untold.push(notice),
                None => warn!(%gpu, %alarm, "A GPU that nobody has been able to look at reports a fault"),
            },
        }
    }

    fn reopen_if_lost(&mut self, now: Instant) {
        if !self.roster.has_lost() {
            self.reopen = None;
            return;
        }
        let (at, pause) = *self.reopen.get_or_insert((now + REOPEN.0, REOPEN.0));
        if now >= at {
            self.driver.reopen();
            let pause = (pause * 2).min(REOPEN.1);
            self.reopen = Some((now + pause, pause));
        }
    }

    /// Takes reports until each GPU has been looked at, or the driver cannot be used, or time is over.
    async fn look_first(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + FIRST;
        let mut expected = None;
        while expected.is_none_or(|expected| self.roster.seen() < expected) {
            let report = match timeout_at(deadline, self.driver.reports.recv()).await {
                Ok(Some(report)) => report,
                Ok(None) => return Err("the thread that asks NVML has died".to_owned()),
                Err(_) => {
                    warn!(deadline = ?FIRST, "the GPU driver is slow: GPUs are added when it answers for them");
                    break;
                }
            };
            match &report.finding {
                Finding::Unusable(why) => return Err(why.clone()),
                Finding::Opened(count) => expected = usize::try_from(*count).ok(),
                // One that fails at once is not waited for.
                Finding::Troubled(..) => expected = expected.map(|expected| expected.saturating_sub(1)),
                Finding::Sampled(..) | Finding::Alarm(..) => {}
            }
            self.take(report);
        }
        Ok(())
    }
}

async fn host_gpus(config: &GpuConfig) -> (GpuSource, HostGpus) {
    let driver = match Driver::start(config.library.clone()) {
        Ok(driver) => driver,
        Err(error) => {
            warn!(%error, "No GPUs: the thread that asks NVML cannot be started");
            return (GpuSource::None, HostGpus::Fixed(Vec::new()));
        }
    };
    let roster = Roster::new(FaultPolicy::new(&config.faults));
    let mut driven = Driven { driver, roster, session: 0, unusable: None, untold: Vec::new(), reopen: None };
    match (driven.look_first().await, config.simulated.is_empty()) {
        (Ok(()), none_simulated) => {
            if !none_simulated {
                warn!("NVML is there: the simulated GPUs of the configuration are ignored");
            }
            (GpuSource::Nvml, HostGpus::Driven(Box::new(driven)))
        }
        (Err(why), false) => {
            warn!("The GPUs of this node are SIMULATED, as configured: {why}");
            (GpuSource::Simulated, HostGpus::Fixed(simulated(config)))
        }
        (Err(why), true) => {
            warn!("No GPUs: {why}; looked for again from time to time");
            driven.unusable = Some(why);
            (GpuSource::None, HostGpus::Driven(Box::new(driven)))
        }
    }
}
