//! `shoal issuer`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::{OutputArgs, values::node};
use crate::{cli::complete, config::DEFAULT_STATE_DIR};

#[derive(Debug, Subcommand)]
pub(crate) enum IssuerVerb {
    /// List the nodes that admit others and renew certificates
    List(OutputArgs),
    /// Make a node an issuer; needs the root key on this host
    Add(IssuerSignArgs),
    /// Give an issuer a new key; needs the root key on this host
    Rotate(IssuerSignArgs),
    /// Let a node ask to be an issuer, or one with a new key; prints the request
    Request {
        /// Name or id of the node
        #[arg(value_parser = node, add = ArgValueCompleter::new(complete::nodes))]
        node: String,
    },
    /// Sign a request with the root key, on any host; prints the grant
    Sign {
        /// File with the request; `-` reads it from standard input
        request: PathBuf,
        /// The root key
        #[arg(long, value_name = "PATH")]
        root_key: PathBuf,
    },
    /// Give a node what was signed for its latest request
    Install {
        /// Name or id of the node
        #[arg(value_parser = node, add = ArgValueCompleter::new(complete::nodes))]
        node: String,
        /// File with the grant; `-` reads it from standard input
        grant: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct IssuerSignArgs {
    /// Name or id of the node
    #[arg(value_parser = node, add = ArgValueCompleter::new(complete::nodes))]
    pub(crate) node: String,
    /// The root key; default `identity/root.key` of the state directory
    #[arg(long, value_name = "PATH")]
    pub(crate) root_key: Option<PathBuf>,
    /// Directory of keys, specs and replica logs
    #[arg(long, env = "SHOAL_STATE_DIR", default_value = DEFAULT_STATE_DIR, value_name = "PATH")]
    pub(crate) state_dir: PathBuf,
}
