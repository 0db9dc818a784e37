//! What the ingress tells Prometheus. All labels are bounded: endpoints that exist, and words from this room.
//!
//! What happens to every request is counted in place, in the [`Series`] of its endpoint's tally, and becomes series with
//! labels only when somebody asks. What happens seldom is counted in families.

mod collector;
mod latency;
mod series;
mod words;

mod streams;

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use shoal_types::Priority;

/// vLLM's own buckets of the time that requests queue, and below them what only a queue before it can have.
const QUEUE_SECONDS: [f64; 25] = [
    0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    240.0, 480.0, 960.0, 1920.0, 7680.0,
];

pub(crate) use streams::{ResumeEnd, StreamMetrics};

use self::{
    collector::{Conventional, Endpoints},
    latency::CHOICE,
};
use crate::demand::Tallies;

pub use self::words::Operation;
pub(crate) use self::{
    latency::Latency,
    series::{Series, Went},
    words::{Code, Served},
};

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
struct EndpointLabels {
    endpoint: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All families; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Of requests that were for no endpoint.
    nowhere: Arc<Series>,
    choice: Arc<Latency>,
    held: Family<WaitingLabels, Gauge>,
    held_ended: Family<HeldLabels, Counter>,
    held_for: Histograms<EndpointLabels>,
    failed_attempts: Family<ReasonLabels, Counter>,
    pub(crate) streams: StreamMetrics,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            nowhere: Arc::new(Series::new()),
            choice: Arc::new(Latency::new(CHOICE)),
            held: Family::default(),
            held_ended: Family::default(),
            held_for: Family::new_with_constructor(|| Histogram::new(QUEUE_SECONDS)),
            failed_attempts: Family::default(),
            streams: StreamMetrics::default(),
        }
    }

    /// Makes `registry` show them and what `tallies` count, as `shoal_ingress_…`, and as `gen_ai_server_…` what
    /// OpenTelemetry's conventions for generative AI have names for.
    pub(crate) fn register(&self, registry: &mut Registry, tallies: Arc<Tallies>) {
        let endpoints = Endpoints { tallies, metrics: self.clone() };
        let conventional = Conventional(endpoints.clone());
        registry.sub_registry_with_prefix("gen_ai_server").register_collector(Box::new(conventional));
        let registry = registry.sub_registry_with_prefix("shoal_ingress");
        registry.register_collector(Box::new(endpoints));
        let Self { held, held_ended, held_for, failed_attempts, nowhere: _, choice: _, streams } = self;
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
        streams.register(registry);
    }

    /// Where requests are counted that are for no endpoint.
    pub(crate) fn nowhere(&self) -> &Series {
        &self.nowhere
    }

    /// The choice of a replica took so long.
    pub(crate) fn chose(&self, took: Duration) {
        self.choice.observe(took);
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

    /// Forgets an endpoint that is gone, so that names do not pile up.
    pub(crate) fn forget(&self, endpoint: &str) {
        let endpoint: Arc<str> = endpoint.into();
        for end in HeldEnd::ALL {
            self.held_ended.remove(&HeldLabels { endpoint: Arc::clone(&endpoint), outcome: end.label() });
        }
        self.streams.forget(&endpoint);
        for priority in Priority::ALL {
            self.held.remove(&WaitingLabels { endpoint: Arc::clone(&endpoint), priority: priority.as_str() });
        }
        let labels = EndpointLabels { endpoint };
        self.held_for.remove(&labels);
    }
}

#[cfg(test)]
mod tests;
