//! Whole-system tests: real processes, real sockets, the program as users run it.
//!
//! Cargo builds the binary before these tests and tells them where it is, so `cargo test` alone is enough.

// Tests, though not inside a `#[cfg(test)]` module, which is where clippy looks.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)]

mod harness;

mod api;
mod cli;
mod departure;
mod dev;
mod engines;
mod events;
mod gpus;
mod identity;
mod join;
mod keys;
mod lifecycle;
mod observing;
mod openai;
mod placing;
mod rollout;
mod scaling;
mod service;
mod serving;
mod upgrade;
