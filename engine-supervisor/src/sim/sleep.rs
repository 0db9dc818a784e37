//! Sleep as vLLM has it: `/health` stays well, and requests wait until somebody wakes it up.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::error::ApiError;

/// Whether an engine sleeps.
#[derive(Debug, Default)]
pub(super) struct Bed(watch::Sender<bool>);

impl Bed {
    /// Until it is awake. Cancel safe.
    pub(super) async fn awake(&self) {
        // Fails only when the sender is gone, which is in `self`.
        let _ = self.0.subscribe().wait_for(|sleeping| !sleeping).await;
    }

    /// Whether it sleeps.
    pub(super) fn is_taken(&self) -> bool {
        *self.0.borrow()
    }
}

#[derive(Deserialize)]
struct Depth {
    #[serde(default = "light")]
    level: u8,
}

const fn light() -> u8 {
    1
}

/// The paths of an engine that can sleep. Reloading and forgetting, as vLLM needs them after level 2, do nothing here:
/// there are no weights.
pub(super) fn routes<S>(bed: Arc<Bed>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let nothing = || async { StatusCode::OK };
    Router::new()
        .route("/sleep", post(sleep))
        .route("/wake_up", post(wake_up))
        .route("/is_sleeping", get(is_sleeping))
        .route("/collective_rpc", post(nothing))
        .route("/reset_prefix_cache", post(nothing))
        .with_state(bed)
}

async fn sleep(State(bed): State<Arc<Bed>>, Query(Depth { level }): Query<Depth>) -> Response {
    if level > 2 {
        return ApiError::bad_request(Some("level"), "The level must be 0, 1 or 2.").into_response();
    }
    bed.0.send_replace(true);
    Json(json!({"status": "sleeping", "level": level})).into_response()
}

async fn wake_up(State(bed): State<Arc<Bed>>) -> Json<Value> {
    bed.0.send_replace(false);
    Json(json!({"status": "awake", "tags": null}))
}

async fn is_sleeping(State(bed): State<Arc<Bed>>) -> Json<Value> {
    Json(json!({"is_sleeping": bed.is_taken()}))
}
