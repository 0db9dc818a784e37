//! Flags that many verbs have.

use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::values::duration;
use crate::cli::{complete, output::Output};

#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// Wait until it is so
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest wait
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// How to print: table, wide, json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, default_value = "table", value_name = "FORMAT", add = ArgValueCompleter::new(complete::formats))]
    pub(crate) output: Output,
}
