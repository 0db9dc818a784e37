//! The simulated engine: vLLM's API without a model. Its answers are made up, and say so in their first word.
//!
//! What it answers is a function of model, prompt and position alone, on every node and at every time (see `text`), so
//! that an answer which breaks off here can be continued there, and a test can tell whether it was.

mod dialect;
mod embedding;
mod error;
mod generation;
mod metrics;
mod options;
mod reply;
mod request;
mod server;
mod sleep;
mod stop;
mod text;

pub use options::{SimError, SimOptions};
pub use server::sim_engine;

#[cfg(test)]
mod tests;
