//! An ingress that serves, and the routes it is given.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use shoal_ingress::{
    Ingress, IngressConfig, Place, QueueBounds, Replica, Route, RouteRevision, RoutingTable, Site, StreamPolicy,
};
use shoal_types::{
    Backend, ClaimId, Demand, EngineAddress, GatewayTarget, Hlc, Load, NodeId, Revision, RoutingPolicy, UnixMillis,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Client, Mesh, Peer, soon};

pub(crate) fn node_id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// The only claim of node `number`.
pub(crate) fn claim(number: u8) -> ClaimId {
    ClaimId { node: node_id(number), generation: UnixMillis::from_millis(1), counter: 1 }
}

/// A replica of node `number` on the ingress's own node. The one with the least `load` is tried first.
pub(crate) fn local(number: u8, address: EngineAddress, load: u32) -> Replica {
    backed(number, Backend::Engine(address), load)
}

/// As [`local`], a gateway to `target`.
pub(crate) fn gateway(number: u8, target: GatewayTarget, load: u32) -> Replica {
    backed(number, Backend::Gateway(Arc::new(target)), load)
}

fn backed(number: u8, backend: Backend, load: u32) -> Replica {
    Replica { place: Place::Local(backend), ..remote(number, load) }
}

/// A replica of node `number` on that other node.
pub(crate) fn remote(number: u8, load: u32) -> Replica {
    Replica {
        claim: claim(number),
        revision: revision(1),
        node: node_id(number),
        place: Place::Remote,
        load: Some(Load { inflight: load, running: Some(load), ..Load::default() }),
        site: Site::default(),
    }
}

/// The revision with this number; the greater one is the newer.
pub(crate) fn revision(number: u64) -> Revision {
    Revision(Hlc { time: UnixMillis::from_millis(number), counter: 0, node: node_id(1) })
}

/// Revision `number` of the endpoint `llama`, with this model.
pub(crate) fn route_revision(number: u64, model: &str, weight: u8) -> RouteRevision {
    let (aliases, adapters) = (Default::default(), Default::default());
    RouteRevision {
        revision: revision(number),
        model: model.to_owned(),
        aliases,
        adapters,
        weight,
        continues_messages: true,
    }
}

/// The endpoint `llama` with `replicas`; without any, none is waited for.
pub(crate) fn route(replicas: impl IntoIterator<Item = Replica>) -> Route {
    Route {
        endpoint: "llama".parse().unwrap(),
        created: UnixMillis::from_millis(0),
        timeout: Duration::from_secs(60),
        may_wake: false,
        revisions: vec![route_revision(1, "meta/Llama-3", 100)],
        replicas: replicas.into_iter().collect(),
        policy: RoutingPolicy::default(),
        streams: StreamPolicy::default(),
        max_inflight: None,
        queue: QueueBounds::default(),
    }
}

/// `route` with streams that end with their replica.
pub(crate) fn without_resume(route: Route) -> Route {
    Route { streams: StreamPolicy { resume: false, ..route.streams }, ..route }
}

/// As [`route`], and where there are no replicas, requests wait for one.
pub(crate) fn waking(replicas: impl IntoIterator<Item = Replica>) -> Route {
    Route { may_wake: true, ..route(replicas) }
}

/// A node with a running ingress.
pub(crate) struct Node {
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) address: SocketAddr,
    pub(crate) mesh: Mesh,
    stop: CancellationToken,
    served: JoinSet<()>,
}

impl Node {
    /// Node 1, with `replicas` of the endpoint `llama`.
    pub(crate) async fn start(replicas: impl IntoIterator<Item = Replica>) -> Self {
        Self::start_with(IngressConfig::default(), replicas).await
    }

    pub(crate) async fn start_with(config: IngressConfig, replicas: impl IntoIterator<Item = Replica>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mesh, stop) = (Mesh::default(), CancellationToken::new());
        let ingress = Ingress::new(config, node_id(1), Arc::new(mesh.clone()));
        let mut served = JoinSet::new();
        served.spawn(Arc::clone(&ingress).serve(listener, stop.clone()));
        let node = Self { ingress, address, mesh, stop, served };
        node.route(replicas);
        node
    }

    /// Node `number`, which serves other nodes only, seen from this one.
    pub(crate) fn peer(&self, number: u8, replicas: impl IntoIterator<Item = Replica>) -> Arc<Ingress> {
        self.peer_with(number, IngressConfig::default(), replicas)
    }

    pub(crate) fn peer_with(
        &self,
        number: u8,
        config: IngressConfig,
        replicas: impl IntoIterator<Item = Replica>,
    ) -> Arc<Ingress> {
        let peer = Ingress::new(config, node_id(number), Arc::new(Mesh::default()));
        peer.set_routes(RoutingTable::new([route(replicas)]));
        self.mesh.put(node_id(number), Peer::Serves(Arc::clone(&peer)));
        peer
    }

    pub(crate) fn route(&self, replicas: impl IntoIterator<Item = Replica>) {
        self.ingress.set_routes(RoutingTable::new([route(replicas)]));
    }

    /// As [`Self::route`], and where there are none, requests wait for one.
    pub(crate) fn wake(&self, replicas: impl IntoIterator<Item = Replica>) {
        self.ingress.set_routes(RoutingTable::new([waking(replicas)]));
    }

    /// What is asked of `llama`, if it is anything.
    pub(crate) fn demand(&self) -> Option<Demand> {
        self.ingress.demands().into_iter().find(|demand| demand.endpoint.as_str() == "llama")
    }

    /// Until so many requests for `llama` are held.
    pub(crate) async fn until_held(&self, held: u32) {
        let reached = async {
            while self.demand().map_or(0, |demand| demand.held) != held {
                tokio::task::yield_now().await;
            }
        };
        soon("requests to be held", reached).await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// What it tells Prometheus.
    pub(crate) fn metrics(&self) -> String {
        let (mut registry, mut text) = (prometheus_client::registry::Registry::default(), String::new());
        self.ingress.register_metrics(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    /// Tells it to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Until it has stopped.
    pub(crate) async fn stopped(mut self) {
        soon("the ingress to stop", self.served.join_next()).await.unwrap().unwrap();
    }
}
