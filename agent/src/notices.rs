//! That this host will be taken away: spot notices of AWS, GCP and Azure, a file or a command for others, and what a
//! SIGTERM means.
//!
//! It publishes and judges; leaving is the daemon's business. A host that is no cloud is asked for ever more rarely, and
//! nothing above `debug` is logged about it.

mod aws;
mod azure;
mod command;
mod config;
mod file;
mod finding;
mod gcp;
mod http;
mod keep;
#[cfg(test)]
mod loopback;
mod notice;
mod pace;
mod poll;
mod sigterm;
mod statement;
#[cfg(test)]
mod tests;
mod url;
mod when;

pub(crate) use config::{COMMAND_INTERVAL_MIN, NoticesConfig, SigtermConfig};
pub(crate) use keep::Notices;
pub(crate) use notice::{Notice, Source};
pub(crate) use sigterm::{Termination, judge_sigterm};
