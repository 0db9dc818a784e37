//! A stand-in for `vllm serve` in tests of what supervises it: vLLM 0.32's arguments, process tree, log lines, API and
//! metrics, without a model, and its failures.
//!
//! It fails where vLLM fails, for the same causes and in the same words (a wrong flag, a model that is not there, weights
//! cut short, a worker that is stopped, a core that is killed); what vLLM does by chance, or on a GPU, it does when
//! `fake.json` in the model's directory says so ([`script::Script`]). Recorded from vLLM 0.32.0; only the times are
//! shorter.

mod api_server;
mod arguments;
mod engine;
mod engine_core;
mod error;
mod generation;
mod life;
mod listener;
mod metrics;
mod model;
mod reply;
mod routes;
mod script;
mod speaker;
mod subprocess;
mod worker;

use std::{env, process::ExitCode};

use tokio::runtime::Builder;

/// By what name it was started says which of the three processes it is, as the list of processes shows them.
fn main() -> ExitCode {
    let title = env::args().next().unwrap_or_default();
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            speaker::plain(&format!("fake-engine: no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match title.as_str() {
        engine_core::TITLE => runtime.block_on(engine_core::run()),
        title if title.starts_with(worker::TITLE) => runtime.block_on(worker::run()),
        _ => runtime.block_on(api_server::run()),
    }
}
