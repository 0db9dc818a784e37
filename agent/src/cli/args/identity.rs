//! `shoal init`, `join` and `token`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{
    OutputArgs,
    values::{duration, key_value, token},
};
use crate::config::DEFAULT_STATE_DIR;

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The root key of a mesh whose nodes are all lost: makes the first node of the same mesh anew
    #[arg(long, value_name = "PATH")]
    pub(crate) root_key: Option<PathBuf>,
    /// Directory of keys, specs and replica logs
    #[arg(long, env = "SHOAL_STATE_DIR", default_value = DEFAULT_STATE_DIR, value_name = "PATH")]
    pub(crate) state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// File with the token; `-` reads it from standard input
    #[arg(value_name = "TOKEN-FILE", env = "SHOAL_JOIN_TOKEN_FILE")]
    pub(crate) token_file: PathBuf,
    /// Directory of keys, specs and replica logs
    #[arg(long, env = "SHOAL_STATE_DIR", default_value = DEFAULT_STATE_DIR, value_name = "PATH")]
    pub(crate) state_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token; it is printed once, to standard output
    Create(TokenCreateArgs),
    /// List tokens
    List(OutputArgs),
    /// Make a token useless
    Revoke {
        /// Its id, as listed
        #[arg(value_parser = token)]
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// How long it can be used
    #[arg(long, default_value = "24h", value_parser = duration)]
    pub(crate) ttl: Duration,
    /// By how many nodes it can be used
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) uses: u32,
    /// The node may admit others and make tokens
    #[arg(long, conflicts_with = "no_write")]
    pub(crate) issuer: bool,
    /// The node may not write specs: for hosts that are trusted less
    #[arg(long)]
    pub(crate) no_write: bool,
    /// Label that the node gets; may be repeated
    #[arg(long = "label", value_parser = key_value, value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<(String, String)>,
}
