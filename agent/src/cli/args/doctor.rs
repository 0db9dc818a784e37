//! `shoal doctor`, `top` and `bugreport`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCompleter;

use super::OutputArgs;
use crate::cli::complete;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look only at the way to this node
    #[arg(long, value_name = "NODE", add = ArgValueCompleter::new(complete::nodes))]
    pub(crate) peer: Option<String>,
    /// Configuration file of this host's daemon; default /etc/shoal/shoal.yaml if it exists
    #[arg(long, env = "SHOAL_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What `shoal top` shows first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopPage {
    /// Nodes and their GPUs
    #[value(aliases = ["node", "no"])]
    Nodes,
    /// Endpoints and what clients ask of them
    #[value(aliases = ["endpoint", "ep"])]
    Endpoints,
    /// The latest requests
    #[value(alias = "request")]
    Requests,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// What to show first; on a terminal keys show the others
    #[arg(value_enum, default_value_t = TopPage::Nodes)]
    pub(crate) page: TopPage,
}

#[derive(Debug, Args)]
pub(crate) struct BugreportArgs {
    /// File to write, which must not be there yet
    #[arg(value_name = "FILE.tar.gz")]
    pub(crate) file: PathBuf,
    /// Put names in place of addresses
    #[arg(long)]
    pub(crate) redact: bool,
    /// Configuration file of this host's daemon; default /etc/shoal/shoal.yaml if it exists
    #[arg(long, env = "SHOAL_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
}
