//! `shoal context`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::{OutputArgs, values::host_port};
use crate::cli::complete;

#[derive(Debug, Subcommand)]
pub(crate) enum ContextVerb {
    /// List contexts
    List(OutputArgs),
    /// Talk to the mesh of this context from now on
    Use {
        /// Which
        #[arg(add = ArgValueCompleter::new(complete::contexts))]
        name: String,
    },
    /// Make a context, or change one
    Set(ContextSetArgs),
    /// Forget a context
    Delete {
        /// Which
        #[arg(add = ArgValueCompleter::new(complete::contexts))]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ContextSetArgs {
    /// What it is called
    pub(crate) name: String,
    /// Admin TCP address of a node; may be repeated: they are tried in this order
    #[arg(long = "address", required = true, value_delimiter = ',', value_parser = host_port, value_name = "HOST:PORT")]
    pub(crate) addresses: Vec<String>,
    /// File with the admin token of those nodes
    #[arg(long, value_name = "PATH")]
    pub(crate) admin_token_file: Option<PathBuf>,
}
