//! `/metrics`: the ingress's own families, and what the view says at the moment of asking.

mod epp;
mod gpus;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use shoal_ingress::Ingress;
use shoal_placement::{Desired, Scene};
use shoal_types::{GpuUse, Liveness, Load, Validities};
use tokio::sync::watch;

use self::{epp::EppGauges, gpus::GpuMetrics};
use crate::{
    inventory::{GpuReading, XidCounts},
    requests::Requests,
};

/// Most endpoints that get label values of their own; the rest is left out of the gauges below.
const ENDPOINTS_MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabel {
    endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

/// All metrics of this node.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    gauges: Gauges,
    /// One rendering at a time: the gauges below are filled and then read.
    rendering: Arc<Mutex<()>>,
}

#[derive(Debug, Clone, Default)]
struct Gauges {
    nodes: Family<StateLabel, Gauge>,
    gpus: Family<StateLabel, Gauge>,
    desired: Family<EndpointLabel, Gauge>,
    ready: Family<EndpointLabel, Gauge>,
    issuers: Gauge,
    certificates: Family<KindLabel, Gauge<f64, AtomicU64>>,
    build: Family<BuildLabel, Gauge>,
    epp: EppGauges,
}

impl Metrics {
    /// The ingress's metrics, and gauges for the rest.
    pub(crate) fn new(
        ingress: &Ingress,
        requests: &Requests,
        readings: watch::Receiver<Vec<GpuReading>>,
        xids: XidCounts,
    ) -> Self {
        let mut registry = Registry::default();
        let gauges = Gauges::default();
        gauges.build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        let Gauges { nodes, gpus, desired, ready, issuers, certificates, build, epp } = gauges.clone();
        let own = registry.sub_registry_with_prefix("shoal");
        own.register("nodes", "Nodes that this node knows, by state", nodes);
        own.register("gpus", "GPUs of this node, by use", gpus);
        own.register("endpoint_replicas_desired", "Replicas wanted", desired);
        own.register(
            "endpoint_replicas_ready",
            "Replicas of the revisions that are wanted, as far as they serve",
            ready,
        );
        own.register("issuers", "Nodes that are alive and can admit others and renew certificates", issuers);
        own.register(
            "certificate_expiry_seconds",
            "When a certificate ends, Unix time: this node's, the one that it signs with, the mesh's root",
            certificates,
        );
        own.register("build_info", "Version of this node", build);
        requests.register(own);
        registry.register_collector(Box::new(GpuMetrics::new(readings, xids)));
        epp.register(&mut registry);
        ingress.register_metrics(&mut registry);
        Self { registry: Arc::new(registry), gauges, rendering: Arc::default() }
    }

    /// All metrics in OpenMetrics text.
    pub(crate) fn render(&self, scene: &Scene<'_>, certificates: &Validities) -> String {
        let _one_at_a_time = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauges.fill(scene);
        self.gauges.fill_certificates(certificates);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Gauges {
    fn fill_certificates(&self, certificates: &Validities) {
        let Validities { node, issuer, root } = *certificates;
        self.certificates.clear();
        for (kind, validity) in [("node", Some(node)), ("issuer", issuer), ("root", Some(root))] {
            if let Some(validity) = validity {
                let until = Duration::from_millis(validity.until.as_millis());
                self.certificates.get_or_create(&KindLabel { kind }).set(until.as_secs_f64());
            }
        }
    }

    fn fill(&self, scene: &Scene<'_>) {
        let view = scene.view;
        for state in ["alive", "suspect", "left"] {
            let of_state = view.nodes.values().filter(|node| liveness(node.liveness) == state).count();
            set(&self.nodes.get_or_create(&StateLabel { state }), of_state);
        }
        set(&self.issuers, view.nodes.values().filter(|node| node.is_alive() && node.facts.issuer).count());
        let own = view.nodes.get(&view.me).map(|node| node.gpus.as_slice()).unwrap_or_default();
        for state in ["free", "replica", "foreign", "partitioned", "unknown"] {
            let of_state = own.iter().filter(|gpu| gpu_use(&gpu.used_by) == state).count();
            set(&self.gpus.get_or_create(&StateLabel { state }), of_state);
        }
        self.desired.clear();
        self.ready.clear();
        self.epp.clear();
        for (name, record) in view.endpoints.iter().take(ENDPOINTS_MAX) {
            let label = EndpointLabel { endpoint: name.to_string() };
            let desired = Desired::of(scene, record);
            let ready = view.claims_of(name).filter(|(node, claim)| {
                node.is_alive() && claim.state.serves() && desired.of_revision(claim.revision) > 0
            });
            set(&self.ready.get_or_create(&label), ready.count());
            self.desired.get_or_create(&label).set(i64::from(desired.total()));
            // As requests are routed: to the replicas of all revisions.
            let serving = view.claims_of(name).filter(|(node, claim)| node.is_alive() && claim.state.serves());
            let loads: Vec<Option<Load>> = serving.map(|(node, claim)| node.loads.get(&claim.id).copied()).collect();
            self.epp.fill(name, &loads);
        }
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

const fn liveness(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Alive => "alive",
        Liveness::Suspect { .. } => "suspect",
        Liveness::Left => "left",
    }
}

const fn gpu_use(used_by: &GpuUse) -> &'static str {
    match used_by {
        GpuUse::Free => "free",
        GpuUse::Replica(_) => "replica",
        GpuUse::Foreign(_) => "foreign",
        GpuUse::Partitioned => "partitioned",
        GpuUse::Unknown => "unknown",
    }
}
