//! The loop that acts on what placement decides: claims, starts, drains and gives up this node's replicas.
//!
//! It alone writes the node's claims, its GPU ledger, its refusals and its departure. What may be wrong in an interesting
//! way is elsewhere: [`shoal_placement`] decides, [`book`] says what an engine's phase means for its claim.

mod book;
mod confirm;
mod drain;

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use shoal_engine_supervisor::{EngineStatus, LaunchPlan, Supervisor};
use shoal_ingress::Ingress;
use shoal_mesh::{Mesh, clock};
use shoal_placement::{Action, Decision, Elector, Timing};
use shoal_types::{
    Claim, ClaimId, Departure, DepartureReason, EndpointName, Gpu, Load, Refusal, ReplicaState, Revision, UnixMillis,
    View, clip_reason,
};
use tokio::{
    select,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{error, info, warn};

use self::{
    book::{Book, Change},
    confirm::serve_all,
    drain::DrainMark,
};
use crate::{inventory::GpuReading, ledger::GpuLedger, peer::PeerClient, routing::Routes};

/// Time between two publications of load.
const LOAD_PERIOD: Duration = Duration::from_secs(1);
/// How long a stopping daemon lets its streams end.
const LEAVE_GRACE: Duration = Duration::from_secs(30);
/// How long a node does not claim again what its configuration refuses.
const REFUSAL: Duration = Duration::from_secs(5 * 60);
/// How long it does not claim again when its GPUs were not as free as they looked.
const NO_GPU: Duration = Duration::from_secs(10);
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
    /// Give up everything, and say when it is done.
    Leave(oneshot::Sender<()>),
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
    pub(crate) timing: Timing,
    pub(crate) state_dir: PathBuf,
}

/// What the loop waited for beside its inputs.
#[derive(Debug)]
enum Finished {
    /// Whether all that a drain would leave behind said that they serve.
    Asked(ClaimId, bool),
    /// The last request of a draining replica has ended, or its time is over.
    Drained(ClaimId),
}

/// The loop and all that only it may change.
#[derive(Debug)]
pub(crate) struct Replicas {
    parts: Parts,
    elector: Elector,
    book: Book,
    ledger: GpuLedger,
    gpus: Vec<Gpu>,
    loads: BTreeMap<ClaimId, Load>,
    refusals: Vec<Refusal>,
    failures: BTreeMap<(EndpointName, Revision), u32>,
    mark: DrainMark,
    leaving: Option<oneshot::Sender<()>>,
    tasks: JoinSet<Finished>,
}

impl Replicas {
    pub(crate) fn new(parts: Parts) -> Self {
        let elector = Elector::new(parts.mesh.me(), parts.timing);
        Self {
            book: Book::new(parts.mesh.me(), parts.mesh.generation()),
            mark: DrainMark::new(&parts.state_dir),
            parts,
            elector,
            ledger: GpuLedger::default(),
            gpus: Vec::new(),
            loads: BTreeMap::new(),
            refusals: Vec::new(),
            failures: BTreeMap::new(),
            leaving: None,
            tasks: JoinSet::new(),
        }
    }

    /// Runs until it has left, or the inbox is closed.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut view = self.parts.mesh.view();
        let mut engines = self.parts.supervisor.statuses();
        let mut readings = self.parts.readings.clone();
        let mut load_tick = interval(LOAD_PERIOD);
        load_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if self.mark.is_set() {
            self.depart(DepartureReason::Drain, None).await;
        }
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
        for plan in self.parts.supervisor.adopted() {
            let claim = plan.claim;
            self.ledger.restore(claim, &plan.gpus);
            self.book.adopt(plan, clock::now());
            self.publish(claim).await;
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
            // No engine sleeps yet.
            Action::Wake(_) => {}
            Action::Withdraw { claim, reason } => self.withdraw(claim, &reason.to_string()).await,
            Action::Drain { claim, reason, confirm } => {
                if self.book.ask(claim, &reason.to_string()) {
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
        let spec = &record.endpoint.spec;
        if let Some(reason) = self.parts.supervisor.refuse(spec) {
            return self.refuse(endpoint, revision, REFUSAL, reason).await;
        }
        let id = self.book.next_id();
        let Some(gpus) = self.ledger.reserve(id, &spec.resources, &self.gpus) else {
            return self.refuse(endpoint, revision, NO_GPU, "its GPUs are not free".to_owned()).await;
        };
        info!(%endpoint, %revision, replica = id.replica_name(endpoint), "Claiming a replica");
        let claim = self.book.open(id, endpoint.clone(), revision, spec.clone(), gpus, clock::now());
        self.parts.mesh.publish_claim(&claim).await;
        self.refresh_gpus().await;
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

    /// Lets a draining replica finish, for `limit` at the most.
    fn finish_streams(&mut self, claim: ClaimId, limit: Duration) {
        let ingress = Arc::clone(&self.parts.ingress);
        self.tasks.spawn(async move {
            // Streams that outlive the limit are cut when the engine stops; their clients see an error event.
            let _ = tokio::time::timeout(limit, ingress.drained(claim)).await;
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
        self.withdraw(claim, &reason).await;
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
            Finished::Asked(claim, false) => self.book.unask(claim),
            Finished::Asked(claim, true) => self.drain(claim).await,
            Finished::Drained(claim) => self.parts.supervisor.stop(claim),
        }
    }

    async fn drain(&mut self, claim: ClaimId) {
        let Some(limit) = self.book.drain(claim, clock::now()) else { return };
        let limit = if self.leaving.is_some() { limit.min(LEAVE_GRACE) } else { limit };
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
            Command::Leave(gone) => {
                self.leaving = Some(gone);
                self.depart(DepartureReason::Shutdown, Some(clock::now())).await;
                for claim in self.book.draining() {
                    self.finish_streams(claim, LEAVE_GRACE);
                }
            }
        }
    }

    async fn set_draining(&self, draining: bool) -> io::Result<()> {
        if self.leaving.is_some() {
            return Err(io::Error::other("the daemon is stopping"));
        }
        self.mark.set(draining)?;
        if draining {
            self.depart(DepartureReason::Drain, None).await;
        } else {
            self.parts.mesh.publish_departure(None).await;
        }
        Ok(())
    }

    async fn depart(&self, reason: DepartureReason, deadline: Option<UnixMillis>) {
        let departure = Departure { reason, detail: None, since: clock::now(), deadline };
        self.parts.mesh.publish_departure(Some(&departure)).await;
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
    }

    async fn publish_loads(&mut self) {
        let statuses = self.parts.supervisor.statuses().borrow().clone();
        for (&claim, status) in statuses.iter() {
            let load = Load { inflight: Load::round_count(self.parts.ingress.inflight(claim)), ..status.load };
            let serving = self.book.claim(claim).is_some_and(|claim| claim.state >= ReplicaState::Ready);
            if serving && self.loads.insert(claim, load) != Some(load) {
                self.parts.mesh.publish_load(claim, load).await;
            }
        }
    }
}
