//! `shoal agent`: builds the parts, runs them, takes them down in order.

mod settings;

pub(crate) use settings::signalled;

use std::{path::PathBuf, sync::Arc, time::Duration};

use shoal_engine_supervisor::{SimOptions, Supervisor, sim_engine as serve_sim_engine};
use shoal_ingress::{Ingress, IngressConfig, Limits};
use shoal_mesh::{Identity, IdentityError, InboundStream, Mesh, MeshConfig, StreamKind, clock};
use shoal_placement::Timing;
use shoal_types::{EngineAddress, NodeFacts, wire};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    admin::{Admin, AdminListeners, Code, Problem},
    cli::{AgentArgs, IDENTITY_DIR, SimEngineArgs, join_with, note, read_token},
    config::Config,
    inventory::{GpuInventory, host, host_addresses, host_name},
    metrics::Metrics,
    node::NodeControl,
    peer::{self, PeerClient},
    replicas::{Parts, Replicas},
    routing::{MeshDial, Routes, tunnel},
    telemetry,
};

/// Commands to the replica loop that may wait.
const INBOX: usize = 64;
/// Longest wait for replicas to end their streams and engines to stop, beyond what the streams are allowed.
const LEAVE_DEADLINE: Duration = Duration::from_secs(45);
/// Longest wait for the remaining tasks.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);

/// Set by `shoal dev` for nodes that must not outlive it.
pub(crate) const DIE_WITH_PARENT: &str = "SHOAL_DIE_WITH_PARENT";

/// Runs the daemon until SIGTERM or Ctrl-C.
pub(crate) async fn run(args: AgentArgs) -> Result<(), Problem> {
    if std::env::var_os(DIE_WITH_PARENT).is_some() {
        let bound = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
        bound
            .map_err(|error| Problem::new(Code::Failed, format!("cannot bind this process to its parent: {error}")))?;
    }
    let config = settings::load(&args).map_err(|error| Problem::new(Code::Invalid, error))?;
    telemetry::init(&config.log)?;
    let identity = identity(&config, &args).await?;
    let daemon = Daemon::start(config, identity).await?;
    daemon.until_signal().await;
    daemon.stop().await;
    Ok(())
}

/// `shoal sim-engine`, as the supervisor starts it.
pub(crate) async fn sim_engine(args: SimEngineArgs) -> Result<(), Problem> {
    let stop = CancellationToken::new();
    let options = SimOptions {
        listen: EngineAddress::Unix(args.uds),
        models: args.models,
        load_time: args.load_time,
        time_to_first_token: args.time_to_first_token,
        inter_token_latency: args.inter_token_latency,
        max_num_seqs: args.max_num_seqs,
        max_model_len: args.max_model_len,
        parent: args.parent,
    };
    note("simulated engine: no model is loaded, answers are made up");
    let engine = serve_sim_engine(options, stop.clone());
    let mut engine = std::pin::pin!(engine);
    let ended = tokio::select! {
        ended = &mut engine => ended,
        () = signalled() => {
            stop.cancel();
            engine.await
        }
    };
    ended.map_err(|error| Problem::new(Code::Failed, error))
}

/// This host's identity; joins first if there is none and a token was given.
async fn identity(config: &Config, args: &AgentArgs) -> Result<Arc<Identity>, Problem> {
    let state_dir = config.state_dir();
    let dir = state_dir.join(IDENTITY_DIR);
    match (Identity::load(&dir), &args.join_token_file) {
        (Ok(identity), _) => Ok(Arc::new(identity)),
        (Err(IdentityError::Missing { .. }), Some(token_file)) => {
            let node = join_with(&read_token(token_file)?, &state_dir).await?;
            info!(%node, "Joined the mesh");
            Identity::load(&dir).map(Arc::new).map_err(|error| Problem::new(Code::Failed, error))
        }
        (Err(error), _) => Err(Problem::new(Code::Failed, error)),
    }
}

/// The running parts.
struct Daemon {
    mesh: Arc<Mesh>,
    supervisor: Arc<Supervisor>,
    control: NodeControl,
    tasks: TaskTracker,
    /// The ingress; ends once its last request has.
    serving: JoinHandle<()>,
    /// Ends the ingress.
    closing: CancellationToken,
    /// Ends everything else.
    stop: CancellationToken,
}

impl Daemon {
    async fn start(config: Config, identity: Arc<Identity>) -> Result<Self, Problem> {
        let failed = |error: &dyn std::fmt::Display| Problem::new(Code::Failed, error);
        // Whatever can be wrong with ports is found before anything else starts.
        let admin_listeners =
            AdminListeners::bind(&config.admin, config.admin_socket()).await.map_err(|error| failed(&error))?;
        let listen = config.ingress.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            Problem::new(Code::Failed, format!("cannot listen on ingress address {listen}: {error}"))
        })?;

        let supervisor = Supervisor::start(settings::supervisor(&config)?).await.map_err(|error| failed(&error))?;
        let supervisor = Arc::new(supervisor);
        let inventory = GpuInventory::open(&config.gpus);
        let (known_gpus, readings) = watch::channel(inventory.read().await);
        let facts = facts(&config, &identity, &inventory, &supervisor, &listener);
        let mesh_config = MeshConfig {
            state_dir: config.state_dir(),
            listen: config.mesh.listen,
            advertise: config.mesh.advertise.clone(),
            gossip_interval: config.mesh.gossip_interval.0,
        };
        let (mesh, inbound) =
            Mesh::start(mesh_config, Arc::clone(&identity), facts).await.map_err(|error| failed(&error))?;
        let mesh = Arc::new(mesh);

        let limits = Limits {
            body: usize::try_from(config.ingress.max_body.as_bytes()).unwrap_or(usize::MAX),
            ..Limits::default()
        };
        let ingress_config = IngressConfig { limits, ..IngressConfig::default() };
        let ingress = Ingress::new(ingress_config, mesh.me(), Arc::new(MeshDial(Arc::clone(&mesh))));
        let (inbox, commands) = mpsc::channel(INBOX);
        let control = NodeControl::new(inbox, Arc::clone(&supervisor));
        let peers = PeerClient::new(Arc::clone(&mesh), control.clone());

        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        info!(node = %mesh.me(), ingress = ?listener.local_addr().ok(), "Node is up");
        let daemon = Self {
            mesh: Arc::clone(&mesh),
            supervisor: Arc::clone(&supervisor),
            control: control.clone(),
            serving: tasks.spawn(Arc::clone(&ingress).serve(listener, closing.clone())),
            tasks,
            closing,
            stop: CancellationToken::new(),
        };
        let metrics = Metrics::new(&ingress);
        let routes = Arc::new(Routes::new(Arc::clone(&mesh), Arc::clone(&supervisor), Arc::clone(&ingress)));
        let replicas = Replicas::new(Parts {
            mesh: Arc::clone(&mesh),
            supervisor: Arc::clone(&supervisor),
            ingress: Arc::clone(&ingress),
            routes: Arc::clone(&routes),
            peers: peers.clone(),
            readings,
            timing: Timing { settle: config.placement.settle.0, step: config.placement.step.0, ..Timing::default() },
            state_dir: config.state_dir(),
        });
        let admin = Admin { mesh: Arc::clone(&mesh), control, peers, metrics, identity };
        daemon.tasks.spawn(inventory.keep(known_gpus, daemon.stop.clone()));
        daemon.tasks.spawn(replicas.run(commands));
        daemon.tasks.spawn(routes.keep(daemon.stop.clone()));
        daemon.tasks.spawn(daemon.answer_peers(inbound, ingress));
        admin_listeners.serve(&Arc::new(admin), &daemon.tasks, &daemon.stop);
        Ok(daemon)
    }

    /// Gives the streams of other nodes to whom they are for. The transport bounds how many there can be.
    fn answer_peers(
        &self,
        mut inbound: mpsc::Receiver<InboundStream>,
        ingress: Arc<Ingress>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (tasks, control, stop) = (self.tasks.clone(), self.control.clone(), self.stop.clone());
        async move {
            while let Some(Some(stream)) = stop.run_until_cancelled(inbound.recv()).await {
                let stopped = stop.clone();
                match stream.kind {
                    StreamKind::Forward => {
                        let ingress = Arc::clone(&ingress);
                        let serve = async move { ingress.serve_tunnel(stream.from, tunnel(stream.stream)).await };
                        tasks.spawn(async move { stopped.run_until_cancelled(serve).await });
                    }
                    StreamKind::Admin | StreamKind::Probe | StreamKind::StoreSync => {
                        let answer = peer::answer(control.clone(), stream);
                        tasks.spawn(async move { stopped.run_until_cancelled(answer).await });
                    }
                }
            }
        }
    }

    async fn until_signal(&self) {
        signalled().await;
        info!("Stopping: streams end, then engines, then the node says goodbye");
    }

    /// No new requests; then replicas, with their streams; then the mesh; then the rest.
    async fn stop(self) {
        self.closing.cancel();
        let left = async { tokio::join!(self.control.leave(), self.serving) };
        if timeout(LEAVE_DEADLINE, left).await.is_err() {
            warn!(deadline = ?LEAVE_DEADLINE, "requests or replicas did not end in time and are cut off");
        }
        self.supervisor.shutdown().await;
        self.mesh.shutdown().await;
        self.stop.cancel();
        self.tasks.close();
        if timeout(JOIN_DEADLINE, self.tasks.wait()).await.is_err() {
            warn!(tasks = self.tasks.len(), "tasks did not end in time and are dropped");
        }
        info!("Stopped");
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
        protocol: wire::PROTOCOL,
        host: host(),
        gpu_source: inventory.source(),
        issuer: identity.issuer().is_some(),
        engines: supervisor.offers(),
        started: clock::now(),
    }
}

/// Where the running program is; engines of kind `sim` are it again.
pub(crate) fn own_binary() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|error| Problem::new(Code::Failed, format!("cannot find the own program: {error}")))
}
