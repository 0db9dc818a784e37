//! What reading a request and choosing its replica cost, on one core: `cargo bench -p shoal-ingress --bench choose`.
//!
//! * `read`: the one parse of the body, and the hashes of its prompt.
//! * `choose`: which of 16 replicas it goes to, and the notes of it: of prompts that nobody has, and of such as one has.

// A benchmark that cannot be set up has nothing to measure.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shoal_ingress::trial::Trial;
use shoal_types::{Load, RoutingPolicy};
use tokio::time::Instant;

/// Bytes of prompts: a question, the 64 KiB of the targets, 100,000 tokens.
const SIZES: [usize; 3] = [600, 64 << 10, 400_000];
const LINE: &str = "The quick brown fox jumps over the lazy dog, again and again.\\n";

fn body(number: usize, bytes: usize) -> Vec<u8> {
    let text = LINE.repeat(bytes / LINE.len() + 1);
    let messages = format!(r#"[{{"role":"user","content":"{number} {}"}}]"#, &text[..bytes]);
    format!(r#"{{"model":"llama","messages":{messages},"stream":true}}"#).into_bytes()
}

fn trial(policy: RoutingPolicy) -> Trial {
    let mut trial = Trial::new(1);
    let load = Load { inflight: 3, running: Some(3), waiting: Some(0), kv_cache: None };
    trial.route(policy, &[Some(load); 16], Instant::now());
    trial
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for (name, policy) in [("least-load", RoutingPolicy::LeastLoad), ("prefix", RoutingPolicy::Prefix)] {
        let trial = trial(policy);
        for bytes in SIZES {
            let body = body(0, bytes);
            let id = BenchmarkId::new(name, bytes);
            group.bench_with_input(id, &body, |bench, body| bench.iter(|| black_box(trial.read(body))));
        }
    }
}

fn choose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read-and-choose");
    for (name, policy) in [("least-load", RoutingPolicy::LeastLoad), ("prefix", RoutingPolicy::Prefix)] {
        for bytes in SIZES {
            let (mut trial, body, now) = (trial(policy), body(0, bytes), Instant::now());
            let id = BenchmarkId::new(name, bytes);
            group.bench_with_input(id, &body, |bench, body| bench.iter(|| black_box(trial.send(body, now))));
        }
    }
}

criterion_group!(benches, read, choose);
criterion_main!(benches);
