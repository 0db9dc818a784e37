//! Metrics under vLLM's names, in the Prometheus text format.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the latency histograms, in milliseconds: some of vLLM's.
const BUCKETS: [u64; 14] = [1, 5, 10, 20, 40, 80, 160, 320, 640, 1_000, 2_500, 5_000, 10_000, 60_000];
/// Tokens per sequence that the pretended KV cache has room for.
const KV_TOKENS_PER_SEQ: u64 = 1024;

/// How a request ended, in vLLM's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Stop,
    Length,
    Abort,
}

const ENDED: [(Ended, &str); 3] = [(Ended::Stop, "stop"), (Ended::Length, "length"), (Ended::Abort, "abort")];

/// All counters of one engine.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) running: Gauge,
    pub(super) waiting: Gauge,
    pub(super) kv_tokens: Gauge,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) generation_tokens: AtomicU64,
    pub(super) time_to_first_token: Histogram,
    pub(super) inter_token: Histogram,
    pub(super) end_to_end: Histogram,
    ended: [AtomicU64; ENDED.len()],
}

/// A value that goes down by itself when what raised it is dropped.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

impl Gauge {
    pub(super) fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub(super) fn subtract(&self, by: u64) {
        self.0.fetch_sub(by, Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Durations, counted by bucket.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, duration: Duration) {
        if let Some(bucket) = BUCKETS.iter().position(|&most| duration <= Duration::from_millis(most)) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Metrics {
    pub(super) fn ended(&self, how: Ended) {
        for ((ended, _), counter) in ENDED.iter().zip(&self.ended) {
            if *ended == how {
                counter.fetch_add(1, Relaxed);
            }
        }
    }

    /// The whole page for `model` with `max_num_seqs`.
    pub(super) fn render(&self, model: &str, max_num_seqs: u32, asleep: bool) -> String {
        let model = model.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let mut page = Page { labels: format!("engine=\"0\",model_name=\"{model}\""), text: String::new() };
        page.gauge("num_requests_running", &self.running.value().to_string());
        page.gauge("num_requests_waiting", &self.waiting.value().to_string());
        #[allow(clippy::cast_precision_loss)] // a share, for monitoring
        let kv_cache = self.kv_tokens.value() as f64 / (KV_TOKENS_PER_SEQ * u64::from(max_num_seqs)) as f64;
        page.gauge("kv_cache_usage_perc", &kv_cache.min(1.0).to_string());
        page.kind("engine_sleep_state", "gauge");
        page.line("engine_sleep_state", ",sleep_state=\"awake\"", if asleep { "0" } else { "1" });
        page.counter("prompt_tokens_total", &[("", self.prompt_tokens.load(Relaxed))]);
        page.counter("generation_tokens_total", &[("", self.generation_tokens.load(Relaxed))]);
        let ended: Vec<_> = ENDED.iter().zip(&self.ended).map(|((_, word), n)| (*word, n.load(Relaxed))).collect();
        page.counter("request_success_total", &ended);
        page.histogram("time_to_first_token_seconds", &self.time_to_first_token);
        page.histogram("inter_token_latency_seconds", &self.inter_token);
        page.histogram("e2e_request_latency_seconds", &self.end_to_end);
        page.text
    }
}

struct Page {
    labels: String,
    text: String,
}

impl Page {
    fn line(&mut self, name: &str, more: &str, value: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "vllm:{name}{{{}{more}}} {value}", self.labels);
    }

    fn kind(&mut self, name: &str, kind: &str) {
        let _ = writeln!(self.text, "# TYPE vllm:{name} {kind}");
    }

    fn gauge(&mut self, name: &str, value: &str) {
        self.kind(name, "gauge");
        self.line(name, "", value);
    }

    fn counter(&mut self, name: &str, by_reason: &[(&str, u64)]) {
        self.kind(name, "counter");
        for (reason, value) in by_reason {
            let more = if reason.is_empty() { String::new() } else { format!(",finished_reason=\"{reason}\"") };
            self.line(name, &more, &value.to_string());
        }
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        self.kind(name, "histogram");
        let mut cumulative = 0;
        for (most, bucket) in BUCKETS.iter().zip(&histogram.buckets) {
            cumulative += bucket.load(Relaxed);
            let bound = Duration::from_millis(*most).as_secs_f64();
            self.line(&format!("{name}_bucket"), &format!(",le=\"{bound}\""), &cumulative.to_string());
        }
        let count = histogram.count.load(Relaxed).to_string();
        self.line(&format!("{name}_bucket"), ",le=\"+Inf\"", &count);
        let sum = Duration::from_micros(histogram.sum_micros.load(Relaxed)).as_secs_f64();
        self.line(&format!("{name}_sum"), "", &sum.to_string());
        self.line(&format!("{name}_count"), "", &count);
    }
}
