//! The loop that acts on what placement decides: claims, starts, drains and gives up this node's replicas.
//!
//! It alone writes the node's claims, its GPU ledger, its refusals and its departure. What may be wrong in an interesting
//! way is elsewhere: [`shoal_placement`] decides, [`book`] says what an engine's phase means for its claim.

mod book;
mod confirm;
mod departing;
mod drain;
mod faults;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use shoal_engine_supervisor::{EngineStatus, LaunchPlan, Supervisor};
use shoal_ingress::Ingress;
use shoal_mesh::{Mesh, clock};
use shoal_placement::{Action, Decision, DrainReason, Elector, Timing};
use shoal_types::{
    Claim, ClaimId, Departure, EndpointName, EndpointSpec, Gpu, GpuId, Load, Refusal, ReplicaState, Revision, View,
    clip_reason,
};
use tokio::{
    select,
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tracing::{error, info, warn};

pub(crate) use self::departing::{reclaimed, shutdown, streams_end_in};
use self::{
    book::{Book, Change},
    confirm::serve_all,
    departing::Departing,
    drain::DrainMark,
};
use crate::{
    config::FaultVerdict,
    inventory::{GpuEvent, GpuReading},
    ledger::{GpuLedger, Reservation},
    notices::Notice,
    peer::PeerClient,
    routing::Routes,
};

/// Time between two publications of load.
const LOAD_PERIOD: Duration = Duration::from_secs(1);
/// How long a node does not claim again what its configuration refuses.
const REFUSAL: Duration = Duration::from_secs(5 * 60);
/// How long it does not claim again when its GPUs were not as free as they looked.
const NO_GPU: Duration = Duration::from_secs(10);
/// How long it may take to find out whether a replica can run here.
const JUDGE_WITHIN: Duration = Duration::from_secs(15);
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
    pub(crate) state_dir: PathBuf,
}

/// What the loop waited for beside its inputs.
#[derive(Debug)]
enum Finished {
    /// Whether all that a drain would leave behind said that they serve.
    Asked(ClaimId, bool),
    /// Whether a replica can run here.
    Judged(Box<Intent>, Option<String>),
    /// The last request of a draining replica has ended, or its time is over.
    Drained(ClaimId),
}

/// A claim that is about to be made; its GPUs are reserved.
#[derive(Debug)]
struct Intent {
    id: ClaimId,
    endpoint: EndpointName,
    revision: Revision,
    spec: EndpointSpec,
    gpus: Vec<GpuId>,
}

/// The loop and all that only it may change.
#[derive(Debug)]
pub(crate) struct Replicas {
    parts: Parts,
    elector: Elector,
    book: Book,
    ledger: GpuLedger,
    /// Endpoints of which it is being found out whether a replica can run here.
    judging: BTreeSet<EndpointName>,
    gpus: Vec<Gpu>,
    loads: BTreeMap<ClaimId, Load>,
    refusals: Vec<Refusal>,
    failures: BTreeMap<(EndpointName, Revision), u32>,
    mark: DrainMark,
    departing: Departing,
    leaving: Option<oneshot::Sender<()>>,
    tasks: JoinSet<Finished>,
}

impl Replicas {
    pub(crate) fn new(parts: Parts) -> Self {
        let elector = Elector::new(parts.mesh.me(), parts.timing);
        let ledger = GpuLedger::open(&parts.state_dir);
        Self {
            book: Book::new(parts.mesh.me(), parts.mesh.generation()),
            mark: DrainMark::new(&parts.state_dir),
            parts,
            elector,
            ledger,
            judging: BTreeSet::new(),
            gpus: Vec::new(),
            loads: BTreeMap::new(),
            refusals: Vec::new(),
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
                self.fail(claim, format!("its GPU {gpu} is another replica's, {holder}")).await;
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
        self.failures.retain(|(name, revision), _| view.endpoints.get(name).is_some_and(|e| e.revision == *revision));
        let now = clock::now();
        let wanted = |claim: &Claim| view.endpoints.get(&claim.endpoint).is_some_and(|e| e.revision == claim.revision);
        for claim in self.book.outdated(wanted, now) {
            self.close(claim).await;
        }
        let Decision { actions, wake } = self.elector.step(&view, now);
        for action in actions {
            self.act(action, &view).await;
        }
        let nap = wake.map_or(NAP_MAX, |wake| wake.since(now).clamp(NAP_MIN, NAP_MAX));
        Instant::now() + nap
    }

    async fn act(&mut self, action: Action, view: &View) {
        match action {
            Action::Claim { endpoint, revision, .. } => self.claim(&endpoint, revision, view).await,
            Action::Start(claim) => self.start(claim).await,
            Action::Wake(claim) => self.wake(claim).await,
            Action::Withdraw { claim, reason } => self.withdraw(claim, &reason.to_string()).await,
            Action::Drain { claim, reason, confirm } => {
                let surplus = reason == DrainReason::Surplus;
                if self.book.ask(claim, &reason.to_string(), surplus) {
                    let peers = self.parts.peers.clone();
                    self.tasks.spawn(async move { Finished::Asked(claim, serve_all(&peers, confirm).await) });
                }
            }
        }
    }

    async fn claim(&mut self, endpoint: &EndpointName, revision: Revision, view: &View) {
        let Some(record) = view.endpoints.get(endpoint).filter(|record| record.revision == revision) else { return };
        let now = clock::now();
        let refused = |refusal: &Refusal| refusal.endpoint == *endpoint && refusal.revision == revision;
        if self.refusals.iter().any(|refusal| refused(refusal) && refusal.until > now) {
            // Said before, and not heard by placement: there were more refusals than gossip carries.
            return;
        }
        if !self.judging.insert(endpoint.clone()) {
            return;
        }
        let spec = record.endpoint.spec.clone();
        let id = self.book.next_id();
        let Reservation { gpus, evicted } =
            match self.ledger.reserve(id, &spec.resources, &self.gpus, &self.book.asleep()) {
                Ok(reservation) => reservation,
                Err(error) => {
                    self.judging.remove(endpoint);
                    return self.refuse(endpoint, revision, NO_GPU, error.to_string()).await;
                }
            };
        for claim in evicted {
            self.withdraw(claim, "it sleeps, and its GPUs are needed").await;
        }
        let supervisor = Arc::clone(&self.parts.supervisor);
        let intent = Intent { id, endpoint: endpoint.clone(), revision, spec, gpus };
        self.tasks.spawn(async move {
            // A hub may have to be asked how large the model is.
            let judged = timeout(JUDGE_WITHIN, supervisor.refuse(&intent.spec, &intent.gpus)).await;
            let late = || Some(format!("what it needs could not be found out within {JUDGE_WITHIN:?}"));
            Finished::Judged(Box::new(intent), judged.unwrap_or_else(|_| late()))
        });
    }

    /// Claims what was intended, unless this node refuses it or it is wanted no longer.
    async fn judged(&mut self, intent: Intent, refused: Option<String>) {
        let Intent { id, endpoint, revision, spec, gpus } = intent;
        self.judging.remove(&endpoint);
        let view = self.parts.mesh.view().borrow().clone();
        let wanted = view.endpoints.get(&endpoint).is_some_and(|record| record.revision == revision);
        if let Some(reason) = refused {
            self.ledger.release(id);
            return self.refuse(&endpoint, revision, REFUSAL, reason).await;
        }
        if !wanted || self.departing.is_ending() {
            self.ledger.release(id);
            return;
        }
        info!(%endpoint, %revision, replica = id.replica_name(&endpoint), "Claiming a replica");
        let claim = self.book.open(id, endpoint, revision, spec, gpus, clock::now());
        self.parts.mesh.publish_claim(&claim).await;
        self.refresh_gpus().await;
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
            Err(error) => self.fail(claim, error.to_string()).await,
        }
    }

    async fn withdraw(&mut self, claim: ClaimId, reason: &str) {
        match self.book.withdraw(claim, reason, clock::now()) {
            Some(Change::Publish(claim)) => {
                self.parts.supervisor.stop(claim);
                self.publish(claim).await;
            }
            Some(change) => self.apply(change).await,
            None => {}
        }
    }

    async fn apply(&mut self, change: Change) {
        match change {
            Change::Publish(claim) => self.publish(claim).await,
            Change::Close(claim) => self.close(claim).await,
            Change::Fail(claim, reason) => Box::pin(self.fail(claim, reason)).await,
        }
    }

    async fn publish(&mut self, claim: ClaimId) {
        let Some(claim) = self.book.claim(claim) else { return };
        info!(endpoint = %claim.endpoint, replica = claim.id.replica_name(&claim.endpoint), state = %claim.state,
            reason = claim.reason.as_deref().unwrap_or_default(), "A replica of this node is in a new state");
        if claim.state.serves() {
            self.failures.remove(&(claim.endpoint.clone(), claim.revision));
        }
        self.parts.mesh.publish_claim(claim).await;
    }

    /// Lets a draining replica finish, for `limit` at the most, and not beyond the end of its node.
    fn finish_streams(&mut self, claim: ClaimId, limit: Duration) {
        let limit = self.departing.time_left(clock::now()).map_or(limit, |left| left.min(limit));
        let ingress = Arc::clone(&self.parts.ingress);
        self.tasks.spawn(async move {
            // Streams that outlive the limit are cut when the engine stops; their clients see an error event.
            let _ = timeout(limit, ingress.drained(claim)).await;
            Finished::Drained(claim)
        });
    }

    /// The replica is gone, and its GPUs with it.
    async fn close(&mut self, claim: ClaimId) {
        self.book.close(claim);
        self.ledger.release(claim);
        self.loads.remove(&claim);
        self.parts.mesh.retract_claim(claim).await;
        self.refresh_gpus().await;
    }

    /// The replica cannot run here: others should try.
    async fn fail(&mut self, claim: ClaimId, reason: String) {
        let Some(Claim { endpoint, revision, .. }) = self.book.claim(claim).cloned() else { return };
        warn!(%endpoint, %reason, "A replica cannot run on this node");
        self.parts.supervisor.stop(claim);
        self.book.fail(claim, &reason, clock::now());
        self.ledger.release(claim);
        self.publish(claim).await;
        self.refresh_gpus().await;
        let failures = self.failures.entry((endpoint.clone(), revision)).or_default();
        *failures += 1;
        let wait = book::retry_after(*failures);
        // Its log outlives it, and this is where somebody looks who finds the endpoint without a replica.
        self.refuse(&endpoint, revision, wait, format!("{reason} (shoal logs {claim})")).await;
    }

    async fn refuse(&mut self, endpoint: &EndpointName, revision: Revision, wait: Duration, reason: String) {
        let now = clock::now();
        self.refusals.retain(|refusal| refusal.until > now && refusal.endpoint != *endpoint);
        let reason = clip_reason(&reason);
        self.refusals.push(Refusal { endpoint: endpoint.clone(), revision, until: now.plus(wait), reason });
        self.parts.mesh.publish_refusals(&self.refusals).await;
    }

    async fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Judged(intent, refused) => self.judged(*intent, refused).await,
            Finished::Asked(claim, false) => self.book.unask(claim),
            Finished::Asked(claim, true) => self.drain(claim).await,
            // It sleeps already, or is awake again, where its streams were waited for twice.
            Finished::Drained(claim) if !self.book.is_draining(claim) => {}
            // Asleep, it is there again in seconds; but whoever leaves takes nothing along.
            Finished::Drained(claim) if self.book.rests(claim) && self.departing.time_left(clock::now()).is_none() => {
                self.parts.supervisor.sleep(claim);
            }
            Finished::Drained(claim) => self.parts.supervisor.stop(claim),
        }
    }

    async fn drain(&mut self, claim: ClaimId) {
        let Some(limit) = self.book.drain(claim, clock::now()) else { return };
        self.publish(claim).await;
        // Only now is what the ingress counts all that there will be.
        self.parts.routes.refresh();
        self.finish_streams(claim, limit);
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
            Command::Leave(departure, gone) => {
                self.leaving = Some(gone);
                self.departing.end(departure);
                self.say_departure().await;
            }
        }
    }

    async fn set_draining(&mut self, draining: bool) -> io::Result<()> {
        if self.departing.is_ending() {
            return Err(io::Error::other("the daemon is stopping"));
        }
        self.mark.set(draining)?;
        self.departing.drain(draining);
        self.say_departure().await;
        Ok(())
    }

    /// A GPU reported what its engine does not survive, although the GPU itself does.
    fn restart_engine(&self, event: &GpuEvent) {
        if event.verdict != FaultVerdict::RestartEngine {
            return;
        }
        for (claim, gpus) in self.book.holdings() {
            if gpus.contains(&event.gpu) {
                warn!(%claim, gpu = %event.gpu, reason = event.reason, "An engine is started again because of its GPU");
                self.parts.supervisor.gpu_fault(claim, &event.reason);
            }
        }
    }

    /// The host will be taken away, or not any more.
    async fn heed(&mut self, notice: Option<Notice>) {
        let now = clock::now();
        self.departing.reclaim(notice.map(|notice| reclaimed(&notice.to_string(), notice.deadline, now)));
        self.say_departure().await;
    }

    /// Publishes why this node leaves, or that it stays, if that is news.
    async fn say_departure(&mut self) {
        let Some(departure) = self.departing.news(clock::now()) else { return };
        match &departure {
            Some(Departure { reason, detail, deadline, .. }) => {
                let detail = detail.as_deref().unwrap_or_default();
                warn!(detail, deadline = deadline.map(|at| at.to_string()), "This node leaves: {reason}");
            }
            None => info!("This node stays"),
        }
        self.parts.mesh.publish_departure(departure.as_ref()).await;
        if departure.is_some_and(|departure| departure.deadline.is_some()) {
            // Those that drain already were given the time of their endpoint.
            for claim in self.book.draining() {
                self.finish_streams(claim, Duration::MAX);
            }
        }
    }

    async fn refresh_gpus(&mut self) {
        let engines = self.parts.supervisor.statuses().borrow().clone();
        let groups: Vec<u32> = engines.values().filter_map(|engine| engine.pid).collect();
        let readings = self.parts.readings.borrow().clone();
        let gpus = self.ledger.describe(&readings, |process| book::in_groups(process, &groups));
        if gpus != self.gpus {
            self.gpus = gpus;
            self.parts.mesh.publish_gpus(&self.gpus).await;
        }
        let leaving = faults::leaving(&self.gpus, self.book.holdings());
        for claim in self.book.set_leaving(&leaving) {
            self.publish(claim).await;
        }
        self.departing.fault(faults::of_node(&self.gpus));
        self.say_departure().await;
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
