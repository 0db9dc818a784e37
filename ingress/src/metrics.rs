//! What the ingress tells Prometheus. All labels are bounded: endpoints that exist, and words from this file.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use shoal_types::Priority;

/// vLLM's own buckets of the time that requests queue, and below them what only a queue before it can have.
const QUEUE_SECONDS: [f64; 25] = [
    0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    240.0, 480.0, 960.0, 1920.0, 7680.0,
];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Success,
    Redirect,
    ClientError,
    ServerError,
    /// Broken off after the answer had begun.
    Broken,
    /// Given up by the client.
    Cancelled,
}

impl Code {
    const ALL: [Self; 6] =
        [Self::Success, Self::Redirect, Self::ClientError, Self::ServerError, Self::Broken, Self::Cancelled];

    /// The class of a whole answer with `status`.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    Local,
    Remote,
    /// By the ingress itself.
    Nowhere,
}

impl Served {
    const ALL: [Self; 3] = [Self::Local, Self::Remote, Self::Nowhere];

    const fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Nowhere => "none",
        }
    }
}

/// What became of a request that waited, because no replica was ready or had room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeldEnd {
    /// A replica became ready, or had room.
    Ready,
    /// None did in time.
    Expired,
    /// Nothing can become ready: the endpoint or the model is gone, or may have no replicas any more.
    Gone,
    /// The node stopped.
    Stopped,
    /// Given up by the client.
    Cancelled,
    /// It did not wait, as too many did.
    Refused,
    /// Another one took its place.
    Displaced,
}

impl HeldEnd {
    const ALL: [Self; 7] =
        [Self::Ready, Self::Expired, Self::Gone, Self::Stopped, Self::Cancelled, Self::Refused, Self::Displaced];

    const fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Expired => "expired",
            Self::Gone => "gone",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Displaced => "displaced",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitingLabels {
    endpoint: Arc<str>,
    priority: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldLabels {
    endpoint: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: Arc<str>,
    code: &'static str,
    place: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FirstByteLabels {
    endpoint: Arc<str>,
    stream: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All families; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    inflight: Family<EndpointLabels, Gauge>,
    held: Family<WaitingLabels, Gauge>,
    held_ended: Family<HeldLabels, Counter>,
    held_for: Histograms<EndpointLabels>,
    failed_attempts: Family<ReasonLabels, Counter>,
    first_byte: Histograms<FirstByteLabels>,
    duration: Histograms<EndpointLabels>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: Family::default(),
            inflight: Family::default(),
            held: Family::default(),
            held_ended: Family::default(),
            held_for: Family::new_with_constructor(|| Histogram::new(QUEUE_SECONDS)),
            failed_attempts: Family::default(),
            // 5 ms to 40 s, 10 ms to 11 min: cached prompts to long generations.
            first_byte: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.0, 14))),
            duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 17))),
        }
    }

    /// Makes `registry` show them, as `shoal_ingress_…`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("shoal_ingress");
        let Self { requests, inflight, held, held_ended, held_for, failed_attempts, first_byte, duration } = self;
        registry.register("requests", "Requests that ended, by how and where", requests.clone());
        registry.register("requests_in_flight", "Requests being served or held", inflight.clone());
        registry.register(
            "requests_held",
            "Requests that wait for a replica to become ready or to have room",
            held.clone(),
        );
        registry.register("held_requests", "Requests that waited, by what came of it", held_ended.clone());
        registry.register(
            "held_seconds",
            "How long requests waited for a replica to become ready or to have room",
            held_for.clone(),
        );
        registry.register(
            "failed_attempts",
            "Replicas that gave no answer, so that another was tried",
            failed_attempts.clone(),
        );
        registry.register(
            "first_byte_seconds",
            "From a request's arrival to the first byte of a replica's answer",
            first_byte.clone(),
        );
        registry.register("request_seconds", "From a request's arrival to the end of its answer", duration.clone());
    }

    /// A request for `endpoint` has been read.
    pub(crate) fn entered(&self, endpoint: &Arc<str>) {
        self.inflight.get_or_create(&EndpointLabels { endpoint: Arc::clone(endpoint) }).inc();
    }

    /// The first byte of its answer has been passed on.
    pub(crate) fn first_byte(&self, endpoint: &Arc<str>, stream: bool, after: Duration) {
        let labels = FirstByteLabels { endpoint: Arc::clone(endpoint), stream };
        self.first_byte.get_or_create(&labels).observe(after.as_secs_f64());
    }

    /// `held` requests of `priority` for `endpoint` wait for a replica.
    pub(crate) fn held(&self, endpoint: &Arc<str>, priority: Priority, held: u32) {
        let labels = WaitingLabels { endpoint: Arc::clone(endpoint), priority: priority.as_str() };
        self.held.get_or_create(&labels).set(held.into());
    }

    /// A request for `endpoint` no longer waits, or does not wait at all.
    pub(crate) fn held_ended(&self, endpoint: &Arc<str>, end: HeldEnd, after: Duration) {
        self.held_ended.get_or_create(&HeldLabels { endpoint: Arc::clone(endpoint), outcome: end.label() }).inc();
        if end != HeldEnd::Refused {
            let labels = EndpointLabels { endpoint: Arc::clone(endpoint) };
            self.held_for.get_or_create(&labels).observe(after.as_secs_f64());
        }
    }

    /// A replica gave no answer.
    pub(crate) fn failed_attempt(&self, reason: &'static str) {
        self.failed_attempts.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A request is over. One that was for no endpoint counts under an empty name.
    pub(crate) fn ended(&self, endpoint: Option<&Arc<str>>, code: Code, served: Served, after: Duration) {
        if let Some(endpoint) = endpoint {
            let labels = EndpointLabels { endpoint: Arc::clone(endpoint) };
            self.inflight.get_or_create(&labels).dec();
            self.duration.get_or_create(&labels).observe(after.as_secs_f64());
        }
        let endpoint = endpoint.map_or_else(|| "".into(), Arc::clone);
        let labels = RequestLabels { endpoint, code: code.label(), place: served.label() };
        self.requests.get_or_create(&labels).inc();
    }

    /// Forgets an endpoint that is gone, so that names do not pile up.
    pub(crate) fn forget(&self, endpoint: &str) {
        let endpoint: Arc<str> = endpoint.into();
        for (code, place) in Code::ALL.iter().flat_map(|code| Served::ALL.iter().map(move |place| (code, place))) {
            let labels = RequestLabels { endpoint: Arc::clone(&endpoint), code: code.label(), place: place.label() };
            self.requests.remove(&labels);
        }
        for stream in [false, true] {
            self.first_byte.remove(&FirstByteLabels { endpoint: Arc::clone(&endpoint), stream });
        }
        for end in HeldEnd::ALL {
            self.held_ended.remove(&HeldLabels { endpoint: Arc::clone(&endpoint), outcome: end.label() });
        }
        for priority in Priority::ALL {
            self.held.remove(&WaitingLabels { endpoint: Arc::clone(&endpoint), priority: priority.as_str() });
        }
        let labels = EndpointLabels { endpoint };
        self.inflight.remove(&labels);
        self.held_for.remove(&labels);
        self.duration.remove(&labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn an_endpoint_that_is_gone_leaves_no_series() {
        let metrics = Metrics::new();
        let endpoint: Arc<str> = "llama".into();
        metrics.entered(&endpoint);
        metrics.first_byte(&endpoint, true, Duration::from_millis(1));
        metrics.held(&endpoint, Priority::Low, 1);
        metrics.held_ended(&endpoint, HeldEnd::Ready, Duration::from_millis(1));
        metrics.ended(Some(&endpoint), Code::of(StatusCode::OK), Served::Remote, Duration::from_millis(2));
        let text = shown(&metrics);
        assert!(
            text.contains(r#"shoal_ingress_requests_total{endpoint="llama",code="2xx",place="remote"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"shoal_ingress_requests_in_flight{endpoint="llama"} 0"#), "{text}");
        metrics.forget("llama");
        assert!(!shown(&metrics).contains("llama"));
    }
}
