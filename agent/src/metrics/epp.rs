//! The gauges by which a hub of llm-d compares clusters, so that it can take a mesh for one of its spokes.
//!
//! Names, the label and the meaning are those of llm-d's endpoint picker (`docs/metrics.md` of llm-d-router, 0.9 and later):
//! per pool, averages over its ready endpoints. A pool serves one model, as an endpoint here does, and the label `name`,
//! there the pool's, is the endpoint's. The hub's `multicluster-metrics-extractor` reads `llm_d_epp_average_queue_size`
//! and `llm_d_epp_average_kv_cache_utilization`; of a mesh with several endpoints it must be told which, as it takes
//! selectors: `queueSizeMetric: 'llm_d_epp_average_queue_size{name="ENDPOINT"}'`, and `kvCacheUtilizationMetric` alike.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use shoal_types::{EndpointName, Load};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    name: String,
}

type Averages = Family<PoolLabel, Gauge<f64, AtomicU64>>;

/// One series of each per endpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct EppGauges {
    queue: Averages,
    running: Averages,
    kv_cache: Averages,
    ready: Family<PoolLabel, Gauge>,
}

impl EppGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { queue, running, kv_cache, ready } = self.clone();
        let registry = registry.sub_registry_with_prefix("llm_d_epp");
        registry.register("average_queue_size", "Requests that wait in an engine, average of ready replicas", queue);
        registry.register(
            "average_running_requests",
            "Requests that an engine runs, average of ready replicas",
            running,
        );
        registry.register(
            "average_kv_cache_utilization",
            "Use of an engine's KV cache, 0 to 1, average of ready replicas",
            kv_cache,
        );
        registry.register("ready_endpoints", "Replicas that serve", ready);
    }

    pub(super) fn clear(&self) {
        self.queue.clear();
        self.running.clear();
        self.kv_cache.clear();
        self.ready.clear();
    }

    /// Sets what is shown of `endpoint`, whose ready replicas have these `loads`, as far as heard. What none of them
    /// tells stays without a series: unknown is not zero.
    pub(super) fn fill(&self, endpoint: &EndpointName, loads: &[Option<Load>]) {
        let label = PoolLabel { name: endpoint.to_string() };
        super::set(&self.ready.get_or_create(&label), loads.len());
        let known = || loads.iter().flatten();
        let set = |gauges: &Averages, average: Option<f64>| {
            if let Some(average) = average {
                gauges.get_or_create(&label).set(average);
            }
        };
        set(&self.queue, mean(known().filter_map(|load| load.waiting)));
        // Where the engine does not tell, what shoal has given it is what it runs.
        set(&self.running, mean(known().map(|load| load.running.unwrap_or(load.inflight))));
        set(
            &self.kv_cache,
            mean(known().filter_map(|load| load.kv_cache).map(u32::from)).map(|percent| percent / 100.0),
        );
    }
}

fn mean(values: impl Iterator<Item = u32>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + f64::from(value), count + 1.0));
    (count > 0.0).then_some(sum / count)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    /// The series of endpoint `llama`, whose ready replicas have these loads, in order.
    fn series(loads: &[Option<Load>]) -> Vec<String> {
        let (gauges, mut registry) = (EppGauges::default(), Registry::default());
        gauges.register(&mut registry);
        gauges.fill(&"gone".parse().unwrap(), &[Some(Load::default())]);
        gauges.clear();
        gauges.fill(&"llama".parse().unwrap(), loads);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn load(inflight: u32, running: Option<u32>, waiting: Option<u32>, kv_cache: Option<u8>) -> Option<Load> {
        Some(Load { inflight, running, waiting, kv_cache })
    }

    /// As the scrape of a hub is configured by default.
    #[test]
    fn a_hub_finds_what_it_asks_an_endpoint_picker_for() {
        let loads = [load(9, Some(4), Some(3), Some(50)), load(0, Some(1), Some(0), Some(25))];
        assert_eq!(
            series(&loads),
            [
                "llm_d_epp_average_queue_size{name=\"llama\"} 1.5",
                "llm_d_epp_average_running_requests{name=\"llama\"} 2.5",
                "llm_d_epp_average_kv_cache_utilization{name=\"llama\"} 0.375",
                "llm_d_epp_ready_endpoints{name=\"llama\"} 2",
            ]
        );
    }

    /// Rule 1: unknown is never zero.
    #[test]
    fn rule_1_averages_are_of_those_who_have_told() {
        let loads = [None, load(3, None, None, Some(80)), load(5, Some(1), None, None)];
        assert_eq!(
            series(&loads),
            [
                "llm_d_epp_average_running_requests{name=\"llama\"} 2.0",
                "llm_d_epp_average_kv_cache_utilization{name=\"llama\"} 0.8",
                "llm_d_epp_ready_endpoints{name=\"llama\"} 3",
            ]
        );
        assert_eq!(series(&[]), ["llm_d_epp_ready_endpoints{name=\"llama\"} 0"]);
    }
}
