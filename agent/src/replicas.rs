//! The loop that acts on what placement decides: claims, starts, drains and gives up this node's replicas.
//!
//! It alone writes the node's claims, its GPU ledger, its refusals and its departure. What may be wrong in an interesting
//! way is elsewhere: [`shoal_placement`] decides, [`book`] says what an engine's phase means for its claim.

mod book;
mod claiming;
mod confirm;
mod departing;
mod drain;
mod ending;
mod faults;
mod leaving;
mod past;
mod refusals;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use shoal_engine_supervisor::{EngineStatus, FailureClass, LaunchPlan, Supervisor};
use shoal_ingress::Ingress;
use shoal_mesh::{Mesh, clock};
use shoal_placement::{Action, Decision, Elector, Memory, Scene, Steward, Timing, Word};
use shoal_types::{Claim, ClaimId, Departure, EndpointName, Gpu, Load, ReplicaState, Revision, View};
use tokio::{
    select,
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{error, info};

pub(crate) use self::departing::{shutdown, streams_end_in, taken_away};
use self::{
    book::{Book, Change},
    claiming::Intent,
    confirm::doubtful,
    departing::Departing,
    drain::DrainMark,
    past::PastDepartures,
    refusals::Refusals,
};
use crate::{
    inventory::{GpuEvent, GpuReading},
    ledger::GpuLedger,
    notices::Notice,
    peer::PeerClient,
    routing::Routes,
};

/// Time between two publications of load.
const LOAD_PERIOD: Duration = Duration::from_secs(1);
/// Shortest sleep of the loop: what placement repeats until it is done must not keep a core busy.
const NAP_MIN: Duration = Duration::from_millis(50);
/// Longest sleep of the loop: a guard against a wake-up that was computed from a clock that then stepped back.
const NAP_MAX: Duration = Duration::from_secs(5);

/// What others ask of the loop.
#[derive(Debug)]
pub(crate) enum Command {
    /// Start or end the drain of this node; answered once that is remembered.
    SetDraining(bool, oneshot::Sender<io::Result<()>>),
    /// Whether a claim serves and means to go on.
    Serves(ClaimId, oneshot::Sender<bool>),
    /// Say that the loop still runs.
    Answer(oneshot::Sender<()>),
    /// Give up everything by the departure's deadline, and say when it is done.
    Leave(Departure, oneshot::Sender<()>),
}

/// What the loop works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) peers: PeerClient,
    pub(crate) readings: watch::Receiver<Vec<GpuReading>>,
    pub(crate) gpu_events: broadcast::Sender<GpuEvent>,
    pub(crate) notices: watch::Receiver<Option<Notice>>,
    pub(crate) timing: Timing,
    /// What is remembered, from before and as it changes.
    pub(crate) memory: watch::Sender<Arc<Memory>>,
    pub(crate) state_dir: PathBuf,
}

/// What the loop waited for beside its inputs.
#[derive(Debug)]
enum Finished {
    /// Those that a drain would leave behind have been asked whether they serve; these did not say so.
    Asked(ClaimId, BTreeSet<ClaimId>),
    /// Whether a replica can run here.
    Judged(Box<Intent>, Option<String>),
    /// The last request of a draining replica has ended, or its time is over.
    Drained(ClaimId),
}

/// The loop and all that only it may change.
#[derive(Debug)]
pub(crate) struct Replicas {
    parts: Parts,
    elector: Elector,
    steward: Steward,
    book: Book,
    ledger: GpuLedger,
    /// Endpoints of which it is being found out whether a replica can run here.
    judging: BTreeSet<EndpointName>,
    gpus: Vec<Gpu>,
    /// Replicas that placement wants elsewhere, and why.
    moving: BTreeMap<ClaimId, String>,
    loads: BTreeMap<ClaimId, Load>,
    refusals: Refusals,
    failures: BTreeMap<(EndpointName, Revision), u32>,
    mark: DrainMark,
    departing: Departing,
    past: PastDepartures,
    leaving: Option<oneshot::Sender<()>>,
    tasks: JoinSet<Finished>,
}

impl Replicas {
    pub(crate) fn new(parts: Parts) -> Self {
        let memory = Memory::clone(&parts.memory.borrow());
        let elector = Elector::new(parts.mesh.me(), parts.timing, memory);
        let ledger = GpuLedger::open(&parts.state_dir);
        Self {
            book: Book::new(parts.mesh.me(), parts.mesh.generation()),
            steward: Steward::new(parts.mesh.me()),
            mark: DrainMark::new(&parts.state_dir),
            past: PastDepartures::open(&parts.state_dir),
            parts,
            elector,
            ledger,
            judging: BTreeSet::new(),
            gpus: Vec::new(),
            moving: BTreeMap::new(),
            loads: BTreeMap::new(),
            refusals: Refusals::default(),
            failures: BTreeMap::new(),
            departing: Departing::default(),
            leaving: None,
            tasks: JoinSet::new(),
        }
    }

    /// Runs until it has left, or the inbox is closed.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut view = self.parts.mesh.view();
        let mut engines = self.parts.supervisor.statuses();
        let mut readings = self.parts.readings.clone();
        let mut notices = self.parts.notices.clone();
        let mut gpu_events = self.parts.gpu_events.subscribe();
        let mut load_tick = interval(LOAD_PERIOD);
        load_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.departing.drain(self.mark.is_set());
        self.parts.mesh.publish_departures(&self.past.told(clock::now())).await;
        self.take_up().await;
        self.refresh_gpus().await;
        loop {
            let wake = self.step(&mut view, &mut engines).await;
            if self.has_left() {
                break;
            }
            select! {
                changed = view.changed() => if changed.is_err() { break },
                changed = engines.changed() => if changed.is_err() { break },
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
                Some(finished) = self.tasks.join_next() => match finished {
                    Ok(finished) => self.finish(finished).await,
                    Err(error) => {
                        error!(%error, "a task of the replica loop died; the daemon stops rather than forget a replica");
                        break;
                    }
                },
                changed = readings.changed() => match changed {
                    Ok(()) => self.refresh_gpus().await,
                    Err(_) => break,
                },
                // One that was missed here still stands as a fault, or as the reason of the exit that follows.
                Ok(event) = gpu_events.recv() => self.restart_engine(&event),
                changed = notices.changed() => match changed {
                    Ok(()) => {
                        let notice = notices.borrow_and_update().clone();
                        self.heed(notice).await;
                    }
                    Err(_) => break,
                },
                _ = load_tick.tick() => self.publish_loads().await,
                () = sleep_until(wake) => {}
            }
        }
        self.tasks.shutdown().await;
        if let Some(gone) = self.leaving.take() {
            // Whoever asked may have stopped waiting.
            let _ = gone.send(());
        }
    }

    /// Goes on with the replicas that outlived the daemon before this one.
    async fn take_up(&mut self) {
        let adopted = self.parts.supervisor.adopted();
        self.ledger.retain(&adopted.iter().map(|plan| plan.claim).collect());
        for plan in adopted {
            let claim = plan.claim;
            let taken = self.ledger.restore(claim, &plan.gpus);
            self.book.adopt(plan, clock::now());
            if let Some((gpu, holder)) = taken.first() {
                let reason = format!("its GPU {gpu} is another replica's, {holder}");
                self.fail(claim, FailureClass::Transient, reason).await;
            } else {
                self.publish(claim).await;
            }
        }
    }

    fn has_left(&self) -> bool {
        self.leaving.is_some() && self.book.is_empty()
    }

    /// Brings claims in line with engines, asks placement, acts; says when to come again at the latest.
    async fn step(
        &mut self,
        view: &mut watch::Receiver<Arc<View>>,
        engines: &mut watch::Receiver<Arc<BTreeMap<ClaimId, EngineStatus>>>,
    ) -> Instant {
        let statuses = engines.borrow_and_update().clone();
        for change in self.book.follow(&statuses, clock::now()) {
            self.apply(change).await;
        }
        let view = view.borrow_and_update().clone();
        self.failures
            .retain(|(name, revision), _| view.endpoints.get(name).is_some_and(|e| e.spec_of(*revision).is_some()));
        let now = clock::now();
        let wanted =
            |claim: &Claim| view.endpoints.get(&claim.endpoint).is_some_and(|e| e.spec_of(claim.revision).is_some());
        for claim in self.book.outdated(wanted, now) {
            self.close(claim).await;
        }
        let Decision { actions, wake } = self.elector.step(&view, now);
        if let Some(memory) = self.elector.take_news() {
            self.parts.memory.send_replace(Arc::new(memory.clone()));
        }
        self.set_moving(&actions).await;
        for action in actions {
            self.act(action, &view).await;
        }
        let scene = Scene { view: &view, memory: self.elector.memory(), now };
        let Word { mandates, wake: speaks } = self.steward.step(&scene);
        self.parts.mesh.publish_mandates(&mandates).await;
        let wake = wake.into_iter().chain(speaks).min();
        let nap = wake.map_or(NAP_MAX, |wake| wake.since(now).clamp(NAP_MIN, NAP_MAX));
        Instant::now() + nap
    }

    async fn act(&mut self, action: Action, view: &View) {
        match action {
            Action::Claim { endpoint, revision, .. } => self.claim(&endpoint, revision, view).await,
            Action::Start(claim) => self.start(claim).await,
            Action::Wake(claim) => self.wake(claim).await,
            Action::Withdraw { claim, reason } => self.withdraw(claim, &reason.to_string()).await,
            // All of them together, before any is acted on.
            Action::Move { .. } => {}
            Action::Drain { claim, reason, confirm } if confirm.is_empty() => {
                if self.book.resolve(claim, &reason) {
                    self.drain(claim).await;
                }
            }
            Action::Drain { claim, reason, confirm } => {
                if self.book.ask(claim, &reason) {
                    let peers = self.parts.peers.clone();
                    self.tasks.spawn(async move { Finished::Asked(claim, doubtful(&peers, confirm).await) });
                }
            }
        }
    }

    async fn wake(&mut self, claim: ClaimId) {
        if self.book.wake(claim, clock::now()) {
            self.parts.supervisor.wake(claim);
            self.publish(claim).await;
        }
    }

    async fn start(&mut self, claim: ClaimId) {
        let Some(plan) = self.book.start(claim, clock::now()) else { return };
        let LaunchPlan { endpoint, .. } = &plan;
        info!(%endpoint, replica = claim.replica_name(endpoint), "Starting a replica");
        match self.parts.supervisor.launch(plan) {
            Ok(()) => self.publish(claim).await,
            Err(error) => self.fail(claim, FailureClass::Transient, error.to_string()).await,
        }
    }

    async fn apply(&mut self, change: Change) {
        match change {
            Change::Publish(claim) => self.publish(claim).await,
            Change::Close(claim) => self.close(claim).await,
            Change::Fail(claim, class, reason) => self.fail(claim, class, reason).await,
        }
    }

    async fn publish(&mut self, claim: ClaimId) {
        let Some(claim) = self.book.claim(claim) else { return };
        if claim.state.serves() {
            self.failures.remove(&(claim.endpoint.clone(), claim.revision));
        }
        self.parts.mesh.publish_claim(claim).await;
    }

    async fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Judged(intent, refused) => self.judged(*intent, refused).await,
            Finished::Asked(claim, doubtful) if doubtful.is_empty() => self.drain(claim).await,
            Finished::Asked(claim, doubtful) => self.book.unask(claim, &doubtful, clock::now()),
            // It sleeps already, or is awake again, where its streams were waited for twice.
            Finished::Drained(claim) if !self.book.is_draining(claim) => {}
            // Asleep, it is there again in seconds; but whoever leaves takes nothing along.
            Finished::Drained(claim) if self.book.rests(claim) && self.departing.time_left(clock::now()).is_none() => {
                self.parts.supervisor.sleep(claim);
            }
            Finished::Drained(claim) => self.parts.supervisor.stop(claim),
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::SetDraining(draining, reply) => {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(self.set_draining(draining).await);
            }
            Command::Serves(claim, reply) => {
                let _ = reply.send(self.book.stays(claim));
            }
            Command::Answer(reply) => {
                let _ = reply.send(());
            }
            Command::Leave(departure, gone) => {
                self.leaving = Some(gone);
                self.departing.end(departure);
                self.say_departure().await;
            }
        }
    }

    async fn publish_loads(&mut self) {
        let statuses = self.parts.supervisor.statuses().borrow().clone();
        for (&claim, status) in statuses.iter() {
            let load = Load { inflight: Load::round_count(self.parts.ingress.inflight(claim)), ..status.load };
            let busy = |claim: &Claim| matches!(claim.state, ReplicaState::Ready | ReplicaState::Draining);
            let serving = self.book.claim(claim).is_some_and(busy);
            if serving && self.loads.insert(claim, load) != Some(load) {
                self.parts.mesh.publish_load(claim, load).await;
            }
        }
    }
}
