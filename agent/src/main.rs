//! The one binary: `shoal agent` is the daemon, every other verb talks to one.

mod admin;
mod capacity;
mod cli;
mod config;
mod daemon;
mod dashboard;
mod detail;
mod dev;
mod events;
mod history;
mod inventory;
#[cfg(test)]
#[path = "../../tests/golden/kept.rs"]
mod kept;
mod keys;
mod ledger;
mod memory;
mod metrics;
mod node;
mod notices;
mod peer;
mod program;
mod replicas;
mod reports;
mod requests;
mod routing;
mod simulate;
mod state_file;
mod telemetry;
mod unplaced;
mod web;

use std::process::ExitCode;

/// Requests allocate and free some dozen small things each, on threads that share nothing.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
