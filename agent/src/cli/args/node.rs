//! Verbs about nodes.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::{WaitArgs, values::node};
use crate::cli::complete;

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Name or id of the node
    #[arg(value_parser = node, add = ArgValueCompleter::new(complete::nodes))]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UndrainArgs {
    /// Name or id of the node
    #[arg(value_parser = node, add = ArgValueCompleter::new(complete::nodes))]
    pub(crate) node: String,
    /// Forget what this GPU of the node has reported; it stays out of use while it still shows it
    #[arg(long, value_name = "UUID")]
    pub(crate) gpu: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Shut a node out of the mesh for good
    Revoke(NodeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Name or id of the node
    #[arg(value_parser = node, add = ArgValueCompleter::new(complete::nodes))]
    pub(crate) node: String,
}
