//! The routes of the admin API.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures_util::StreamExt;
use serde::Deserialize;
use shoal_ingress::Ingress;
use shoal_mesh::{Identity, Mesh, MeshError, StoreError, TokenLimits, TokenStatus, clock};
use shoal_placement::{Memory, Scene};
use shoal_types::{Claim, Endpoint, EndpointName, GpuId, Hlc, NodeId, NodeView, SpecError, View, parse_endpoints};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    history, identity, keys, live,
    logs::{self, LogQuery},
    model::{
        AppliedStatus, ApplyOutcome, DrainRequest, EndpointStatus, MeshStatus, NodeStatus, ReplicaStatus, TokenCreated,
        TokenRequest,
    },
    placement,
    problem::{Code, Problem},
    requests, view,
};
use crate::{detail::NodeDetail, metrics::Metrics, node::NodeControl, peer::PeerClient};

/// What documents are as people write them.
const YAML: &str = "application/yaml";

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

/// The API; who may reach it is the listener's business.
pub(crate) fn api_router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/live", get(live::live))
        .route("/v1/history", get(history::history))
        .route("/v1/nodes", get(nodes))
        .route("/v1/nodes/{node}/drain", post(drain))
        .route("/v1/nodes/{node}", delete(revoke_node))
        .route("/v1/nodes/{node}/detail", get(detail))
        .route("/v1/nodes/{node}/issuer-request", post(identity::request_issuer))
        .route("/v1/nodes/{node}/issuer", post(identity::install_issuer))
        .route("/v1/nodes/{node}/gpus/{gpu}/fault", delete(clear_fault))
        .route("/v1/endpoints", get(endpoints).post(apply))
        .route("/v1/endpoints/{name}", get(endpoint).delete(delete_endpoint))
        .route("/v1/endpoints/{name}/why", get(placement::why))
        .route("/v1/endpoints/{name}/rollout", get(placement::rollout).post(placement::steer))
        .route("/v1/endpoints/{name}/rollout/history", get(placement::history))
        .route("/v1/plan", post(placement::dry_run))
        .route("/v1/requests", get(requests::list))
        .route("/v1/requests/{id}/why", get(requests::why))
        .route("/v1/replicas", get(replicas))
        .route("/v1/replicas/{replica}/logs", get(replica_logs))
        .route("/v1/backup", get(identity::backup))
        .route("/v1/restore", post(identity::restore).layer(DefaultBodyLimit::max(identity::BACKUP_MAX)))
        .route("/v1/tokens", get(tokens).post(create_token))
        .route("/v1/tokens/{id}", delete(revoke_token))
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/key-usage", get(keys::usage))
        .route("/v1/keys/{key}", delete(keys::revoke))
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

    fn nodes(&self) -> Vec<NodeStatus> {
        let rtt = self.mesh.peers().into_iter().filter_map(|peer| Some((peer.node, peer.rtt?))).collect();
        view::nodes(&self.view(), &rtt, clock::now())
    }

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

async fn nodes(State(admin): Shared) -> Json<Vec<NodeStatus>> {
    Json(admin.nodes())
}

async fn endpoints(State(admin): Shared) -> Json<Vec<EndpointStatus>> {
    let (view, memory) = (admin.view(), admin.memory.borrow().clone());
    Json(view::endpoints(&admin.scene(&view, &memory)))
}

async fn replicas(State(admin): Shared) -> Json<Vec<ReplicaStatus>> {
    Json(view::replicas(&admin.view(), clock::now()))
}

/// What an apply demands of what stands.
#[derive(Debug, Deserialize)]
struct Expectation {
    /// The version of the one endpoint that is applied.
    expect: Option<String>,
}

async fn apply(
    State(admin): Shared,
    Query(Expectation { expect }): Query<Expectation>,
    body: String,
) -> Answer<Vec<AppliedStatus>> {
    let endpoints = parse_endpoints(&body)?;
    let expect = expect.map(|text| text.parse()).transpose().map_err(|error| Problem::new(Code::Invalid, error))?;
    if expect.is_some() && endpoints.len() > 1 {
        return Err(Problem::new(
            Code::Invalid,
            "a version can only be expected of one endpoint: apply them one by one",
        ));
    }
    let mut applied = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let name = endpoint.metadata.name.clone();
        match apply_one(&admin, endpoint, expect).await {
            Ok(one) => applied.push(one),
            Err(problem) => return Err(partly(problem, &name, &applied)),
        }
    }
    Ok(Json(applied))
}

/// The problem, and what stands of the documents before it.
fn partly(problem: Problem, name: &EndpointName, applied: &[AppliedStatus]) -> Problem {
    let before: Vec<String> = applied.iter().map(|one| format!("{} {}", one.name, one.outcome)).collect();
    let before = if before.is_empty() { String::new() } else { format!(" (before it: {})", before.join(", ")) };
    Problem { message: format!("endpoint {name}: {}{before}", problem.message), ..problem }
}

async fn apply_one(admin: &Admin, endpoint: Endpoint, expect: Option<Hlc>) -> Result<AppliedStatus, Problem> {
    let name = endpoint.metadata.name.clone();
    let known = admin.mesh.store().endpoints().contains_key(&name);
    let applied = admin.mesh.store().apply(endpoint, expect, clock::now()).await?;
    let outcome = match (applied.changed, known) {
        (false, _) => ApplyOutcome::Unchanged,
        (true, true) => ApplyOutcome::Configured,
        (true, false) => ApplyOutcome::Created,
    };
    Ok(AppliedStatus { name, outcome, version: applied.record.version })
}

/// As JSON with how it is, or as the document that was applied where that is asked for (`Accept: application/yaml`).
async fn endpoint(State(admin): Shared, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let (view, memory) = (admin.view(), admin.memory.borrow().clone());
    let found = view::endpoints(&admin.scene(&view, &memory))
        .into_iter()
        .find(|one| one.endpoint.metadata.name.as_str() == name)
        .ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no endpoint `{name}`")).hint("shoal get endpoints")
        })?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.trim_start().starts_with(YAML) {
        return Ok(Json(found).into_response());
    }
    let text = serde_saphyr::to_string(&found.endpoint)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot print the spec: {error}")))?;
    Ok(([(header::CONTENT_TYPE, YAML)], text).into_response())
}

async fn delete_endpoint(State(admin): Shared, Path(name): Path<String>) -> Answer<()> {
    let name: EndpointName = name.parse().map_err(|error| Problem::new(Code::Invalid, error))?;
    admin.mesh.store().delete(&name, None, clock::now()).await?;
    Ok(Json(()))
}

async fn drain(State(admin): Shared, Path(node): Path<String>, Json(request): Json<DrainRequest>) -> Answer<()> {
    let node = admin.node(&node)?;
    if node == admin.mesh.me() {
        admin.control.set_draining(request.drain).await.map_err(|error| {
            Problem::new(Code::Failed, format!("the drain of this node cannot be changed: {error}"))
        })?;
    } else {
        admin.peers.set_draining(node, request.drain).await?;
    }
    Ok(Json(()))
}

async fn detail(State(admin): Shared, Path(node): Path<String>) -> Answer<NodeDetail> {
    let node = admin.node(&node)?;
    if node == admin.mesh.me() { Ok(Json(admin.control.detail())) } else { admin.peers.detail(node).await.map(Json) }
}

async fn clear_fault(State(admin): Shared, Path((node, gpu)): Path<(String, String)>) -> Answer<()> {
    let (node, gpu) = (admin.node(&node)?, GpuId(gpu));
    if node == admin.mesh.me() {
        admin.control.clear_fault(gpu).await.map_err(|error| Problem::new(Code::Failed, error))?;
    } else {
        admin.peers.clear_fault(node, gpu).await?;
    }
    Ok(Json(()))
}

async fn revoke_node(State(admin): Shared, Path(node): Path<String>) -> Answer<()> {
    let node = admin.node(&node)?;
    if node == admin.mesh.me() {
        return Err(Problem::new(Code::Invalid, "a node cannot revoke itself").hint("run this on another node"));
    }
    admin.mesh.revoke_node(node).await?;
    Ok(Json(()))
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

async fn tokens(State(admin): Shared) -> Answer<Vec<TokenStatus>> {
    Ok(Json(admin.mesh.tokens().await?))
}

async fn create_token(State(admin): Shared, Json(request): Json<TokenRequest>) -> Answer<TokenCreated> {
    let limits = TokenLimits {
        ttl: Duration::from_millis(request.ttl_ms),
        uses: request.uses,
        write: request.write,
        issuer: request.issuer,
        labels: request.labels,
    };
    let token = admin.mesh.create_token(limits).await?;
    Ok(Json(TokenCreated { id: token.id().to_string(), expires: token.not_after(), token: token.to_string() }))
}

async fn revoke_token(State(admin): Shared, Path(id): Path<String>) -> Answer<()> {
    let id = id.parse().map_err(|error| Problem::new(Code::Invalid, error))?;
    admin.mesh.revoke_token(id).await?;
    Ok(Json(()))
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

impl From<SpecError> for Problem {
    fn from(error: SpecError) -> Self {
        Self::new(Code::Invalid, error).hint("`shoal config schema endpoint` prints all fields")
    }
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
