//! How much of all prompts is found in prefix caches, by policy and number of ingresses, in a simulated fleet:
//! `cargo bench -p shoal-ingress --bench hits`. What is chosen is chosen by the ingress's own code; clients, engines and
//! gossip are simulated, in virtual time, the same in each run.

// A benchmark that cannot be set up has nothing to measure, and counts of requests are small.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub
)]

mod chat;
mod engine;
mod fleet;

use shoal_types::RoutingPolicy;

use self::{
    chat::Clients,
    fleet::{Outcome, Setup, run},
};

const SETUP: Setup = Setup {
    policy: RoutingPolicy::Prefix,
    ingresses: 1,
    replicas: 8,
    tokens: 200_000,
    clients: Clients { applications: 40, per_second: 10.0, conversations: 5_000 },
    roaming: true,
    seed: 1,
};

fn row(name: &str, outcome: Outcome, one: f64) {
    let Outcome { hits, mean, p95, spread } = outcome;
    println!("| {name} | {hits:.3} | {:.3} | {:.0} | {:.0} | {spread:.2} |", hits / one, mean * 1e3, p95 * 1e3);
}

fn main() {
    println!("| policy, ingresses | prefix hits | of one's | mean wait ms | p95 ms | busiest / mean |");
    println!("|---|---:|---:|---:|---:|---:|");
    let one = run(SETUP);
    row("prefix, 1", one, one.hits);
    for (name, ingresses, roaming) in [
        ("prefix, 5, each turn at any of them", 5, true),
        ("prefix, 5, a conversation stays at one", 5, false),
        ("prefix, 20, each turn at any of them", 20, true),
    ] {
        row(name, run(Setup { ingresses, roaming, ..SETUP }), one.hits);
    }
    for (name, policy) in [("least-load", RoutingPolicy::LeastLoad), ("round-robin", RoutingPolicy::RoundRobin)] {
        for ingresses in [1, 5] {
            row(&format!("{name}, {ingresses}"), run(Setup { policy, ingresses, ..SETUP }), one.hits);
        }
    }
}
