//! The routes of the admin API.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures_util::StreamExt;
use shoal_ingress::Ingress;
use shoal_mesh::{Identity, Mesh, MeshError, StoreError, clock};
use shoal_placement::{Memory, Scene};
use shoal_types::{Claim, NodeId, NodeView, View};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    access::needs,
    doctor, endpoints, events, history, identity, keys, live,
    logs::{self, LogQuery},
    model::{MeshStatus, NodeStatus, ReplicaStatus},
    nodes, placement,
    problem::{Code, Problem},
    requests, tokens, view,
};
use crate::{config::Role, events::Events, metrics::Metrics, node::NodeControl, peer::PeerClient};

/// What the routes work on.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) memory: watch::Receiver<Arc<Memory>>,
    pub(crate) control: NodeControl,
    pub(crate) peers: PeerClient,
    pub(crate) metrics: Metrics,
    pub(crate) identity: Arc<Identity>,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) events: Events,
    pub(crate) addresses: OwnAddresses,
    /// Room for those who look on.
    pub(crate) viewers: Arc<Semaphore>,
    /// Cancelled once the daemon ends.
    pub(crate) ending: CancellationToken,
}

impl Admin {
    /// Room for those who look on.
    pub(crate) fn room_for_viewers() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(live::VIEWERS_MAX))
    }
}

/// Where this node can be asked.
#[derive(Debug, Clone)]
pub(crate) struct OwnAddresses {
    /// Below which clients find the API, such as `http://127.0.0.1:8080`.
    pub(crate) ingress: String,
    /// Whether they must show a key there.
    pub(crate) key_needed: bool,
    /// Where the dashboard is, if the admin API listens for browsers.
    pub(crate) dashboard: Option<String>,
}

pub(super) type Shared = State<Arc<Admin>>;
pub(super) type Answer<T> = Result<Json<T>, Problem>;

/// The API. Each request says by an [`super::access::Actor`] who asks.
pub(crate) fn api_router(admin: Arc<Admin>) -> Router {
    let view = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/live", get(live::live))
        .route("/v1/history", get(history::history))
        .route("/v1/events", get(events::list))
        .route("/v1/paths", get(doctor::paths))
        .route("/v1/nodes", get(all_nodes))
        .route("/v1/nodes/{node}/detail", get(nodes::detail))
        .route("/v1/endpoints", get(endpoints::list))
        .route("/v1/endpoints/{name}", get(endpoints::one))
        .route("/v1/endpoints/{name}/why", get(placement::why))
        .route("/v1/endpoints/{name}/rollout", get(placement::rollout))
        .route("/v1/endpoints/{name}/rollout/history", get(placement::history))
        // It changes nothing; only the question is long.
        .route("/v1/plan", post(placement::dry_run))
        .route("/v1/requests", get(requests::list))
        .route("/v1/requests/{id}/why", get(requests::why))
        .route("/v1/replicas", get(replicas))
        .route("/v1/replicas/{replica}/logs", get(replica_logs))
        .route("/v1/tokens", get(tokens::list))
        .route("/v1/keys", get(keys::list))
        .route("/v1/key-usage", get(keys::usage));
    let operate = Router::new()
        .route("/v1/nodes/{node}/drain", post(nodes::drain))
        .route("/v1/nodes/{node}/gpus/{gpu}/fault", delete(nodes::clear_fault))
        .route("/v1/endpoints", post(endpoints::apply))
        .route("/v1/endpoints/{name}", delete(endpoints::delete))
        .route("/v1/endpoints/{name}/rollout", post(placement::steer));
    let administer = Router::new()
        .route("/v1/nodes/{node}", delete(nodes::revoke))
        .route("/v1/tokens", post(tokens::create))
        .route("/v1/tokens/{id}", delete(tokens::revoke))
        .route("/v1/keys", post(keys::create))
        .route("/v1/keys/{key}", delete(keys::revoke))
        .merge(identity::router());
    needs(Role::View, &admin, view)
        .merge(needs(Role::Operate, &admin, operate))
        .merge(needs(Role::Admin, &admin, administer))
        .with_state(admin)
}

/// What whoever has a key may ask: what that one has used.
pub(crate) fn key_router(admin: Arc<Admin>) -> Router {
    Router::new().route("/ui/v1/key-usage", get(keys::own_usage)).with_state(admin)
}

/// What anybody may ask: health and metrics.
pub(crate) fn open_router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(admin)
}

impl Admin {
    pub(super) fn view(&self) -> Arc<View> {
        self.mesh.view().borrow().clone()
    }

    /// What placement decides by, now.
    pub(super) fn scene<'a>(&self, view: &'a View, memory: &'a Memory) -> Scene<'a> {
        Scene { view, memory, now: clock::now() }
    }

    /// The whole mesh in one screen.
    pub(super) fn status(&self) -> MeshStatus {
        let view = self.view();
        let nodes = self.nodes();
        let memory = self.memory.borrow().clone();
        let endpoints = view::endpoints(&self.scene(&view, &memory));
        let now = clock::now();
        let problems = if self.mesh.is_revoked() {
            vec![identity::REVOKED.to_owned()]
        } else {
            let refusals = self.mesh.peers().into_iter().filter_map(|peer| Some((peer.node, peer.refusal?))).collect();
            [identity::problems(&nodes, now), view::problems(&nodes, &endpoints, &refusals, now)].concat()
        };
        let own = view.nodes.get(&view.me);
        MeshStatus {
            mesh: view.mesh.to_string(),
            node: own.map_or_else(|| view.me.short(), |node| node.facts.name.clone()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            certificate_expires: self.identity.not_after(),
            ingress: self.addresses.ingress.clone(),
            key_needed: self.addresses.key_needed,
            dashboard: self.addresses.dashboard.clone(),
            nodes,
            endpoints,
            problems,
        }
    }

    /// What people call `node`.
    pub(super) fn name_of(&self, node: NodeId) -> String {
        self.view().nodes.get(&node).map_or_else(|| node.short(), |node| node.facts.name.clone())
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let rtt = self.mesh.peers().into_iter().filter_map(|peer| Some((peer.node, peer.rtt?))).collect();
        view::nodes(&self.view(), &rtt, clock::now())
    }

    /// The node that `text` means.
    pub(super) fn node(&self, text: &str) -> Result<NodeId, Problem> {
        if let Ok(id) = text.parse() {
            // Also one that has been quiet for so long that it is in no view.
            return Ok(id);
        }
        let view = self.view();
        let by_name = |node: &&Arc<NodeView>| node.facts.name == text || node.id.to_string().starts_with(text);
        let mut found = view.nodes.values().filter(by_name);
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(node.id),
            (None, _) => {
                Err(Problem::new(Code::NotFound, format!("there is no node `{text}`")).hint("shoal get nodes"))
            }
            (Some(_), Some(_)) => Err(Problem::new(Code::Invalid, format!("`{text}` means more than one node"))
                .hint("give more of the id; shoal get nodes -o wide shows ids")),
        }
    }
}

async fn status(State(admin): Shared) -> Json<MeshStatus> {
    Json(admin.status())
}

async fn all_nodes(State(admin): Shared) -> Json<Vec<NodeStatus>> {
    Json(admin.nodes())
}

async fn replicas(State(admin): Shared) -> Json<Vec<ReplicaStatus>> {
    Json(view::replicas(&admin.view(), clock::now()))
}

async fn replica_logs(
    State(admin): Shared,
    Path(replica): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Problem> {
    let view = admin.view();
    let named = |claim: &&Claim| claim.id.replica_name(&claim.endpoint) == replica;
    // By its whole id also one that is gone: its node keeps the last logs for a while.
    let claim = replica
        .parse()
        .ok()
        .or_else(|| view.claims().map(|(_, claim)| claim).find(named).map(|claim| claim.id))
        .ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no replica `{replica}`")).hint("shoal get replicas")
        })?;
    let lines = if claim.node == admin.mesh.me() {
        logs::local(&admin.control, claim, query).map(StreamExt::boxed)
    } else {
        admin.peers.logs(claim, query).await.map(StreamExt::boxed)
    }?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(lines)).into_response())
}

/// Ready from when the daemon serves until it begins to stop: a load balancer should look elsewhere while requests are
/// still taken. Not a question of how peers are, unless they say that this node is revoked.
async fn readyz(State(admin): Shared) -> (StatusCode, &'static str) {
    if admin.ending.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if admin.mesh.is_revoked() {
        (StatusCode::SERVICE_UNAVAILABLE, "revoked\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(admin): Shared) -> Response {
    let (view, memory) = (admin.view(), admin.memory.borrow().clone());
    let text = admin.metrics.render(&admin.scene(&view, &memory), &admin.identity.validities());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Conflict { .. } | StoreError::KeyExists { .. } => Code::Conflict,
            StoreError::NotFound { .. } | StoreError::UnknownToken { .. } | StoreError::UnknownKey { .. } => {
                Code::NotFound
            }
            StoreError::NotAWriter { .. } => Code::Forbidden,
            _ => Code::Failed,
        };
        Self::new(code, error)
    }
}

impl From<MeshError> for Problem {
    fn from(error: MeshError) -> Self {
        match error {
            MeshError::Store(error) => error.into(),
            other => Self::new(Code::Failed, other),
        }
    }
}
