//! A hub on loopback: two servers, since large files come from another host than the list.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::weights::{HubConfig, check::tests::safetensors};

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Bytes of a chunk of an answer.
const CHUNK: usize = 64 << 10;

/// What the hub has, and how it misbehaves.
#[derive(Debug)]
pub(super) struct Behaviour {
    pub(super) repos: BTreeMap<String, BTreeMap<String, Bytes>>,
    /// Who may read.
    pub(super) token: Option<&'static str>,
    /// Lists are public, files only for those whom the author let in.
    pub(super) gated: bool,
    /// The next answer with a file ends after so many bytes.
    pub(super) cut: Option<usize>,
    pub(super) ignores_range: bool,
    /// Files are listed as so much larger, or smaller, than they are.
    pub(super) lie: i64,
    /// Lists are answered with this.
    pub(super) status: Option<StatusCode>,
    pub(super) requests: Vec<Request>,
}

/// One request for a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) from: usize,
    pub(super) token: bool,
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    cdn: SocketAddr,
    /// A permit for each chunk that may be sent.
    chunks: Arc<Semaphore>,
}

#[derive(Debug)]
pub(super) struct FakeHub {
    shared: Arc<Shared>,
    address: SocketAddr,
    _servers: JoinSet<()>,
}

impl FakeHub {
    pub(super) async fn start() -> Self {
        let (hub, cdn) = (listen().await, listen().await);
        let behaviour = Behaviour {
            repos: BTreeMap::new(),
            token: None,
            gated: false,
            cut: None,
            ignores_range: false,
            lie: 0,
            status: None,
            requests: Vec::new(),
        };
        let (address, cdn_address) = (hub.local_addr().unwrap(), cdn.local_addr().unwrap());
        let chunks = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let shared = Arc::new(Shared { behaviour: Mutex::new(behaviour), cdn: cdn_address, chunks });
        let router = Router::new()
            .route("/api/models/{org}/{name}/revision/{revision}", get(list))
            .route("/{org}/{name}/resolve/{commit}/{*path}", get(resolve))
            .with_state(shared.clone());
        let cdn_router = Router::new().route("/{org}/{name}/{*path}", get(large)).with_state(shared.clone());
        let mut servers = JoinSet::new();
        servers.spawn(async move { axum::serve(hub, router).await.unwrap() });
        servers.spawn(async move { axum::serve(cdn, cdn_router).await.unwrap() });
        Self { shared, address, _servers: servers }
    }

    /// With a model of a small configuration and weights of `weights` bytes.
    pub(super) async fn with_model(model: &str, weights: usize) -> Self {
        let hub = Self::start().await;
        hub.add(
            model,
            &[("config.json", b"{\"a\": 1}"), ("README.md", b"# no"), ("model.safetensors", &safetensors(weights))],
        );
        hub
    }

    pub(super) fn add(&self, model: &str, files: &[(&str, &[u8])]) {
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), Bytes::copy_from_slice(content)));
        self.behaviour().repos.insert(model.to_owned(), files.collect());
    }

    pub(super) fn config(&self) -> HubConfig {
        HubConfig { url: format!("http://{}", self.address), token_file: None }
    }

    pub(super) fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.shared.behaviour.lock().unwrap()
    }

    /// From where on files were asked for, by name.
    pub(super) fn asked(&self, file: &str) -> Vec<usize> {
        let behaviour = self.behaviour();
        behaviour.requests.iter().filter(|request| request.path.ends_with(file)).map(|request| request.from).collect()
    }

    /// No file is sent beyond so many chunks of 64 KiB.
    pub(super) fn hold(&self, chunks: usize) {
        self.shared.chunks.forget_permits(Semaphore::MAX_PERMITS);
        self.shared.chunks.add_permits(chunks);
    }

    pub(super) fn go_on(&self) {
        self.shared.chunks.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// A name for a content: not a hash of it, but different for different files.
fn blob(model: &str, path: &str, large: bool) -> String {
    let hash = shoal_types::stable_hash(&[model.as_bytes(), path.as_bytes()]);
    format!("{hash:016x}").repeat(4)[..if large { 64 } else { 40 }].to_owned()
}

/// Files whose contents are kept apart, at the CDN.
fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".gguf")
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Path((org, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let behaviour = shared.behaviour.lock().unwrap();
    let model = format!("{org}/{name}");
    if let Some(status) = behaviour.status.or_else(|| denied(&behaviour, &headers).filter(|_| !behaviour.gated)) {
        return status.into_response();
    }
    let Some(files) = behaviour.repos.get(&model).filter(|_| revision == "main" || revision == COMMIT) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let siblings = files.iter().map(|(path, content)| {
        let size = content.len() as i64 + if path == "config.json" { 0 } else { behaviour.lie };
        let blob = |large| blob(&model, path, large);
        if is_large(path) {
            json!({"rfilename": path, "size": size, "blobId": blob(false),
                "lfs": {"sha256": blob(true), "size": size, "pointerSize": 134}})
        } else {
            json!({"rfilename": path, "size": size, "blobId": blob(false)})
        }
    });
    let siblings: Vec<_> = siblings.collect();
    let gated = if behaviour.gated { json!("manual") } else { json!(false) };
    axum::Json(json!({"id": model, "sha": COMMIT, "gated": gated, "siblings": siblings})).into_response()
}

async fn resolve(
    State(shared): State<Arc<Shared>>,
    Path((org, name, _, path)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(status) = denied(&shared.behaviour.lock().unwrap(), &headers) {
        return status.into_response();
    }
    if is_large(&path) {
        let location = format!("http://{}/{org}/{name}/{path}?signature=secret", shared.cdn);
        return (StatusCode::FOUND, [(header::LOCATION, location)]).into_response();
    }
    send(&shared, &format!("{org}/{name}"), &path, &headers)
}

async fn large(
    State(shared): State<Arc<Shared>>,
    Path((org, name, path)): Path<(String, String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    assert_eq!(query["signature"], "secret");
    send(&shared, &format!("{org}/{name}"), &path, &headers)
}

fn denied(behaviour: &Behaviour, headers: &HeaderMap) -> Option<StatusCode> {
    let expected = behaviour.token.map(|token| format!("Bearer {token}"))?;
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    (sent != Some(&expected)).then_some(StatusCode::UNAUTHORIZED)
}

fn send(shared: &Shared, model: &str, path: &str, headers: &HeaderMap) -> Response {
    let mut behaviour = shared.behaviour.lock().unwrap();
    let content = behaviour.repos[model][path].clone();
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).filter(|_| !behaviour.ignores_range);
    let from = range.map_or(0, |range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
    let token = headers.contains_key(header::AUTHORIZATION);
    behaviour.requests.push(Request { path: format!("{model}/{path}"), from, token });
    if from >= content.len() && from > 0 {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let rest = content.slice(from..);
    let cut = if is_large(path) { behaviour.cut.take() } else { None };
    let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let length = (header::CONTENT_LENGTH, rest.len().to_string());
    (status, [length, (header::CONTENT_RANGE, range)], body(shared.chunks.clone(), &rest, cut)).into_response()
}

fn body(permits: Arc<Semaphore>, content: &Bytes, cut: Option<usize>) -> Body {
    let whole = content.slice(..cut.unwrap_or(content.len()).min(content.len()));
    let mut chunks: Vec<Result<Bytes, std::io::Error>> =
        (0..whole.len()).step_by(CHUNK).map(|at| Ok(whole.slice(at..whole.len().min(at + CHUNK)))).collect();
    if cut.is_some() {
        chunks.push(Err(std::io::ErrorKind::ConnectionReset.into()));
    }
    let paced = stream::iter(chunks).then(move |chunk| {
        let permits = permits.clone();
        async move {
            permits.acquire().await.unwrap().forget();
            chunk
        }
    });
    Body::from_stream(paced)
}
