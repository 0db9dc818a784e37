//! `/metrics` under the names of vLLM 0.32. What has no counterpart here is there with the value 0.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::engine::Engine;

/// Counters that stay at 0.
const IDLE_COUNTERS: [&str; 9] = [
    "num_preemptions_total",
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "external_prefix_cache_queries_total",
    "external_prefix_cache_hits_total",
    "mm_cache_queries_total",
    "mm_cache_hits_total",
    "prompt_tokens_cached_total",
    "estimated_flops_per_gpu_total",
];

/// Histograms, of which only the count is kept.
const HISTOGRAMS: [&str; 12] = [
    "request_prompt_tokens",
    "request_generation_tokens",
    "iteration_tokens_total",
    "request_params_max_tokens",
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "request_time_per_output_token_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_inference_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
];

/// Tokens that the cache has room for per running sequence.
const CACHE_SHARE: f64 = 0.05;

/// How a request ended, in vLLM's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Length,
    Abort,
    Error,
}

const ENDED: [(Option<Ended>, &str); 5] = [
    (None, "stop"),
    (Some(Ended::Length), "length"),
    (Some(Ended::Abort), "abort"),
    (Some(Ended::Error), "error"),
    (None, "repetition"),
];

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) running: Arc<AtomicU64>,
    pub(crate) waiting: Arc<AtomicU64>,
    /// Sequences that wait for the core to make a step.
    pub(crate) stepping: Arc<AtomicU64>,
    /// Sequences with blocks in the cache, as the core told after its last step.
    cached: AtomicU64,
    prompt_tokens: AtomicU64,
    generation_tokens: AtomicU64,
    ended: [AtomicU64; ENDED.len()],
}

/// A gauge that is one higher while this is there.
#[derive(Debug)]
pub(crate) struct Raised(Arc<AtomicU64>);

impl Raised {
    pub(crate) fn new(gauge: Arc<AtomicU64>) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    pub(crate) fn prompt(&self, tokens: u64) {
        self.prompt_tokens.fetch_add(tokens, Relaxed);
    }

    pub(crate) fn token(&self) {
        self.cached.store(self.running.load(Relaxed), Relaxed);
        self.generation_tokens.fetch_add(1, Relaxed);
    }

    pub(crate) fn ended(&self, how: Ended) {
        for ((ended, _), counter) in ENDED.iter().zip(&self.ended) {
            if *ended == Some(how) {
                counter.fetch_add(1, Relaxed);
            }
        }
    }

    /// What a core that hangs told last stays; one that has nothing to do has told that.
    fn cached(&self) -> u64 {
        if self.stepping.load(Relaxed) == 0 {
            self.cached.store(self.running.load(Relaxed), Relaxed);
        }
        self.cached.load(Relaxed)
    }

    /// Requests that wait or run.
    pub(crate) fn open(&self) -> u64 {
        self.running.load(Relaxed) + self.waiting.load(Relaxed)
    }
}

/// The whole page.
pub(crate) fn page(engine: &Engine) -> String {
    let metrics = &engine.metrics;
    let model = engine.arguments.served_model_names.first().map_or("", String::as_str);
    let mut page = Page { labels: format!("engine=\"0\",model_name=\"{model}\""), text: String::new() };
    let (running, waiting) = (metrics.running.load(Relaxed), metrics.waiting.load(Relaxed));
    page.gauge("num_requests_running", &[("", running)]);
    page.gauge("num_requests_waiting", &[("", waiting)]);
    page.gauge("num_requests_waiting_by_reason", &[("reason=\"capacity\"", waiting), ("reason=\"deferred\"", 0)]);
    let asleep = u64::from(engine.asleep.load(Relaxed));
    page.gauge(
        "engine_sleep_state",
        &[("sleep_state=\"awake\"", 1 - asleep), ("sleep_state=\"weights_offloaded\"", asleep)],
    );
    #[allow(clippy::cast_precision_loss)] // a handful
    let cache = (metrics.cached() as f64 * CACHE_SHARE).min(1.0);
    page.kind("kv_cache_usage_perc", "gauge");
    page.line("kv_cache_usage_perc", "", cache);
    page.counter("prompt_tokens_total", &[("", metrics.prompt_tokens.load(Relaxed))]);
    page.counter("generation_tokens_total", &[("", metrics.generation_tokens.load(Relaxed))]);
    let ended: Vec<_> = ENDED.iter().zip(&metrics.ended).map(|((_, word), count)| (*word, count)).collect();
    page.kind("request_success_total", "counter");
    for (word, count) in &ended {
        page.line("request_success_total", &format!("finished_reason=\"{word}\""), count.load(Relaxed));
    }
    for name in IDLE_COUNTERS {
        page.counter(name, &[("", 0)]);
    }
    let requests: u64 = ended.iter().map(|(_, count)| count.load(Relaxed)).sum();
    for name in HISTOGRAMS {
        page.histogram(name, requests);
    }
    page.text
}

struct Page {
    labels: String,
    text: String,
}

impl Page {
    fn kind(&mut self, name: &str, kind: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "# TYPE vllm:{name} {kind}");
    }

    fn line(&mut self, name: &str, label: &str, value: impl std::fmt::Display) {
        let comma = if label.is_empty() { "" } else { "," };
        let _ = writeln!(self.text, "vllm:{name}{{{}{comma}{label}}} {value}", self.labels);
    }

    fn gauge(&mut self, name: &str, series: &[(&str, u64)]) {
        self.kind(name, "gauge");
        self.series(name, series);
    }

    fn counter(&mut self, name: &str, series: &[(&str, u64)]) {
        self.kind(name, "counter");
        self.series(name, series);
    }

    fn series(&mut self, name: &str, series: &[(&str, u64)]) {
        for (label, value) in series {
            self.line(name, label, format!("{value}.0"));
        }
    }

    fn histogram(&mut self, name: &str, count: u64) {
        self.kind(name, "histogram");
        self.line(&format!("{name}_bucket"), "le=\"+Inf\"", count);
        self.line(&format!("{name}_count"), "", count);
        self.line(&format!("{name}_sum"), "", 0.0);
    }
}
