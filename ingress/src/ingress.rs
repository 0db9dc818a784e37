//! The ingress itself: what the agent holds.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue};
use prometheus_client::registry::Registry;
use shoal_types::{ClaimId, Demand, KeyId, KeyRecord, KeyUse, NodeId};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Auth, IngressConfig, KeyUsage, RequestRecord, RoutingTable,
    admission::Admission,
    choose::Knowledge,
    circuits::Circuits,
    demand::Tallies,
    handler,
    headroom::SaidFull,
    holding::WaitingRoom,
    inflight::InFlight,
    keys::{KeyMetrics, KeyRing, credential},
    metrics::Metrics,
    records::Records,
    tunnel::Dial,
    upstream::EnginePool,
};

/// The gateway of one node. Serves clients ([`Ingress::serve`]) and other nodes ([`Ingress::serve_tunnel`]).
pub struct Ingress {
    pub(crate) config: IngressConfig,
    pub(crate) node: NodeId,
    /// The node as a header.
    pub(crate) name: HeaderValue,
    pub(crate) dial: Arc<dyn Dial>,
    /// Where the connections to other nodes are driven.
    pub(crate) runtime: Handle,
    pub(crate) routes: ArcSwap<RoutingTable>,
    /// Changes after `routes` has.
    pub(crate) rerouted: watch::Sender<()>,
    pub(crate) keys: ArcSwap<KeyRing>,
    pub(crate) key_metrics: KeyMetrics,
    pub(crate) tallies: Arc<Tallies>,
    pub(crate) waiting: WaitingRoom,
    pub(crate) engines: Arc<EnginePool>,
    pub(crate) inflight: Arc<InFlight>,
    pub(crate) knowledge: Knowledge,
    pub(crate) circuits: Circuits,
    pub(crate) said_full: SaidFull,
    pub(crate) admission: Admission,
    /// Room for requests of other nodes.
    pub(crate) tunnels: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) records: Records,
    pub(crate) listening: AtomicBool,
    /// Nothing new is taken. Cancelled by [`Self::stop`].
    pub(crate) stopping: CancellationToken,
    /// The same for whoever looks each time that a byte comes: a token is locked for it.
    is_stopping: AtomicBool,
    /// What still runs is ended now.
    pub(crate) cut_off: CancellationToken,
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Ingress {
    /// An ingress of `node` without routes, which reaches other nodes by `dial`, in the runtime that this is called in.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(config: IngressConfig, node: NodeId, dial: Arc<dyn Dial>) -> Arc<Self> {
        let (metrics, inflight) = (Metrics::new(), Arc::new(InFlight::default()));
        Arc::new(Self {
            node,
            name: handler::name(node),
            dial,
            runtime: Handle::current(),
            routes: ArcSwap::default(),
            rerouted: watch::Sender::default(),
            keys: ArcSwap::default(),
            key_metrics: KeyMetrics::default(),
            tallies: Arc::default(),
            waiting: WaitingRoom::new(config.limits.held, Arc::clone(&inflight.bell), metrics.clone()),
            engines: Arc::new(EnginePool::new(
                config.workers,
                config.limits.idle_per_engine,
                config.timeouts.connect,
                config.gateway_tls.clone(),
            )),
            knowledge: Knowledge::new(Arc::clone(&inflight)),
            inflight,
            circuits: Circuits::default(),
            said_full: SaidFull::default(),
            admission: Admission::new(&config.limits, config.timeouts.body),
            tunnels: Arc::new(Semaphore::new(config.limits.tunnels)),
            metrics,
            records: Records::new(config.workers, config.telling.clone()),
            listening: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            is_stopping: AtomicBool::new(false),
            cut_off: CancellationToken::new(),
            config,
        })
    }

    /// Routes new requests by `table` from now on, and held ones that it has a replica for. Running ones stay where they
    /// are. To be called by one caller.
    pub fn set_routes(&self, table: RoutingTable) {
        let before = self.routes.load_full();
        let table = Arc::new(table.after(&before, &self.knowledge, Instant::now()));
        self.routes.store(Arc::clone(&table));
        self.engines.retain(&table.backends().collect());
        self.circuits.retain(&table.claims().collect());
        let endpoints: HashSet<_> = table.routes().map(|route| &route.endpoint).collect();
        for gone in before.routes().filter(|route| !endpoints.contains(&route.endpoint)) {
            self.metrics.forget(gone.endpoint.as_str());
        }
        self.tallies.retain(&endpoints);
        self.waiting.retain(&endpoints);
        drop(before); // it has counts of replicas that are gone
        self.inflight.tidy();
        self.rerouted.send_replace(());
    }

    /// Accepts `keys` from now on, and no others. What they have used so far counts on.
    pub fn set_keys(&self, keys: impl IntoIterator<Item = (KeyId, Arc<KeyRecord>)>) {
        let before = self.keys.load();
        self.keys.store(Arc::new(KeyRing::succeed(&before, keys, &self.key_metrics, Instant::now())));
    }

    /// What clients used by key and endpoint since this was called last. To be called every few seconds by one caller: until
    /// then it is kept in memory only.
    pub fn take_key_usage(&self) -> Vec<KeyUsage> {
        self.keys.load().take_usage()
    }

    /// What this ingress has let through by each key with limits, for the ingresses of other nodes. Rounded; the tokens of
    /// the day are the caller's to fill in.
    pub fn key_uses(&self) -> HashMap<KeyId, KeyUse> {
        self.keys.load().told(Instant::now())
    }

    /// Counts what the ingresses of other nodes have let through, all together, against the limits of keys; a key that is not
    /// in `elsewhere` was not used there. `today` are the tokens of the day of all nodes, this one included.
    pub fn set_key_uses(&self, elsewhere: &HashMap<KeyId, KeyUse>, today: &HashMap<KeyId, u64>) {
        self.keys.load().hear(elsewhere, today);
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

    /// The requests of clients with this id that have ended here lately, the newest first: those of the last ten minutes, as
    /// far as they are among the last 4,096 that something happened to, or the last 512 others of a worker.
    pub fn requests(&self, id: &str) -> Vec<Arc<RequestRecord>> {
        self.records.find(id)
    }

    /// The requests of clients that have ended here lately, the newest first, at most `limit`.
    pub fn latest_requests(&self, limit: usize) -> Vec<Arc<RequestRecord>> {
        self.records.latest(limit)
    }

    /// The key that a request with `headers` shows, if it is good.
    pub fn shown_key(&self, headers: &HeaderMap) -> Option<KeyId> {
        self.keys.load().identify(credential(headers), Auth::Keys).ok()??.caller().key
    }

    /// Makes `registry` show the ingress's metrics, as `shoal_ingress_…` and `gen_ai_server_…`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry, Arc::clone(&self.tallies));
        self.key_metrics.register(registry);
        if let Some(tls) = &self.config.tls {
            tls.register(registry);
        }
    }

    /// From now on nothing new is taken.
    pub(crate) fn stop(&self) {
        // First, so that whoever is told by the token sees it.
        self.is_stopping.store(true, Ordering::Release);
        self.stopping.cancel();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Whether clients are listened to. Says nothing about replicas or other nodes: a node that is cut off from all
    /// others still serves what it has.
    pub(crate) fn is_ready(&self) -> bool {
        self.listening.load(Ordering::Relaxed) && !self.is_stopping()
    }
}
