//! What the gateway costs beside nginx, on this machine: `gateway-bench 5`, which `packaging/build --bench` compiles, runs five
//! interleaved rounds and prints the medians. Client, engines and proxies are processes of their own and share the cores; CPU
//! is that of the proxy's threads, by the kernel's account. The engines answer without thinking.
//!
//! The ingress runs with keys, metrics, request records and prefix routing to two engines of its node; an access log is the
//! daemon's, and not in it. nginx does nothing but pass on.
//!
//! `ingress/gateway-bench/crossing` runs two daemons, and has this program ask for what one of them has at both.

// A benchmark that cannot be set up has nothing to measure, and counts of requests are small.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub
)]

mod client;
mod crossing;
mod engine;
mod ingress;
mod process;
mod sections;
mod train;

use std::{collections::BTreeMap, env, fs};

use self::{
    process::{Process, nginx},
    sections::SECTIONS,
};

/// The daemon's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut args = env::args().skip(1);
    match args.next().as_deref() {
        Some("engine") => engine::run(),
        Some("ingress") => ingress::run(args.map(|address| address.parse().unwrap())),
        Some("train") => train::run(args),
        Some("crossing") => crossing::run(args),
        rounds => compare(rounds.map_or(1, |rounds| rounds.parse().expect("the number of rounds"))),
    }
}

/// What was measured of one figure, by proxy.
type Figures = BTreeMap<(usize, &'static str), Vec<f64>>;

/// Descriptors that 1,000 streams take at the ingress.
const DESCRIPTORS: u64 = 2_100;

fn compare(rounds: u32) {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files = files.split_whitespace().next().unwrap().parse().unwrap_or(u64::MAX);
    assert!(files >= DESCRIPTORS, "{files} open files are too few for 1,000 streams: ulimit -n 8192");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engines = [Process::of_ours("engine", &[]), Process::of_ours("engine", &[])];
    let addresses: Vec<String> = engines.iter().map(|engine| engine.address.to_string()).collect();
    let mut figures = Figures::new();
    let mut is_nginx_there = true;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for name in ["nginx", "shoal"] {
            // A new one for each section: what one has left in memory is not for the next to pay.
            for (number, section) in SECTIONS.iter().enumerate() {
                let proxy = match name {
                    "nginx" => nginx(&addresses),
                    _ => Some(Process::of_ours("ingress", &addresses)),
                };
                let Some(proxy) = proxy else {
                    is_nginx_there = false;
                    break;
                };
                let measured = runtime.block_on((section.measure)(&proxy));
                figures.entry((number, name)).or_default().push(measured);
            }
        }
    }
    if !is_nginx_there {
        eprintln!("SKIPPED nginx: there is no such program here");
    }
    print(&mut figures);
}

fn print(figures: &mut Figures) {
    println!("| what | nginx | shoal | ratio |");
    println!("|---|---:|---:|---:|");
    for (number, section) in SECTIONS.iter().enumerate() {
        let [nginx, shoal] = ["nginx", "shoal"].map(|name| figures.get_mut(&(number, name)).map(|all| median(all)));
        let shown = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), section.show);
        let ratio = nginx.zip(shoal).map(|(nginx, shoal)| shoal / nginx).filter(|ratio| ratio.is_finite());
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("| {} | {} | {} | {ratio} |", section.what, shown(nginx), shown(shoal));
    }
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
