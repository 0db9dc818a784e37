//! Errors that the ingress itself answers with, in the shape of the API that was asked: OpenAI's or Anthropic's. The
//! latter has types instead of codes; status and `x-shoal-reason` are the same in both.
//!
//! | code | status | when |
//! |---|---|---|
//! | `route_not_found` | 404 | no such path |
//! | `method_not_allowed` | 405 | not with this method; `allow` says with which |
//! | `uri_too_long` | 414 | path and query are over the limit |
//! | `too_many_headers` | 431 | there are more headers than the limit |
//! | `model_not_found` | 404 | no endpoint has this name |
//! | `not_known_yet` | 503 | no endpoint has this name, or there is no such key, so far, and this node has not heard of all yet |
//! | `invalid_api_key` | 401 | no key where one is asked for, or one that is not good (any more) |
//! | `endpoint_not_allowed` | 403 | the key is not good for this endpoint |
//! | `rate_limit_exceeded` | 429 | a limit of the key is reached; `x-shoal-reason` says which |
//! | `invalid_body` | 400 | not a JSON object (for audio: a form), or `model` missing or not text |
//! | `invalid_priority` | 400 | `x-shoal-priority` is none |
//! | `request_incomplete` | 400 | the body broke off |
//! | `request_timeout` | 408 | the body did not arrive in time |
//! | `request_too_large` | 413 | the body is over the limit |
//! | `overloaded` | 503 | this node holds as many bodies as it may |
//! | `no_ready_replica` | 503, or an event in a stream | no replica serves, and none may come, or none came in time |
//! | `too_many_waiting` | 503, or an event in a stream | nothing serves, and as many requests wait for that as may |
//! | `saturated` | 429, or an event in a stream | all replicas have all they can do; `x-shoal-reason` says more, see below |
//! | `stopping` | 503, or an event in a stream | this node stops, and the request still waited |
//! | `replicas_busy` | 503 | all replicas tried are leaving |
//! | `retry_budget_spent` | 503 | a replica failed, and so many requests were tried again lately that this one is not |
//! | `replicas_failed` | 502 | replicas were tried, none answered |
//! | `loop_detected` | 508 | the request has come through more gateways than it may |
//! | `timeout` | 504, or an event in a stream | the endpoint's timeout has passed |
//! | `replica_lost` | an event in a stream | the replica broke off after the answer had begun, and none could go on with it |
//! | `no_stream` | an event in a stream | a held request was answered, but neither by a stream nor in OpenAI's shape |
//!
//! `saturated` has one of these reasons: `saturated` (the endpoint has no queue), `queue-full`, `queue-deadline` (it has
//! waited as long as may be), `fair-share` (others with a greater claim wait too). `Retry-After` is how long the queue will
//! take at its present pace.
//!
//! A stream whose client has been told that it waits has its head already: it ends with an event for whatever of these
//! happens then. What an engine answers is passed on as it is, whatever its shape, or as the last event of such a stream.
//! Where that is 404, 405 or 501, `x-shoal-reason` is `engine-refused`: this ingress knows the path and the model, and the
//! engine has not the one, or not what the request names in the other.
//!
//! What cannot be read as HTTP at all is answered without a body: 400, 431 for a head over its limit.

mod shape;

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use shoal_types::EndpointName;

pub(crate) use self::shape::ErrorShape;
use crate::{
    attempt::Tried,
    head::HeadError,
    headers::{HEADERS_MAX, HOPS_MAX, URI_MAX},
    holding::Full,
    keys::Excess,
    reply::ReplyBody,
    routes::Wanted,
};

/// Says in one word why a request was not served.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-shoal-reason");

/// The reason where an engine itself says that there is no such thing.
pub(crate) const ENGINE_REFUSED: HeaderValue = HeaderValue::from_static("engine-refused");

/// Why a request gets no answer from an engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("there is no {method} {path} here; the API is at /v1, GET /v1/models lists what is served")]
    NoSuchRoute { method: http::Method, path: String },
    #[error("the dashboard is at /ui of this node's admin listener, by default http://127.0.0.1:7701/ui/")]
    DashboardElsewhere,
    #[error(
        "this gateway asks for a key: send it as `Authorization: Bearer sk-shoal-...`; `shoal key create` makes one"
    )]
    NoKey,
    #[error("the key is not one of this mesh, or it was revoked, or has expired; `shoal key list` shows all")]
    UnknownKey,
    #[error("the key is not known to this node yet, which has just started; try again, or another node")]
    KeyNotKnownYet,
    #[error("the key `{key}` is not good for `{endpoint}`; GET /v1/models lists what it is good for")]
    NotAllowed { key: String, endpoint: EndpointName },
    #[error("the key `{key}` has reached its limit of {excess}; try again in {} s", .excess.retry_after)]
    OverLimit { key: String, excess: Excess },
    #[error("{path} takes no {method}, only {allowed}")]
    MethodNotAllowed { method: http::Method, path: String, allowed: &'static str },
    #[error("path and query are over the limit of {URI_MAX} bytes")]
    UriTooLong,
    #[error("the request has more than {HEADERS_MAX} headers")]
    TooManyHeaders,
    #[error("the request body is over the limit of {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the request body did not arrive within {within:?}")]
    BodyTimeout { within: Duration },
    #[error("the request body broke off: {0}")]
    BodyBroken(hyper::Error),
    #[error("this node holds as many request bodies as it may; try again, or another node")]
    Overloaded,
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error("the header x-shoal-priority says neither `high`, `normal` nor `low`")]
    Priority,
    #[error("the model `{model}` does not exist{}", did_you_mean(.nearest.as_deref()))]
    UnknownModel { model: String, nearest: Option<String> },
    #[error("the model `{model}` is not known to this node yet, which has just started; try again, or another node")]
    NotKnownYet { model: String },
    #[error("no replica of `{endpoint}` is ready; `shoal why endpoint/{endpoint}` says why")]
    NoReadyReplica { endpoint: EndpointName },
    #[error(
        "no replica of {} has become ready in the {} s that the request was held; `shoal why endpoint/{}` says why",
        Waited(.wanted), .held.as_secs(), .wanted.endpoint
    )]
    NeverReady { wanted: Wanted, held: Duration },
    #[error("no replica of {} is ready, and {full}; try again later, or another node", Waited(.wanted))]
    TooManyWaiting { wanted: Wanted, full: Full },
    #[error("all replicas of {} have all they can do, and {full}; try again later", Waited(.wanted))]
    Saturated { wanted: Wanted, full: Full, retry_after: u16 },
    #[error(
        "no replica of {} has had room in the {} s that the request waited{}; try again later",
        Waited(.wanted), .queued.as_secs(), after(.tried)
    )]
    NeverRoom { wanted: Wanted, queued: Duration, tried: Box<Tried>, retry_after: u16 },
    #[error("all replicas of `{endpoint}` have all they can do{}", after(.tried))]
    NoRoom { endpoint: EndpointName, tried: Tried },
    #[error("this node is stopping, and the request for {} still waited; try again", Waited(.wanted))]
    Stopping { wanted: Wanted },
    #[error("all replicas of `{endpoint}` that were tried are busy or leaving: {tried}")]
    Busy { endpoint: EndpointName, tried: Tried },
    #[error(
        "`{endpoint}` is not asked again, as too many of its requests had to be lately; try again in a moment. {tried}"
    )]
    RetryBudget { endpoint: EndpointName, tried: Tried },
    #[error("no replica of `{endpoint}` answered: {tried}")]
    Failed { endpoint: EndpointName, tried: Tried },
    #[error(
        "the request has come through more than {HOPS_MAX} gateways: they lead in a circle; see the endpoints of kind \
         `gateway` on its way"
    )]
    TooManyHops,
    #[error("`{endpoint}` is behind gateways that lead in a circle: {tried}")]
    Loop { endpoint: EndpointName, tried: Tried },
    #[error("`{endpoint}` gave no answer within its timeout of {timeout:?}{}", after(.tried))]
    TimedOut { endpoint: EndpointName, timeout: Duration, tried: Tried },
}

/// What a request waited for.
struct Waited<'a>(&'a Wanted);

impl fmt::Display for Waited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.endpoint)?;
        self.0.model.as_ref().map_or(Ok(()), |model| write!(f, " with the model `{model}`"))
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

fn after(tried: &Tried) -> String {
    if tried.is_empty() { String::new() } else { format!("; tried before: {tried}") }
}

/// How an error is told.
struct Terms {
    status: StatusCode,
    code: &'static str,
    param: Option<&'static str>,
    reason: Option<&'static str>,
    /// Seconds after which it is worth trying again.
    retry_after: Option<u16>,
}

impl Terms {
    const fn of_client(status: StatusCode, code: &'static str) -> Self {
        Self { status, code, param: None, reason: None, retry_after: None }
    }

    const fn of_server(status: StatusCode, code: &'static str, reason: &'static str, retry_after: Option<u16>) -> Self {
        Self { status, code, param: None, reason: Some(reason), retry_after }
    }

    const fn saturated(reason: &'static str, retry_after: u16) -> Self {
        Self::of_server(StatusCode::TOO_MANY_REQUESTS, "saturated", reason, Some(retry_after))
    }
}

impl RequestError {
    const fn terms(&self) -> Terms {
        match self {
            Self::NoSuchRoute { .. } | Self::DashboardElsewhere => {
                Terms::of_client(StatusCode::NOT_FOUND, "route_not_found")
            }
            Self::NoKey | Self::UnknownKey => Terms::of_client(StatusCode::UNAUTHORIZED, "invalid_api_key"),
            Self::NotAllowed { .. } => {
                Terms { param: Some("model"), ..Terms::of_client(StatusCode::FORBIDDEN, "endpoint_not_allowed") }
            }
            Self::OverLimit { excess, .. } => Terms {
                reason: Some(excess.limit.reason()),
                retry_after: Some(excess.retry_after),
                ..Terms::of_client(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded")
            },
            Self::MethodNotAllowed { .. } => Terms::of_client(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::UriTooLong => Terms::of_client(StatusCode::URI_TOO_LONG, "uri_too_long"),
            Self::TooManyHeaders => Terms::of_client(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers"),
            Self::Priority => Terms::of_client(StatusCode::BAD_REQUEST, "invalid_priority"),
            Self::BodyTooLarge { .. } => Terms::of_client(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
            Self::BodyTimeout { .. } => Terms::of_client(StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::BodyBroken(_) => Terms::of_client(StatusCode::BAD_REQUEST, "request_incomplete"),
            Self::Head(HeadError::NoModel) => {
                Terms { param: Some("model"), ..Terms::of_client(StatusCode::BAD_REQUEST, "invalid_body") }
            }
            Self::Head(_) => Terms::of_client(StatusCode::BAD_REQUEST, "invalid_body"),
            Self::UnknownModel { .. } => {
                Terms { param: Some("model"), ..Terms::of_client(StatusCode::NOT_FOUND, "model_not_found") }
            }
            Self::NotKnownYet { .. } | Self::KeyNotKnownYet => {
                Terms::of_server(StatusCode::SERVICE_UNAVAILABLE, "not_known_yet", "starting", Some(1))
            }
            Self::Overloaded => {
                Terms::of_server(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "request-bodies", Some(1))
            }
            Self::NoReadyReplica { .. } | Self::NeverReady { .. } => {
                Terms::of_server(StatusCode::SERVICE_UNAVAILABLE, "no_ready_replica", "no-ready-replica", Some(5))
            }
            Self::TooManyWaiting { .. } => {
                Terms::of_server(StatusCode::SERVICE_UNAVAILABLE, "too_many_waiting", "too-many-waiting", Some(5))
            }
            Self::Saturated { full, retry_after, .. } => Terms::saturated(full.reason(), *retry_after),
            Self::NeverRoom { retry_after, .. } => Terms::saturated("queue-deadline", *retry_after),
            Self::NoRoom { .. } => Terms::saturated("saturated", 1),
            Self::Stopping { .. } => Terms::of_server(StatusCode::SERVICE_UNAVAILABLE, "stopping", "stopping", Some(1)),
            Self::Busy { .. } => {
                Terms::of_server(StatusCode::SERVICE_UNAVAILABLE, "replicas_busy", "replicas-busy", Some(1))
            }
            Self::RetryBudget { .. } => {
                Terms::of_server(StatusCode::SERVICE_UNAVAILABLE, "retry_budget_spent", "retry-budget", Some(1))
            }
            Self::Failed { .. } => {
                Terms::of_server(StatusCode::BAD_GATEWAY, "replicas_failed", "replicas-failed", None)
            }
            Self::TooManyHops | Self::Loop { .. } => {
                Terms::of_server(StatusCode::LOOP_DETECTED, "loop_detected", "loop", None)
            }
            Self::TimedOut { .. } => Terms::of_server(StatusCode::GATEWAY_TIMEOUT, "timeout", "timeout", None),
        }
    }

    /// The status it is told with.
    pub(crate) const fn status(&self) -> StatusCode {
        self.terms().status
    }

    /// The word that it is told with.
    pub(crate) const fn code(&self) -> &'static str {
        self.terms().code
    }

    /// The whole answer to the request with `id`, but for the header that says so.
    pub(crate) fn response(&self, shape: ErrorShape, id: &HeaderValue) -> Response<ReplyBody> {
        let Terms { status, code, param, reason, retry_after } = self.terms();
        let mut response = Response::new(ReplyBody::full(shape.body(&self.to_string(), status, param, code, id)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(reason) = reason {
            headers.insert(REASON, HeaderValue::from_static(reason));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::MethodNotAllowed { allowed, .. } = self {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }

    /// The same as the event that ends a stream whose head has been sent.
    pub(crate) fn event(&self, shape: ErrorShape, id: &HeaderValue) -> Bytes {
        let Terms { status, code, param, .. } = self.terms();
        shape.event_of(&shape.body(&self.to_string(), status, param, code, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HeaderValue = HeaderValue::from_static("question-7");

    #[test]
    fn an_error_names_what_to_do_in_openais_shape() {
        let error = RequestError::UnknownModel { model: "lama".into(), nearest: Some("llama".into()) };
        let event = error.event(ErrorShape::OpenAi, &ID);
        let value: serde_json::Value = serde_json::from_slice(event.strip_prefix(b"data: ").unwrap()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"error": {
                "message": "the model `lama` does not exist; did you mean `llama`?",
                "type": "invalid_request_error", "param": "model", "code": "model_not_found",
                "request_id": "question-7",
            }})
        );
        let none =
            RequestError::NoReadyReplica { endpoint: "llama".parse().unwrap() }.response(ErrorShape::OpenAi, &ID);
        assert_eq!((none.status().as_u16(), none.headers()[REASON].as_bytes()), (503, b"no-ready-replica".as_slice()));
        assert_eq!(none.headers()[header::RETRY_AFTER], "5");
    }

    #[test]
    fn an_error_as_an_event_says_the_same() {
        let wanted = Wanted { endpoint: "llama".parse().unwrap(), model: Some("meta/Llama".into()) };
        let error = RequestError::NeverReady { wanted, held: Duration::from_secs(300) };
        let event = error.event(ErrorShape::OpenAi, &ID);
        let text = std::str::from_utf8(&event).unwrap();
        assert!(text.contains("no_ready_replica") && text.contains("server_error"), "{text}");
        assert!(text.contains("`llama` with the model `meta/Llama` has become ready in the 300 s"), "{text}");
    }
}
