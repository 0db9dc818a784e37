//! From an engine's Prometheus metrics to what is gossiped of its load.

use shoal_types::Load;

/// What the metrics of one engine kind are called.
#[derive(Debug)]
pub(crate) struct MetricNames {
    /// Where they are, in the Prometheus text format.
    pub(crate) path: &'static str,
    /// Gauges of the requests that are being served.
    pub(crate) running: &'static [&'static str],
    /// Gauges of those that wait.
    pub(crate) waiting: &'static [&'static str],
    /// Gauges of the use of the KV cache, 0 to 1.
    pub(crate) kv_cache: &'static [&'static str],
    /// What moves while the engine works, and stands still when it hangs or has nothing to do.
    pub(crate) progress: &'static [&'static str],
}

/// What an engine says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pulse {
    /// Rounded for gossip.
    pub(crate) load: Load,
    /// Sum of what moves while it works; only whether it changes means something. `None` if the engine does not tell.
    pub(crate) progress: Option<f64>,
}

/// Steps of the KV cache use, in percent.
const PERCENT_STEP: f64 = 5.0;

/// What `metrics` (Prometheus text) tells; what it does not tell of is `None`.
pub(crate) fn parse(names: &MetricNames, metrics: &str) -> Pulse {
    // Several engines of one server (data parallel) share the work, and the fullest cache is the one that counts.
    let sum = |names: &[&str]| samples(metrics, names).reduce(|sum, value| sum + value);
    let max = |names: &[&str]| samples(metrics, names).reduce(f64::max);
    Pulse {
        load: Load {
            inflight: 0,
            running: sum(names.running).map(round_count),
            waiting: sum(names.waiting).map(round_count),
            kv_cache: max(names.kv_cache).map(round_percent),
        },
        progress: sum(names.progress),
    }
}

/// The finite values of all series with one of these names.
fn samples<'a>(metrics: &'a str, names: &'a [&str]) -> impl Iterator<Item = f64> + 'a {
    metrics.lines().filter_map(move |line| {
        let value = names.iter().find_map(|name| sample(line.strip_prefix(name)?))?;
        value.split_ascii_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())
    })
}

/// The value and what follows it, in a line after the name that was looked for.
fn sample(rest: &str) -> Option<&str> {
    match rest.as_bytes().first()? {
        // A label's value may hold spaces and braces: the sample follows the last brace.
        b'{' => rest.rsplit_once('}').filter(|(labels, _)| !is_breakdown(labels)).map(|(_, value)| value),
        b' ' => Some(rest),
        _ => None, // a longer name
    }
}

/// SGLang has each gauge once for all requests (`priority=""`) and once for each priority in use.
fn is_breakdown(labels: &str) -> bool {
    labels.split_once("priority=\"").is_some_and(|(_, priority)| !priority.starts_with('"'))
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

    const NAMES: MetricNames = MetricNames {
        path: "/metrics",
        running: &["e:running", "e:run"],
        waiting: &["e:waiting"],
        kv_cache: &["e:kv"],
        progress: &["e:prompt", "e:generated"],
    };

    #[test]
    fn metrics_of_several_engines_are_one_pulse() {
        let metrics = "# HELP e:running Requests.\n# TYPE e:running gauge\n\
            e:running{engine=\"0\",model_name=\"a} b\"} 3.0\ne:running{engine=\"1\",model_name=\"a} b\"} 2.0\n\
            e:waiting{engine=\"0\"} 0.0\ne:waiting_by_reason{reason=\"capacity\"} 17.0\n\
            e:kv{engine=\"0\"} 0.4249 1700000000\ne:kv{engine=\"1\"} 0.11\n\
            e:prompt 1e3\ne:generated{} 7\n";
        let load = Load { inflight: 0, running: Some(5), waiting: Some(0), kv_cache: Some(40) };
        assert_eq!(parse(&NAMES, metrics), Pulse { load, progress: Some(1007.0) });
    }

    #[test]
    fn unknown_is_not_zero() {
        assert_eq!(parse(&NAMES, ""), Pulse::default());
        assert_eq!(parse(&NAMES, "e:running\ne:waiting{ 1\ne:kv NaN\n"), Pulse::default());
        assert_eq!(parse(&NAMES, "e:run 2").load.running, Some(2));
    }

    #[test]
    fn what_is_counted_by_priority_is_not_counted_twice() {
        let metrics = "e:running{priority=\"\",rank=\"0\"} 3\ne:running{priority=\"5\",rank=\"0\"} 1\n";
        assert_eq!(parse(&NAMES, metrics).load.running, Some(3));
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
