//! From the gauges of an llm-d router to a load.
//!
//! Its endpoint picker exports pool averages: `llm_d_epp_…{name="POOL"}` since 0.9, and under their older names
//! `inference_pool_…` beside them. An average tells how full one engine behind it is, which is what the load of an engine
//! here tells; that is why hubs of llm-d compare clusters by the same gauges.

use shoal_types::Load;

use crate::load::{round_count, round_percent};

const QUEUE: [&str; 2] = ["llm_d_epp_average_queue_size", "inference_pool_average_queue_size"];
const RUNNING: [&str; 2] = ["llm_d_epp_average_running_requests", "inference_pool_average_running_requests"];
const KV_CACHE: [&str; 2] = ["llm_d_epp_average_kv_cache_utilization", "inference_pool_average_kv_cache_utilization"];
const READY: [&str; 2] = ["llm_d_epp_ready_endpoints", "inference_pool_ready_pods"];

/// What a service tells of itself; what it does not tell is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Gauges {
    pub(super) load: Load,
    /// Whether any engine behind it is ready.
    pub(super) is_ready: Option<bool>,
}

impl Gauges {
    /// Of `metrics` in Prometheus text. Where there are several pools, the one called `model` counts, as that of another
    /// mesh is; where none is, all do.
    pub(super) fn parse(metrics: &str, model: &str) -> Self {
        let mean = |names: [&str; 2]| mean(&values(metrics, names, model));
        // An average below one is not nothing.
        let count = |names| mean(names).map(|value| round_count(value.ceil()));
        Self {
            load: Load {
                inflight: 0,
                running: count(RUNNING),
                waiting: count(QUEUE),
                kv_cache: mean(KV_CACHE).map(round_percent),
            },
            is_ready: mean(READY).map(|ready| ready > 0.0),
        }
    }
}

/// The values of the series under the first of `names` that has any.
fn values(metrics: &str, names: [&str; 2], pool: &str) -> Vec<f64> {
    let named = names.into_iter().map(|name| series(metrics, name)).find(|series| !series.is_empty());
    let all = named.unwrap_or_default();
    let own: Vec<f64> = all.iter().filter(|(name, _)| *name == Some(pool)).map(|(_, value)| *value).collect();
    if own.is_empty() { all.into_iter().map(|(_, value)| value).collect() } else { own }
}

/// The finite values of `metric`, each with the pool that it is about.
fn series<'a>(metrics: &'a str, metric: &str) -> Vec<(Option<&'a str>, f64)> {
    let sample = |line: &'a str| {
        let rest = line.strip_prefix(metric)?;
        let (labels, value) = match rest.as_bytes().first()? {
            // A label's value may hold spaces and braces: the sample follows the last brace.
            b'{' => rest.rsplit_once('}')?,
            b' ' => ("", rest),
            _ => return None, // a longer name
        };
        let value: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
        let pool = labels.strip_prefix("{name=\"").and_then(|labels| labels.strip_suffix('"'));
        value.is_finite().then_some((pool, value))
    };
    metrics.lines().filter_map(sample).collect()
}

#[allow(clippy::cast_precision_loss)] // there are not that many pools
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(running: u32, waiting: u32, kv_cache: u8) -> Load {
        Load { inflight: 0, running: Some(running), waiting: Some(waiting), kv_cache: Some(kv_cache) }
    }

    #[test]
    fn a_pools_gauges_become_a_load() {
        let metrics = "# HELP llm_d_epp_average_queue_size [ALPHA] The average number of requests pending.\n\
            # TYPE llm_d_epp_average_queue_size gauge\n\
            llm_d_epp_average_queue_size{name=\"chat\"} 0.25\n\
            llm_d_epp_average_running_requests{name=\"chat\"} 3\n\
            llm_d_epp_average_kv_cache_utilization{name=\"chat\"} 0.42\n\
            llm_d_epp_ready_endpoints{name=\"chat\"} 4\n\
            llm_d_epp_ready_endpoints_total 9\n\
            inference_pool_average_queue_size{name=\"chat\"} 90\n\
            inference_pool_ready_pods{name=\"chat\"} 0\n";
        assert_eq!(Gauges::parse(metrics, "big"), Gauges { load: load(3, 1, 40), is_ready: Some(true) });
    }

    #[test]
    fn the_older_names_do_where_they_are_all_there_is() {
        let metrics = "inference_pool_average_queue_size{name=\"p\"} 2\ninference_pool_ready_pods{name=\"p\"} 0\n";
        let gauges = Gauges::parse(metrics, "big");
        assert_eq!((gauges.load.waiting, gauges.is_ready), (Some(2), Some(false)));
    }

    #[test]
    fn of_several_pools_the_models_own_counts() {
        let metrics = "llm_d_epp_average_queue_size{name=\"a\"} 2\nllm_d_epp_average_queue_size{name=\"b\"} 6\n\
            llm_d_epp_ready_endpoints{name=\"a\"} 0\nllm_d_epp_ready_endpoints{name=\"b\"} 1\n";
        let of = |model| Gauges::parse(metrics, model);
        assert_eq!((of("a").load.waiting, of("a").is_ready), (Some(2), Some(false)));
        assert_eq!((of("b").load.waiting, of("b").is_ready), (Some(6), Some(true)));
        assert_eq!((of("c").load.waiting, of("c").is_ready), (Some(4), Some(true)));
    }

    #[test]
    fn unknown_is_not_zero() {
        assert_eq!(Gauges::parse("", "m"), Gauges::default());
        let broken =
            "llm_d_epp_average_queue_size\nllm_d_epp_average_running_requests{ 1\nllm_d_epp_ready_endpoints NaN\n";
        assert_eq!(Gauges::parse(broken, "m"), Gauges::default());
        assert_eq!(Gauges::parse("llm_d_epp_average_queue_size 3", "m").load.waiting, Some(3));
    }
}
