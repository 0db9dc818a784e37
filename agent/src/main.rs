//! The one binary: `shoal agent` is the daemon, every other verb talks to one.

mod admin;
mod census;
mod cli;
mod config;
mod daemon;
mod detail;
mod dev;
mod inventory;
mod ledger;
mod metrics;
mod node;
mod notices;
mod peer;
mod replicas;
mod routing;
mod simulate;
mod telemetry;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
