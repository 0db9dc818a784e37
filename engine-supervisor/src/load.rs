//! From an engine's Prometheus metrics to what is gossiped of its load.

use shoal_types::Load;

/// Gauges of running sequences, waiting sequences, and KV cache use (0 to 1): vLLM's (and the simulated engine's), and
/// llama.cpp's, which has no gauge of the cache.
const RUNNING: [&str; 2] = ["vllm:num_requests_running", "llamacpp:requests_processing"];
const WAITING: [&str; 2] = ["vllm:num_requests_waiting", "llamacpp:requests_deferred"];
const KV_CACHE: [&str; 1] = ["vllm:kv_cache_usage_perc"];

/// Steps of the KV cache use, in percent.
const PERCENT_STEP: f64 = 5.0;

/// The load that `metrics` (Prometheus text) tells of, rounded; what it does not tell of is `None`.
pub(crate) fn parse(metrics: &str) -> Load {
    // Several engines of one server (data parallel) share the work, and the fullest cache is the one that counts.
    let sum = |names: &[&str]| samples(metrics, names).reduce(|sum, value| sum + value);
    let max = |names: &[&str]| samples(metrics, names).reduce(f64::max);
    Load {
        inflight: 0,
        running: sum(&RUNNING).map(round_count),
        waiting: sum(&WAITING).map(round_count),
        kv_cache: max(&KV_CACHE).map(round_percent),
    }
}

/// The finite values of all series with one of these names.
fn samples<'a>(metrics: &'a str, names: &'a [&str]) -> impl Iterator<Item = f64> + 'a {
    metrics.lines().filter_map(move |line| {
        let rest = names.iter().find_map(|name| line.strip_prefix(name))?;
        let value = match rest.as_bytes().first()? {
            // A label's value may hold spaces and braces: the sample follows the last brace.
            b'{' => rest.rsplit_once('}')?.1,
            b' ' => rest,
            _ => return None, // a longer name
        };
        value.split_ascii_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())
    })
}

/// `value`, which is not negative, as [`Load`] has counts.
pub(crate) fn round_count(value: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    Load::round_count(value.round() as u32)
}

/// A share, in percent, to [`PERCENT_STEP`].
pub(crate) fn round_percent(share: f64) -> u8 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 100
    let percent = ((share.clamp(0.0, 1.0) * 100.0 / PERCENT_STEP).round() * PERCENT_STEP) as u8;
    percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vllm_metrics_become_a_load() {
        let metrics = "# HELP vllm:num_requests_running Number of requests in model execution batches.\n\
            # TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a} b\"} 3.0\n\
            vllm:num_requests_running{engine=\"1\",model_name=\"a} b\"} 2.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 0.0\n\
            vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 17.0\n\
            vllm:kv_cache_usage_perc{engine=\"0\"} 0.4249 1700000000\n\
            vllm:kv_cache_usage_perc{engine=\"1\"} 0.11\n";
        assert_eq!(parse(metrics), Load { inflight: 0, running: Some(5), waiting: Some(0), kv_cache: Some(40) });
    }

    #[test]
    fn unknown_is_not_zero() {
        assert_eq!(parse(""), Load::default());
        let broken = "vllm:num_requests_running\nvllm:num_requests_waiting{ 1\nvllm:kv_cache_usage_perc NaN\n";
        assert_eq!(parse(broken), Load::default());
        assert_eq!(parse("llamacpp:requests_processing 2").running, Some(2));
    }

    #[test]
    fn rounding_is_exact_for_few_and_an_eighth_off_for_many() {
        for count in 0..=8 {
            assert_eq!(round_count(f64::from(count)), count);
        }
        for count in 0..5000_u32 {
            let rounded = round_count(f64::from(count));
            assert!(rounded.abs_diff(count) * 8 <= count, "{count} becomes {rounded}");
            assert_eq!(round_count(f64::from(rounded)), rounded);
        }
        assert_eq!(round_percent(0.024), 0);
        assert_eq!(round_percent(0.026), 5);
        assert_eq!(round_percent(7.0), 100);
    }
}
