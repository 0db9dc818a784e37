//! `shoal key`.

use std::time::Duration;

use clap::{Args, Subcommand};
use shoal_types::{EndpointName, KeyName, Priority};

use super::{
    OutputArgs,
    values::{duration, key},
};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Make a key; it is printed once, to standard output
    Create(KeyCreateArgs),
    /// List keys
    List(OutputArgs),
    /// Make a key useless, at every node and for good
    Revoke {
        /// Its name or id, as listed
        #[arg(value_name = "NAME|ID", value_parser = key)]
        key: String,
    },
    /// Show what was used, by day, key and endpoint
    Usage(KeyUsageArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeyCreateArgs {
    /// What people call it
    pub(crate) name: KeyName,
    /// Endpoint that it is good for; may be repeated; default all
    #[arg(long = "endpoint", value_name = "NAME")]
    pub(crate) endpoints: Vec<EndpointName>,
    /// Most requests in any minute, over all nodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests_per_minute: Option<u32>,
    /// Most tokens of prompts and answers in any minute, over all nodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tokens_per_minute: Option<u32>,
    /// Most tokens of prompts and answers in a day (UTC), over all nodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens_per_day: Option<u64>,
    /// Most requests at once, over all nodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
    /// How urgent its requests are: high, normal or low
    #[arg(long, default_value_t = Priority::Normal)]
    pub(crate) priority: Priority,
    /// Its share among keys of the same priority where requests queue
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) weight: u16,
    /// How long it is good, such as 30d; default for ever
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeyUsageArgs {
    /// Name or id of one key; default all
    #[arg(value_parser = key)]
    pub(crate) key: Option<String>,
    /// How many days back, today included; nodes keep 35
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=35))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
