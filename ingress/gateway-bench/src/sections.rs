//! What is measured.

use std::{cell::Cell, future::Future, pin::Pin, time::Duration};

use super::{
    client::{closed, paced, streams},
    process::Process,
};

const TIME: Duration = Duration::from_secs(4);

/// One figure.
pub struct Section {
    pub what: &'static str,
    pub measure: fn(&Process) -> Pin<Box<dyn Future<Output = f64> + '_>>,
    pub show: fn(f64) -> String,
}

pub const SECTIONS: [Section; 12] = [
    Section {
        what: "CPU a request, 32 connections, 512-byte prompt, 1 KiB answer",
        measure: |proxy| Box::pin(cost(proxy, 32, 512)),
        show: micros,
    },
    Section { what: "the same, 256 connections", measure: |proxy| Box::pin(cost(proxy, 256, 512)), show: micros },
    Section { what: "requests a second, 32 connections", measure: |proxy| Box::pin(rate(proxy, 32)), show: whole },
    Section { what: "requests a second, 256 connections", measure: |proxy| Box::pin(rate(proxy, 256)), show: whole },
    Section {
        what: "CPU a request, 64 KiB prompt, 8 connections",
        measure: |proxy| Box::pin(cost(proxy, 8, 64 << 10)),
        show: micros,
    },
    Section {
        what: "p99 at 1,000 requests a second, the way without a proxy included",
        measure: |proxy| Box::pin(async { paced(&proxy.target(), 1_000, 512, TIME, || {}).await.p99().as_secs_f64() }),
        show: micros,
    },
    Section {
        what: "cores, 100 requests a second of 400 KB",
        measure: |proxy| Box::pin(large(proxy)),
        show: |cores| format!("{cores:.3}"),
    },
    Section {
        what: "CPU for 10,000 tokens, 64 streams of 50 tokens a second",
        measure: |proxy| Box::pin(tokens(proxy, 64)),
        show: seconds,
    },
    Section { what: "the same, 256 streams", measure: |proxy| Box::pin(tokens(proxy, 256)), show: seconds },
    Section {
        what: "first token, p99, 64 streams",
        measure: |proxy| Box::pin(async { streams(&proxy.target(), 64, 100, STEP, || {}).await.p99().as_secs_f64() }),
        show: micros,
    },
    Section {
        what: "tokens that came merged with others, of 6,400",
        measure: |proxy| Box::pin(async { streams(&proxy.target(), 64, 100, STEP, || {}).await.merged as f64 }),
        show: whole,
    },
    Section {
        what: "memory at 1,000 streams over that when idle, a stream",
        measure: |proxy| Box::pin(memory(proxy)),
        show: |bytes| format!("{:.0} KB", bytes / 1e3),
    },
];

/// Between two tokens of a stream.
const STEP: Duration = Duration::from_millis(20);

fn micros(seconds: f64) -> String {
    format!("{:.1} us", seconds * 1e6)
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.3} s")
}

fn whole(count: f64) -> String {
    format!("{count:.0}")
}

async fn cost(proxy: &Process, connections: usize, prompt: usize) -> f64 {
    let before = Cell::new(Duration::ZERO);
    let seen = closed(&proxy.target(), connections, prompt, TIME, || before.set(proxy.cpu())).await;
    (proxy.cpu() - before.get()).as_secs_f64() / seen.took.len() as f64
}

async fn rate(proxy: &Process, connections: usize) -> f64 {
    closed(&proxy.target(), connections, 512, TIME, || {}).await.took.len() as f64 / TIME.as_secs_f64()
}

async fn large(proxy: &Process) -> f64 {
    let before = Cell::new(Duration::ZERO);
    paced(&proxy.target(), 100, 400_000, TIME, || before.set(proxy.cpu())).await;
    (proxy.cpu() - before.get()).as_secs_f64() / TIME.as_secs_f64()
}

async fn tokens(proxy: &Process, count: u32) -> f64 {
    let before = proxy.cpu();
    let seen = streams(&proxy.target(), count, 100, STEP, || {}).await;
    (proxy.cpu() - before).as_secs_f64() / seen.tokens as f64 * 1e4
}

async fn memory(proxy: &Process) -> f64 {
    const STREAMS: u32 = 1_000;
    // What any request needs is there before.
    closed(&proxy.target(), 8, 512, Duration::ZERO, || {}).await;
    let (idle, open) = (proxy.memory(), Cell::new(0));
    streams(&proxy.target(), STREAMS, 20, Duration::from_millis(200), || open.set(proxy.memory())).await;
    open.get().saturating_sub(idle) as f64 / f64::from(STREAMS)
}
