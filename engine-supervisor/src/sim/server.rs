//! The simulated engine's HTTP server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::Listener,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shoal_types::{EngineAddress, stable_hash};
use tokio::{
    net::{TcpListener, UnixListener},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    dialect::{Answer, Dialect, MessagesRequest, ResponsesRequest},
    embedding::EmbeddingRequest,
    error::ApiError,
    generation::{Engine, Generation},
    options::{SimError, SimOptions},
    reply::{Api, Reply},
    request::{ChatRequest, CompletionRequest, Job, Limits},
    sleep,
};

/// Largest request body.
const BODY_MAX: usize = 32 << 20;
/// Longest request id that is taken from a client.
const ID_MAX: usize = 128;
/// How long answers that are cut off may take to say so.
const STOP_WITHIN: Duration = Duration::from_secs(1);

struct Service {
    engine: Arc<Engine>,
    created: u64,
    requests: AtomicU64,
}

/// Runs a simulated engine until `stop`. Answers under way then end with an error.
///
/// # Errors
/// If it cannot listen where it is told to.
pub async fn sim_engine(options: SimOptions, stop: CancellationToken) -> Result<(), SimError> {
    if options.models.is_empty() {
        return Err(SimError::NoModel);
    }
    let address = options.listen.clone();
    let engine = Arc::new(Engine::new(options, stop.clone()));
    let router = router(Service { engine, created: unix_seconds(), requests: AtomicU64::new(0) });
    let listen = |source| SimError::Listen { address: address.clone(), source };
    let served = match &address {
        EngineAddress::Unix(path) => serve(UnixListener::bind(path).map_err(listen)?, router, stop).await,
        EngineAddress::Loopback(port) if port.ip().is_loopback() => {
            serve(TcpListener::bind(port).await.map_err(listen)?, router, stop).await
        }
        EngineAddress::Loopback(port) => return Err(SimError::NotLoopback(*port)),
    };
    if let EngineAddress::Unix(path) = &address {
        // Whoever starts the next engine here removes what is left.
        let _ = std::fs::remove_file(path);
    }
    served.map_err(|source| SimError::Serve { address, source })
}

async fn serve<L>(listener: L, router: Router, stop: CancellationToken) -> std::io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let overdue = async {
        stop.cancelled().await;
        time::sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned()) => served,
        () = overdue => Ok(()),
    }
}

fn router(service: Service) -> Router {
    let service = Arc::new(service);
    let sleep =
        if service.engine.options.sleep_mode { sleep::routes(service.engine.bed.clone()) } else { Router::new() };
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/responses", post(responses))
        .route("/v1/messages", post(messages))
        .route("/v1/embeddings", post(embeddings))
        .route("/health", get(|| async { StatusCode::OK }))
        .merge(sleep)
        .layer(middleware::from_fn_with_state(service.clone(), loaded))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(service)
}

/// Nothing but metrics is served while the model pretends to load.
async fn loaded(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    if Instant::now() < service.engine.ready_at {
        return ApiError::loading().into_response();
    }
    next.run(request).await
}

async fn models(State(service): State<Arc<Service>>) -> Json<Value> {
    let options = &service.engine.options;
    let model = |name: &String, root: &str, parent: Option<&str>| {
        json!({
            "id": name, "object": "model", "created": service.created, "owned_by": "shoal-sim",
            "root": root, "parent": parent, "max_model_len": options.max_model_len,
        })
    };
    let models = options.models.iter().map(|name| model(name, service.model(), None));
    let adapters = options.adapters.iter().map(|name| model(name, name, Some(service.model())));
    Json(json!({"object": "list", "data": models.chain(adapters).collect::<Vec<_>>()}))
}

async fn chat(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    let request: ChatRequest = parse(&body)?;
    let model = service.called(request.model.as_deref())?.to_owned();
    let job = request.into_job(service.limits(&model))?;
    Ok(service.reply(Api::Chat, model, &headers, job).await)
}

async fn completion(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: CompletionRequest = parse(&body)?;
    let model = service.called(request.model.as_deref())?.to_owned();
    let job = request.into_job(service.limits(&model))?;
    Ok(service.reply(Api::Completion, model, &headers, job).await)
}

async fn responses(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    let request = parse::<ResponsesRequest>(&body)?.into();
    service.answer(Dialect::Responses, &headers, request).await
}

async fn messages(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    let request = parse::<MessagesRequest>(&body)?.into();
    service.answer(Dialect::Messages, &headers, request).await
}

async fn embeddings(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: EmbeddingRequest = parse(&body)?;
    let model = service.called(request.model.as_deref())?.to_owned();
    service.engine.bed.awake().await;
    request.answer(&model, &service.request_id("embd", &headers), unix_seconds()).map(Json)
}

async fn metrics(State(service): State<Arc<Service>>) -> String {
    let engine = &service.engine;
    engine.metrics.render(service.model(), engine.options.max_num_seqs.max(1), engine.bed.is_taken())
}

impl Service {
    /// The name of its model.
    fn model(&self) -> &str {
        &self.engine.options.models[0]
    }

    fn limits<'a>(&self, model: &'a str) -> Limits<'a> {
        Limits { model, max_model_len: self.engine.options.max_model_len }
    }

    /// Under what name a request for `name` is answered: its model's, whichever of the aliases it was asked by, or the
    /// adapter's. As in vLLM, a request without a model gets the one there is.
    fn called<'a>(&'a self, name: Option<&'a str>) -> Result<&'a str, ApiError> {
        let options = &self.engine.options;
        match name {
            Some(name) if options.adapters.iter().any(|adapter| adapter == name) => Ok(name),
            Some(name) if !options.models.iter().any(|model| model == name) => Err(ApiError::no_model(name)),
            Some(_) | None => Ok(self.model()),
        }
    }

    async fn reply(&self, api: Api, model: String, headers: &HeaderMap, job: Job) -> Response {
        let prefix = if api == Api::Chat { "chatcmpl" } else { "cmpl" };
        let reply = Reply { api, id: self.request_id(prefix, headers), created: unix_seconds(), model };
        let (stream, include_usage) = (job.stream, job.include_usage);
        let generation = Generation::new(self.engine.clone(), job);
        if stream { reply.streamed(generation, include_usage) } else { reply.whole(generation).await }
    }

    async fn answer(&self, dialect: Dialect, headers: &HeaderMap, request: ChatRequest) -> Result<Response, ApiError> {
        let model = self.called(request.model.as_deref())?.to_owned();
        let job = request.into_job(self.limits(&model))?;
        let prefix = if dialect == Dialect::Responses { "resp" } else { "msg" };
        let answer = Answer { dialect, id: self.request_id(prefix, headers), created: unix_seconds(), model };
        let stream = job.stream;
        let generation = Generation::new(self.engine.clone(), job);
        Ok(if stream { answer.streamed(generation) } else { answer.whole(generation).await })
    }

    /// The client's `X-Request-Id`, so that a request can be followed; else one of our own.
    fn request_id(&self, prefix: &str, headers: &HeaderMap) -> String {
        let given = headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(|id| id.len() <= ID_MAX);
        let number = self.requests.fetch_add(1, Relaxed);
        given.map_or_else(
            || {
                let process = std::process::id().to_be_bytes();
                let start = self.created.to_be_bytes();
                format!("{prefix}-{:016x}", stable_hash(&[b"request", &process, &start, &number.to_be_bytes()]))
            },
            |id| format!("{prefix}-{id}"),
        )
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(None, format!("The request body cannot be read: {error}")))
}

fn unix_seconds() -> u64 {
    #[allow(clippy::disallowed_methods)] // a field of answers, in a process that has no mesh and hence not its clock
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
