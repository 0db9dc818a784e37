//! Verbs that the daemon runs itself as.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::values::duration;

/// Verbs of processes that are not to have more threads than they need.
#[derive(Debug, Subcommand)]
pub(crate) enum EngineVerb {
    /// Keeps one engine, with a daemon or without
    #[command(hide = true)]
    EngineShim(EngineShimArgs),
    /// Becomes an engine that ends with its shim
    #[command(hide = true)]
    EngineExec(EngineExecArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SimEngineArgs {
    /// Unix socket to listen on
    #[arg(long)]
    pub(crate) uds: PathBuf,
    /// Name that it serves; may be repeated, the first is its own
    #[arg(long = "model", required = true)]
    pub(crate) models: Vec<String>,
    /// Name of a simulated LoRA adapter; may be repeated
    #[arg(long = "adapter")]
    pub(crate) adapters: Vec<String>,
    /// Time that pretends to be loading weights
    #[arg(long, value_parser = duration)]
    pub(crate) load_time: Duration,
    /// Time to the first token
    #[arg(long, value_parser = duration)]
    pub(crate) time_to_first_token: Duration,
    /// Time between two tokens
    #[arg(long, value_parser = duration)]
    pub(crate) inter_token_latency: Duration,
    /// Sequences served at once
    #[arg(long)]
    pub(crate) max_num_seqs: u32,
    /// Most tokens of a prompt and its answer together
    #[arg(long)]
    pub(crate) max_model_len: u32,
    /// Take `/sleep` and `/wake_up`
    #[arg(long)]
    pub(crate) enable_sleep_mode: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EngineShimArgs {
    /// Directory of the replica; without it the daemon at the other end of standard input tells
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EngineExecArgs {
    /// The shim, with which the engine ends
    #[arg(long)]
    pub(crate) parent: u32,
    /// Program and arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}
