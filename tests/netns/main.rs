//! Whole-system tests over networks that fail: real processes, each node in a network namespace of its own.
//!
//! They need root, `ip` and `nft`. Where namespaces cannot be made they say SKIPPED, and why, and pass. Times are those
//! that a mesh has by default, so that what is measured is what users get.

// Tests, though not inside a `#[cfg(test)]` module, which is where clippy looks.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)]

mod harness;

mod cluster_loss;
mod lossy;
mod partition;
mod silent;
