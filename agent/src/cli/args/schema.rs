//! `shoal config`.

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;

use crate::cli::complete;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print a JSON Schema
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = SchemaOf::Endpoint)]
        of: SchemaOf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// What is applied
    Endpoint,
    /// The node's configuration file
    Node,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Such as endpoint, endpoint.spec.replicas, or config.mesh for the file of a node
    #[arg(value_name = "endpoint[.FIELD] | config[.FIELD]", add = ArgValueCompleter::new(complete::fields))]
    pub(crate) path: String,
}

/// Which page of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PageOf {
    /// The command line
    Cli,
    /// The document that is applied
    Endpoint,
}
