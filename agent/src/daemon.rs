//! `shoal agent`: builds the parts, runs them, takes them down in order.

mod crossing;
mod engine;
mod kubernetes;
mod lock;
mod roots;
mod service;
mod settings;

pub(crate) use self::{
    engine::{engine_exec, engine_shim, sim_engine},
    settings::{EndSignal, signalled},
};

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use shoal_engine_supervisor::{Supervisor, SupervisorConfig};
use shoal_ingress::Ingress;
use shoal_mesh::{
    Identity, IdentityError, InboundStream, Mesh, MeshConfig, StreamKind, clock, identity::CertificateError,
};
use shoal_placement::Timing;
use shoal_types::{Departure, NodeFacts, NodeId, wire};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{
    crossing::Crossing,
    lock::StateLock,
    service::{ServiceManager, join_token_credential},
};
use crate::{
    admin::{Admin, AdminListeners, Code, OwnAddresses, Problem},
    capacity::CapacityRequests,
    cli::{AgentArgs, IDENTITY_DIR, join_with, read_token},
    config::{AuthMode, Config},
    events::{self, Draft, Events, Reason, Subject},
    history::History,
    inventory::{GpuInventory, ReadingsWatch, host, host_addresses, host_name},
    keys::{KeyKeeper, UsageBook},
    memory::MemoryFile,
    metrics::Metrics,
    node::{NodeControl, NodeParts},
    notices::{Notices, SigtermConfig, Termination, judge_sigterm},
    peer::{self, PeerClient},
    replicas::{Parts, Replicas, shutdown, streams_end_in, taken_away},
    reports::Reports,
    requests::Requests,
    routing::{MeshDial, Routes, tunnel},
    telemetry, unplaced,
};

/// Commands to the replica loop that may wait.
const INBOX: usize = 64;
/// Streams of other nodes that are taken at once.
const AT_ONCE: usize = 64;
/// Longest wait for replicas to end their streams and engines to stop, beyond the deadline of the departure.
const LEAVE_DEADLINE: Duration = Duration::from_secs(45);
/// Longest wait for the remaining tasks.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);

/// Set by `shoal dev`, to its pid, for nodes that must not outlive it.
pub(crate) const DIE_WITH_PARENT: &str = "SHOAL_DIE_WITH_PARENT";

/// How the daemon ends.
#[derive(Debug)]
enum Ending {
    /// It will be back: engines stay for the next daemon.
    Pause,
    /// The node leaves, and its engines end.
    Leave(Departure),
}

/// Runs the daemon until SIGTERM or Ctrl-C. `socket` overrides where its admin socket is.
pub(crate) async fn run(args: AgentArgs, socket: Option<PathBuf>) -> Result<(), Problem> {
    if let Ok(parent) = std::env::var(DIE_WITH_PARENT) {
        die_with(&parent)
            .map_err(|why| Problem::new(Code::Failed, format!("cannot bind this process to {parent}: {why}")))?;
    }
    let mut config = settings::load(&args, socket).map_err(|error| Problem::new(Code::Invalid, error))?;
    telemetry::init(&config.log)?;
    let identity = identity(&config, &args).await?;
    if let Some(node) = &args.kubernetes_node {
        let state_dir = config.state_dir();
        kubernetes::fill(&mut config.node.labels, node, &state_dir).await;
    }
    let sigterm = config.notices.sigterm.clone();
    let mut daemon = Daemon::start(config, identity).await?;
    let service = daemon.announce();
    let ended = daemon.until_signal().await;
    let ending = match &ended {
        Ok(EndSignal::Terminate) => judge_termination(&sigterm).await,
        Ok(EndSignal::Interrupt) => Ending::Leave(shutdown(clock::now())),
        // What was wrong with this daemon is not wrong with its engines.
        Err(_) => Ending::Pause,
    };
    service.stopping(match &ending {
        Ending::Pause => "Requests end; engines stay for the next daemon",
        Ending::Leave(_) => "Replicas move or end, then the node leaves",
    });
    tokio::select! {
        () = daemon.stop(ending) => info!("Stopped"),
        _ = signalled() => warn!("Told to stop a second time: leaving at once"),
    }
    ended.map(|_| ())
}

/// A restart of the daemon concerns nobody else; the end of its host does.
async fn judge_termination(config: &SigtermConfig) -> Ending {
    let now = clock::now();
    match judge_sigterm(config, now).await {
        Termination::DaemonOnly => Ending::Pause,
        Termination::Host(notice) => Ending::Leave(taken_away(&notice, now)),
    }
}

/// Asks the kernel to end this process with the one whose pid is `parent`, which must be the one that started it.
fn die_with(parent: &str) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::INT)).map_err(|errno| errno.to_string())?;
    let actual = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    // It may have died before the kernel was asked.
    if actual.as_deref() == Some(parent) { Ok(()) } else { Err("it is not the parent, or is gone".to_owned()) }
}

/// This host's identity; joins first if there is none that is of use and a token was given.
async fn identity(config: &Config, args: &AgentArgs) -> Result<Arc<Identity>, Problem> {
    let state_dir = config.state_dir();
    let dir = state_dir.join(IDENTITY_DIR);
    let failed = |error: IdentityError| Problem::new(Code::Failed, error);
    let token_file = args.join_token_file.clone().or_else(join_token_credential);
    match (Identity::load(&dir), token_file) {
        // It was off for longer than its certificate lives: with a token it becomes the same node again.
        (Ok(identity), Some(token_file)) if identity.not_after() < clock::now() && identity.issuer().is_none() => {
            match join(&token_file, &state_dir).await {
                Ok(node) => {
                    info!(%node, "Joined the mesh again");
                    Identity::load(&dir).map(Arc::new).map_err(failed)
                }
                Err(problem) => {
                    let expired = identity.not_after();
                    warn!(%problem, %expired, "This node's certificate is over, and it has not joined again: no other node talks to it");
                    Ok(Arc::new(identity))
                }
            }
        }
        (Ok(identity), _) => Ok(Arc::new(identity)),
        // Or for as long as it took to replace the root of its mesh.
        (
            Err(IdentityError::Missing { .. } | IdentityError::Certificate(CertificateError::Untrusted(_))),
            Some(token_file),
        ) => {
            let node = join(&token_file, &state_dir).await?;
            info!(%node, "Joined the mesh");
            Identity::load(&dir).map(Arc::new).map_err(failed)
        }
        (Err(error @ IdentityError::Certificate(CertificateError::Untrusted(_))), None) => Err(failed(error)
            .hint("the root of the mesh was replaced: join again with a new token, as the same node (shoal join)")),
        (Err(error), _) => Err(failed(error)),
    }
}

async fn join(token_file: &Path, state_dir: &Path) -> Result<NodeId, Problem> {
    join_with(&read_token(token_file)?, state_dir).await
}

/// The running parts.
struct Daemon {
    /// Held as long as this daemon may touch the state directory.
    _lock: StateLock,
    mesh: Arc<Mesh>,
    supervisor: Arc<Supervisor>,
    control: NodeControl,
    /// Where it tells what happens.
    events: Events,
    /// What people call this node.
    name: String,
    tasks: TaskTracker,
    /// The ingress; ends once its last request has.
    serving: JoinHandle<()>,
    /// What the node is nothing without: the loop over its replicas, and the one over its routes.
    loops: JoinSet<()>,
    /// Says that the daemon ends, while the ingress may still take requests.
    ending: CancellationToken,
    /// Ends the ingress.
    closing: CancellationToken,
    /// Ends everything else.
    stop: CancellationToken,
    /// Where connections to other nodes are driven.
    connections: Handle,
    /// Whose threads do it. They end with the daemon.
    _crossing: Crossing,
}

impl Daemon {
    async fn start(config: Config, identity: Arc<Identity>) -> Result<Self, Problem> {
        let failed = |error: &dyn std::fmt::Display| Problem::new(Code::Failed, error);
        // Whatever can be wrong with files and ports is found before anything is touched: the supervisor begins by
        // taking over what the daemon before left running, which must not be the engines of one that still runs.
        let lock = StateLock::take(&config.state_dir()).map_err(|error| failed(&error))?;
        let admin_listeners =
            AdminListeners::bind(&config.admin, config.admin_socket()).await.map_err(|error| failed(&error))?;
        let tls = settings::ingress_tls(&config.ingress).await?;
        let over_tls = tls.is_some();
        let listen = config.ingress.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            Problem::new(Code::Failed, format!("cannot listen on ingress address {listen}: {error}"))
        })?;

        let inventory = GpuInventory::open(&config.gpus).await;
        let (known_gpus, readings) = watch::channel(inventory.readings());
        let gpus = Arc::new(ReadingsWatch::new(readings.clone()));
        let engines = SupervisorConfig { gpus, ..settings::supervisor(&config)? };
        let gateway_tls = engines.gateway.as_ref().map(|gateway| Arc::clone(&gateway.tls));
        let supervisor = Supervisor::start(engines).await.map_err(|error| failed(&error))?;
        let supervisor = Arc::new(supervisor);
        let facts = facts(&config, &identity, &inventory, &supervisor, &listener);
        let (events, event_keeper) = Events::open(&config.state_dir(), &facts.name);
        let with = match supervisor.adopted().len() {
            0 => String::new(),
            1 => ", and goes on with a replica".to_owned(),
            kept => format!(", and goes on with {kept} replicas"),
        };
        let started = format!("shoal {} has started{with}", facts.version);
        events.tell(Draft::new(Reason::DaemonStarted, Subject::node(&facts.name), started));
        let name = facts.name.clone();
        let (crossing, connections) = Crossing::start().map_err(|error| {
            Problem::new(Code::Failed, format!("cannot start the threads for connections to other nodes: {error}"))
        })?;
        let mesh_config = MeshConfig {
            state_dir: config.state_dir(),
            listen: config.mesh.listen,
            advertise: config.mesh.advertise.clone(),
            gossip_interval: config.mesh.gossip_interval.0,
            certificate_life: config.mesh.certificate_life.0,
            connections: connections.clone(),
        };
        let (mesh, inbound) =
            Mesh::start(mesh_config, Arc::clone(&identity), facts).await.map_err(|error| failed(&error))?;
        let mesh = Arc::new(mesh);

        let history = History::default();
        let requests = Requests::new(&config, mesh.me(), history.clone()).map_err(|error| failed(&error))?;
        let ingress_config = settings::ingress(&config, gateway_tls, tls, requests.telling());
        let ingress = {
            // It asks other nodes where it is made.
            let _entered = connections.enter();
            Ingress::new(ingress_config, mesh.me(), Arc::new(MeshDial(Arc::clone(&mesh))))
        };
        let usage = UsageBook::open(&config.state_dir());
        // Before the first request comes.
        let keys = KeyKeeper::new(Arc::clone(&mesh), Arc::clone(&ingress), usage.clone());
        let (inbox, commands) = mpsc::channel(INBOX);
        let parts = NodeParts {
            supervisor: Arc::clone(&supervisor),
            readings: readings.clone(),
            faults: inventory.faults(),
            ingress: Arc::clone(&ingress),
            usage: usage.clone(),
            history: history.clone(),
            events: events.clone(),
            mesh: Arc::clone(&mesh),
        };
        let control = NodeControl::new(inbox, parts);
        let peers = PeerClient::new(Arc::clone(&mesh), control.clone());

        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let addresses = OwnAddresses {
            ingress: settings::ingress_url(over_tls, listener.local_addr().unwrap_or(listen)),
            key_needed: config.ingress.auth() == AuthMode::Keys,
            dashboard: admin_listeners.address().map(|address| format!("http://{address}/ui/")),
        };
        info!(node = %mesh.me(), ingress = ?listener.local_addr().ok(), "Node is up");
        let file = MemoryFile::new(&config.state_dir());
        let memory = watch::Sender::new(Arc::new(file.read()));
        let routes = Routes::new(Arc::clone(&mesh), Arc::clone(&supervisor), Arc::clone(&ingress), memory.subscribe());
        let routes = Arc::new(routes);
        // Before the first request comes, which would be told that its model is not known yet.
        routes.refresh();
        let mut daemon = Self {
            _lock: lock,
            mesh: Arc::clone(&mesh),
            supervisor: Arc::clone(&supervisor),
            control: control.clone(),
            events: events.clone(),
            name,
            serving: tasks.spawn(Arc::clone(&ingress).serve(listener, closing.clone())),
            loops: JoinSet::new(),
            tasks,
            ending: CancellationToken::new(),
            closing,
            stop: CancellationToken::new(),
            connections: connections.clone(),
            _crossing: crossing,
        };
        let metrics = Metrics::new(&ingress, &requests, readings.clone(), inventory.xid_counts());
        let moved = watch::Sender::default();
        requests.start(&daemon.tasks, moved.subscribe(), &daemon.stop);
        // One that was started at a terminal ends with it.
        if !io::stdin().is_terminal() {
            daemon.tasks.spawn(settings::hear_hangups(moved, daemon.stop.clone()));
        }
        let notices = watch::Sender::new(None);
        let replicas = Replicas::new(Parts {
            mesh: Arc::clone(&mesh),
            supervisor: Arc::clone(&supervisor),
            ingress: Arc::clone(&ingress),
            routes: Arc::clone(&routes),
            peers: peers.clone(),
            readings,
            gpu_events: inventory.events(),
            notices: notices.subscribe(),
            timing: Timing { settle: config.placement.settle.0, step: config.placement.step.0, ..Timing::default() },
            memory: memory.clone(),
            state_dir: config.state_dir(),
        });
        let reports =
            Reports { mesh: Arc::clone(&mesh), ingress: Arc::clone(&ingress), supervisor: Arc::clone(&supervisor) };
        let requests =
            CapacityRequests { config: config.capacity.clone(), view: mesh.view(), memory: memory.subscribe() };
        let admin = Admin {
            memory: memory.subscribe(),
            mesh: Arc::clone(&mesh),
            control,
            peers,
            metrics,
            identity,
            ingress: Arc::clone(&ingress),
            events: events.clone(),
            addresses,
            viewers: Admin::room_for_viewers(),
            ending: daemon.ending.clone(),
        };
        daemon.tasks.spawn(Notices::new(&config.notices).keep(notices, daemon.stop.clone()));
        daemon.tasks.spawn(inventory.keep(known_gpus, daemon.stop.clone()));
        daemon.tasks.spawn(file.keep(memory.subscribe(), daemon.stop.clone()));
        daemon.tasks.spawn(keys.keep(daemon.stop.clone()));
        daemon.tasks.spawn(history.keep(Arc::clone(&ingress), daemon.stop.clone()));
        daemon.tasks.spawn(reports.keep(daemon.stop.clone()));
        daemon.tasks.spawn(requests.keep(daemon.stop.clone()));
        daemon.tasks.spawn(unplaced::keep(mesh.view(), memory.subscribe(), events.clone(), daemon.stop.clone()));
        daemon.tasks.spawn(events::watch(mesh.view(), events, daemon.stop.clone()));
        daemon.tasks.spawn(event_keeper.keep(daemon.stop.clone()));
        daemon.loops.spawn(replicas.run(commands));
        daemon.loops.spawn(routes.keep(daemon.stop.clone()));
        daemon.tasks.spawn_on(daemon.answer_peers(inbound, ingress), &connections);
        admin_listeners.serve(&Arc::new(admin), &daemon.tasks, &daemon.stop);
        Ok(daemon)
    }

    /// Gives the streams of other nodes to whom they are for: requests are served where this runs, whatever else is answered
    /// where it was made. The transport bounds how many there can be.
    fn answer_peers(
        &self,
        mut inbound: mpsc::Receiver<InboundStream>,
        ingress: Arc<Ingress>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (tasks, control, stop) = (self.tasks.clone(), self.control.clone(), self.stop.clone());
        let elsewhere = Handle::current();
        async move {
            let mut streams = Vec::new();
            while let Some(1..) = stop.run_until_cancelled(inbound.recv_many(&mut streams, AT_ONCE)).await {
                for stream in streams.drain(..) {
                    match stream.kind {
                        StreamKind::Forward => {
                            let ingress = Arc::clone(&ingress);
                            let serve = async move { ingress.serve_tunnel(stream.from, tunnel(stream.stream)).await };
                            // In a box, as a task is moved about before it runs, and this one is large. It ends with the
                            // connections between nodes, if not before.
                            tasks.spawn(Box::pin(serve));
                        }
                        StreamKind::Admin | StreamKind::Probe | StreamKind::StoreSync => {
                            let (answer, stopped) = (peer::answer(control.clone(), stream), stop.clone());
                            tasks.spawn_on(async move { stopped.run_until_cancelled(answer).await }, &elsewhere);
                        }
                    }
                }
            }
        }
    }

    /// Tells the service manager that the node is up, and from then on that it lives.
    fn announce(&self) -> Arc<ServiceManager> {
        let service = Arc::new(ServiceManager::of_env());
        service.ready(&format!("Node {} is up", self.mesh.me()));
        let (control, connections) = (self.control.clone(), self.connections.clone());
        self.tasks.spawn(Arc::clone(&service).keep_alive(control, connections, self.stop.clone()));
        service
    }

    /// Returns when told to stop, or with a problem when a part has ended that must not.
    async fn until_signal(&mut self) -> Result<EndSignal, Problem> {
        let ended = tokio::select! {
            signal = signalled() => Ok(signal),
            ended = self.loops.join_next() => Err(format!("a loop of the daemon ended by itself: {ended:?}")),
            ended = &mut self.serving => Err(format!("the ingress ended by itself: {ended:?}")),
        };
        ended.map_err(|why| Problem::new(Code::Failed, why).hint("the log says more; please report it"))
    }

    /// No new requests; those that run end; then only this process does. Engines serve on for the next daemon.
    async fn pause(&mut self) {
        info!("Stopping the daemon: requests end, engines stay");
        self.closing.cancel();
        self.until_served(LEAVE_DEADLINE).await;
        // What it would see of engines that are let go, it would tell as their end.
        self.loops.abort_all();
        if timeout(JOIN_DEADLINE, self.supervisor.detach()).await.is_err() {
            warn!(deadline = ?JOIN_DEADLINE, "not all replicas were let go in time; the next daemon finds them all the same");
        }
        self.mesh.pause().await;
    }

    /// Replicas go, with their streams, while requests are still forwarded to other nodes; then no new requests; then
    /// the node says goodbye.
    async fn leave(&mut self, departure: Departure) {
        info!("Stopping: streams end, then engines, then the node says goodbye");
        let time = departure.deadline.map_or(Duration::ZERO, |deadline| deadline.since(clock::now())) + LEAVE_DEADLINE;
        if time <= LEAVE_DEADLINE {
            self.closing.cancel();
        }
        if timeout(time, self.control.leave(departure.clone())).await.is_err() {
            warn!(deadline = ?time, "replicas did not end in time and are cut off");
        }
        self.closing.cancel();
        // What is passed on to other nodes ends with this one, and its goodbye takes time, too.
        self.until_served(streams_end_in(&departure, clock::now()).unwrap_or(LEAVE_DEADLINE)).await;
        self.supervisor.shutdown().await;
        self.mesh.shutdown().await;
    }

    async fn until_served(&mut self, limit: Duration) {
        if !self.serving.is_finished() && timeout(limit, &mut self.serving).await.is_err() {
            warn!(deadline = ?limit, "requests did not end in time and are cut off");
        }
    }

    /// Ends everything in order, the tasks last.
    async fn stop(mut self, ending: Ending) {
        self.ending.cancel();
        let what = match &ending {
            Ending::Pause => "the daemon ends, engines stay".to_owned(),
            Ending::Leave(departure) => format!("the daemon ends, engines with it: {}", departure.reason),
        };
        self.events.tell(Draft::new(Reason::DaemonStopping, Subject::node(&self.name), what));
        match ending {
            Ending::Pause => self.pause().await,
            Ending::Leave(departure) => self.leave(departure).await,
        }
        self.stop.cancel();
        self.tasks.close();
        let joined = async {
            self.tasks.wait().await;
            while self.loops.join_next().await.is_some() {}
        };
        if timeout(JOIN_DEADLINE, joined).await.is_err() {
            warn!(tasks = self.tasks.len(), "tasks did not end in time and are dropped");
        }
    }
}

fn facts(
    config: &Config,
    identity: &Identity,
    inventory: &GpuInventory,
    supervisor: &Supervisor,
    listener: &TcpListener,
) -> NodeFacts {
    let ingress = listener.local_addr().ok().filter(|address| !address.ip().is_loopback());
    NodeFacts {
        name: config.node.name.clone().unwrap_or_else(host_name),
        labels: settings::with_token_labels(config.node.labels.clone(), &identity.certificate().labels),
        // Replaced by the mesh once its port is bound.
        addresses: config.mesh.advertised(config.mesh.listen, &host_addresses()),
        ingress,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: config.mesh.protocol.unwrap_or(wire::PROTOCOL),
        host: host(),
        gpu_source: inventory.source(),
        // These are the mesh's to say, and change while it runs.
        issuer: false,
        validities: None,
        root: None,
        requests_capacity: config.capacity.is_set(),
        engines: supervisor.offers(),
        started: clock::now(),
    }
}

/// Where the running program is; engines of kind `sim` are it again.
pub(crate) fn own_binary() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|error| Problem::new(Code::Failed, format!("cannot find the own program: {error}")))
}
