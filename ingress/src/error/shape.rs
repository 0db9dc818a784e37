//! How an error is written: as OpenAI's API does it, or as Anthropic's does.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// Longest part of an engine's answer that is repeated in an error, in bytes.
const EXCERPT_MAX: usize = 300;

/// How clients expect to be told of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorShape {
    OpenAi,
    Anthropic,
}

#[derive(Serialize)]
struct OpenAi<'a> {
    error: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'a str,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Anthropic<'a> {
    r#type: &'static str,
    error: Reason<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Reason<'a> {
    r#type: &'static str,
    message: &'a str,
}

impl ErrorShape {
    /// The body of an answer with `status` to the request with `id`.
    pub(super) fn body(
        self,
        message: &str,
        status: StatusCode,
        param: Option<&str>,
        code: &str,
        id: &HeaderValue,
    ) -> Bytes {
        // Letters, digits and a few signs, see `request_id`.
        let request_id = id.to_str().unwrap_or_default();
        match self {
            Self::OpenAi => {
                let r#type = match status {
                    StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
                    status if status.is_server_error() => "server_error",
                    _ => "invalid_request_error",
                };
                json(&OpenAi { error: Details { message, r#type, param, code, request_id } })
            }
            Self::Anthropic => {
                let error = Reason { r#type: anthropic_type(status), message };
                json(&Anthropic { r#type: "error", error, request_id })
            }
        }
    }

    /// The event that ends a stream which cannot be finished, of the request with `id`. SDKs raise on it.
    pub(crate) fn event(self, code: &str, message: &str, id: &HeaderValue) -> Bytes {
        self.event_of(&self.body(message, StatusCode::BAD_GATEWAY, None, code, id))
    }

    /// The event that ends a stream whose head has been sent, where the engine then answered with `status` and `answer`:
    /// that answer, if SDKs raise on it, else one that says so, of the request with `id`.
    pub(crate) fn event_of_answer(self, status: StatusCode, answer: &[u8], id: &HeaderValue) -> Bytes {
        match serde_json::from_slice::<serde_json::Value>(answer) {
            Ok(value) if value.get("error").is_some_and(|error| !error.is_null()) => {
                self.event_of(value.to_string().as_bytes())
            }
            Ok(_) | Err(_) => {
                let excerpt = String::from_utf8_lossy(&answer[..answer.len().min(EXCERPT_MAX)]);
                let message = format!("the engine answered {status} instead of a stream: {excerpt}");
                self.event_of(&self.body(&message, status, None, "no_stream", id))
            }
        }
    }

    /// An event with `json`, which is one line. Anthropic's SDKs look at its name, OpenAI's at what is in it.
    pub(super) fn event_of(self, json: &[u8]) -> Bytes {
        let before: &[u8] = match self {
            Self::OpenAi => b"data: ",
            Self::Anthropic => b"event: error\ndata: ",
        };
        [before, json, b"\n\n"].concat().into()
    }
}

/// What Anthropic's API calls errors with `status`: https://docs.anthropic.com/en/api/errors
fn anthropic_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Text, and nothing but text, can always be written as JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: HeaderValue = HeaderValue::from_static("question-7");

    #[test]
    fn each_api_is_told_in_its_own_shape() {
        let told = |shape: ErrorShape| -> Value {
            let body = shape.body("why", StatusCode::NOT_FOUND, Some("model"), "model_not_found", &ID);
            serde_json::from_slice(&body).unwrap()
        };
        let details = json!({
            "message": "why", "type": "invalid_request_error", "param": "model", "code": "model_not_found",
            "request_id": "question-7",
        });
        assert_eq!(told(ErrorShape::OpenAi), json!({"error": details}));
        let reason = json!({"type": "not_found_error", "message": "why"});
        assert_eq!(told(ErrorShape::Anthropic), json!({"type": "error", "error": reason, "request_id": "question-7"}));
    }

    #[test]
    fn an_engines_error_is_an_event_as_it_is_and_anything_else_is_named() {
        let own =
            ErrorShape::OpenAi.event_of_answer(StatusCode::BAD_REQUEST, b"{\n \"error\": {\"code\": 400}\n}", &ID);
        assert_eq!(own, "data: {\"error\":{\"code\":400}}\n\n");
        for odd in [r#"{"error":null}"#, r#"{"object":"error"}"#, "oops\n\ndata: x", &"x".repeat(10_000)] {
            let event = ErrorShape::OpenAi.event_of_answer(StatusCode::BAD_REQUEST, odd.as_bytes(), &ID);
            let text = std::str::from_utf8(&event).unwrap();
            assert!(text.len() < 1_000 && text.trim_end().lines().count() == 1, "{text}");
            let value: Value = serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(
                (&value["error"]["code"], &value["error"]["type"], &value["error"]["request_id"]),
                (&"no_stream".into(), &"invalid_request_error".into(), &"question-7".into())
            );
        }
    }

    #[test]
    fn an_event_has_one_line_of_data_whatever_the_message() {
        for (shape, name) in [(ErrorShape::OpenAi, ""), (ErrorShape::Anthropic, "event: error\n")] {
            let event = shape.event("replica_lost", "a\nb\r\n\"c\"", &ID);
            let text = std::str::from_utf8(&event).unwrap();
            let data = text.strip_prefix(name).unwrap();
            assert_eq!(data.trim_end_matches('\n').lines().count(), 1);
            assert!(data.starts_with("data: {") && data.ends_with("\n\n"), "{text}");
        }
    }
}
