//! Errors in vLLM's shape and words.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    param: Option<&'static str>,
    message: String,
}

impl ApiError {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "BadRequestError", param: None, message: message.into() }
    }

    pub(crate) fn no_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist.");
        Self { status: StatusCode::NOT_FOUND, kind: "NotFoundError", param: Some("model"), message }
    }

    /// The core is gone, or was told to go.
    pub(crate) fn dead() -> Self {
        Self::internal("EngineCore encountered an issue. See stack trace (above) for the root cause.")
    }

    /// Not 503, though the server only drains.
    pub(crate) fn draining() -> Self {
        Self::internal("cannot schedule new futures after shutdown")
    }

    fn internal(message: &str) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { status, kind: "InternalServerError", param: None, message: message.to_owned() }
    }

    /// The same in a stream that has begun: written by other code of vLLM's, with spaces.
    pub(crate) fn event(&self) -> String {
        let (message, kind, code) = (&self.message, self.kind, self.status.as_u16());
        format!(r#"{{"error": {{"message": "{message}", "type": "{kind}", "param": null, "code": {code}}}}}"#)
    }

    fn body(&self) -> Value {
        let code = self.status.as_u16();
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}
