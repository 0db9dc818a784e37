//! The API server's paths.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    engine::Engine,
    error::ApiError,
    generation::Generation,
    life::Stage,
    metrics,
    reply::{Api, Reply},
};

/// Tokens of an answer whose length nobody limits.
const MAX_TOKENS: u64 = 16;

/// What is read of a request.
#[derive(Debug, Deserialize)]
struct Request {
    model: Option<String>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    prompt: Option<Value>,
    messages: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// All paths; those of vLLM's development mode where `dev` says so.
pub(crate) fn router(engine: Arc<Engine>, dev: bool) -> Router {
    let mut router = Router::new()
        .route("/health", get(health))
        .route("/ping", get(health))
        .route("/version", get(|| async { Json(json!({"version": "0.32.0"})) }))
        .route("/metrics", get(|State(engine): State<Arc<Engine>>| async move { metrics::page(&engine) }))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion));
    if dev {
        router = router
            .route(
                "/sleep",
                post(|State(engine): State<Arc<Engine>>| async move { engine.asleep.store(true, Relaxed) }),
            )
            .route(
                "/wake_up",
                post(|State(engine): State<Arc<Engine>>| async move { engine.asleep.store(false, Relaxed) }),
            )
            .route("/is_sleeping", get(is_sleeping))
            .route("/pause", post(pause))
            .route("/resume", post(resume))
            .route("/is_paused", get(is_paused));
    }
    router.with_state(engine)
}

/// A flag is read, nothing more: it says nothing of a worker that hangs.
async fn health(State(engine): State<Arc<Engine>>) -> StatusCode {
    if engine.life.stage() == Stage::Dead { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn models(State(engine): State<Arc<Engine>>) -> Json<Value> {
    let model = |name: &String| {
        json!({
            "id": name, "object": "model", "created": 1_795_376_841, "owned_by": "vllm",
            "root": engine.arguments.model, "parent": null, "max_model_len": engine.max_model_len, "permission": [],
        })
    };
    Json(json!({"object": "list", "data": engine.arguments.served_model_names.iter().map(model).collect::<Vec<_>>()}))
}

async fn chat(State(engine): State<Arc<Engine>>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    answer(engine, Api::Chat, &headers, &body).await
}

async fn completion(State(engine): State<Arc<Engine>>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    answer(engine, Api::Completion, &headers, &body).await
}

async fn answer(engine: Arc<Engine>, api: Api, headers: &HeaderMap, body: &[u8]) -> Result<Response, ApiError> {
    let request: Request = serde_json::from_slice(body).map_err(|error| ApiError::bad_request(error.to_string()))?;
    if let Some(model) = request.model.as_ref().filter(|&model| !engine.arguments.served_model_names.contains(model)) {
        return Err(ApiError::no_model(model));
    }
    match engine.life.stage() {
        Stage::Dead => {
            engine.met_dead.notify_one();
            return Err(ApiError::dead());
        }
        Stage::Draining => return Err(ApiError::draining()),
        Stage::Serving | Stage::Aborting | Stage::Stuck => {}
    }
    let prompt_tokens = prompt_tokens(&request)?;
    let max_tokens = request.max_completion_tokens.or(request.max_tokens).unwrap_or(MAX_TOKENS);
    if prompt_tokens + max_tokens > engine.max_model_len {
        let most = engine.max_model_len;
        let text =
            format!("This model's maximum context length is {most} tokens, and {max_tokens} more were asked for.");
        return Err(ApiError::bad_request(text));
    }
    let model = engine.arguments.served_model_names.first().cloned().unwrap_or_default();
    let include_usage = request.stream_options.as_ref().is_some_and(|options| options.include_usage);
    let reply = Reply { api, id: request_id(api, headers), model, include_usage };
    let generation = Generation::new(engine, prompt_tokens, max_tokens);
    Ok(if request.stream { reply.streamed(generation) } else { reply.whole(generation).await })
}

/// About one token per four characters.
fn prompt_tokens(request: &Request) -> Result<u64, ApiError> {
    let prompt = request.prompt.as_ref().or(request.messages.as_ref());
    let prompt = prompt.ok_or_else(|| ApiError::bad_request("1 validation error: Field required"))?;
    Ok(1 + prompt.to_string().len() as u64 / 4)
}

/// The client's `X-Request-Id`, where it sends one.
fn request_id(api: Api, headers: &HeaderMap) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let prefix = if api == Api::Chat { "chatcmpl" } else { "cmpl" };
    match headers.get("x-request-id").and_then(|id| id.to_str().ok()) {
        Some(id) => format!("{prefix}-{id}"),
        None => format!("{prefix}-{:016x}", NUMBER.fetch_add(1, Relaxed)),
    }
}

async fn is_sleeping(State(engine): State<Arc<Engine>>) -> Json<Value> {
    Json(json!({"is_sleeping": engine.asleep.load(Relaxed)}))
}

async fn is_paused(State(engine): State<Arc<Engine>>) -> Json<Value> {
    Json(json!({"is_paused": engine.paused.load(Relaxed)}))
}

async fn pause(State(engine): State<Arc<Engine>>) -> Response {
    engine.paused.store(true, Relaxed);
    Json(json!({"status": "paused"})).into_response()
}

async fn resume(State(engine): State<Arc<Engine>>) -> Response {
    engine.paused.store(false, Relaxed);
    Json(json!({"status": "resumed"})).into_response()
}
