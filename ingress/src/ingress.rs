//! The ingress itself: what the agent holds.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use shoal_types::{ClaimId, Demand, NodeId};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    IngressConfig, RoutingTable, admission::Admission, demand::Tallies, headroom::SaidFull, holding::WaitingRoom,
    inflight::InFlight, loads::FreshLoads, metrics::Metrics, suspicion::Suspicions, tunnel::Dial, upstream::EnginePool,
};

/// The gateway of one node. Serves clients ([`Ingress::serve`]) and other nodes ([`Ingress::serve_tunnel`]).
pub struct Ingress {
    pub(crate) config: IngressConfig,
    pub(crate) node: NodeId,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) routes: ArcSwap<RoutingTable>,
    /// Changes after `routes` has.
    pub(crate) rerouted: watch::Sender<()>,
    pub(crate) tallies: Tallies,
    pub(crate) waiting: WaitingRoom,
    pub(crate) engines: Arc<EnginePool>,
    pub(crate) inflight: Arc<InFlight>,
    pub(crate) loads: Arc<FreshLoads>,
    pub(crate) said_full: SaidFull,
    pub(crate) suspicions: Arc<Suspicions>,
    pub(crate) admission: Admission,
    /// Room for requests of other nodes.
    pub(crate) tunnels: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) listening: AtomicBool,
    /// Nothing new is taken.
    pub(crate) stopping: CancellationToken,
    /// What still runs is ended now.
    pub(crate) cut_off: CancellationToken,
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Ingress {
    /// An ingress of `node` without routes, which reaches other nodes by `dial`.
    pub fn new(config: IngressConfig, node: NodeId, dial: Arc<dyn Dial>) -> Arc<Self> {
        let (metrics, inflight) = (Metrics::new(), Arc::new(InFlight::default()));
        Arc::new(Self {
            node,
            dial,
            routes: ArcSwap::default(),
            rerouted: watch::Sender::default(),
            tallies: Tallies::default(),
            waiting: WaitingRoom::new(config.limits.held, Arc::clone(&inflight.bell), metrics.clone()),
            engines: Arc::new(EnginePool::new(
                config.limits.idle_per_engine,
                config.timeouts.connect,
                config.gateway_tls.clone(),
            )),
            inflight,
            loads: Arc::default(),
            said_full: SaidFull::default(),
            suspicions: Arc::default(),
            admission: Admission::new(&config.limits, config.timeouts.body),
            tunnels: Arc::new(Semaphore::new(config.limits.tunnels)),
            metrics,
            listening: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            config,
        })
    }

    /// Routes new requests by `table` from now on, and held ones that it has a replica for. Running ones stay where they
    /// are.
    pub fn set_routes(&self, table: RoutingTable) {
        let table = Arc::new(table);
        let before = self.routes.swap(Arc::clone(&table));
        self.engines.retain(&table.backends().collect());
        self.loads.retain(&table.claims().collect());
        let endpoints: HashSet<_> = table.routes().map(|route| &route.endpoint).collect();
        for gone in before.routes().filter(|route| !endpoints.contains(&route.endpoint)) {
            self.metrics.forget(gone.endpoint.as_str());
        }
        self.tallies.retain(&endpoints);
        self.waiting.retain(&endpoints);
        self.rerouted.send_replace(());
    }

    /// What clients of this ingress ask of the endpoints that there are, in the order of their names; requests that it
    /// serves for other nodes are demand there. Rounded, so that it changes seldom; an endpoint that nobody asks is left
    /// out.
    pub fn demands(&self) -> Vec<Demand> {
        let routes = self.routes.load();
        self.tallies.demands(routes.routes().map(|route| &route.endpoint), Instant::now())
    }

    /// Changes when the first request for an endpoint waits that nothing serves: then a replica is wanted at once, and whoever publishes
    /// [`Self::demands`] should not wait for its next turn.
    pub fn demand_changed(&self) -> watch::Receiver<()> {
        self.waiting.first_held()
    }

    /// Requests that a replica has from this ingress: those of its clients and, if the replica is on this node, those
    /// of other nodes.
    pub fn inflight(&self, claim: ClaimId) -> u32 {
        self.inflight.count(claim)
    }

    /// Until [`Self::inflight`] of `claim` is 0. Call it after [`Self::set_routes`] without that replica: then nothing
    /// new comes, and what is here has been counted. Has no deadline of its own. Cancel safe.
    pub async fn drained(&self, claim: ClaimId) {
        self.inflight.drained(claim).await;
    }

    /// Makes `registry` show the ingress's metrics, as `shoal_ingress_…`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Whether clients are listened to. Says nothing about replicas or other nodes: a node that is cut off from all
    /// others still serves what it has.
    pub(crate) fn is_ready(&self) -> bool {
        self.listening.load(Ordering::Relaxed) && !self.stopping.is_cancelled()
    }
}
