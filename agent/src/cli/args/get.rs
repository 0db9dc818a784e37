//! `shoal get` and `describe`.

use clap::{Args, ValueEnum};

use super::OutputArgs;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resource {
    #[value(name = "nodes", aliases = ["node", "no"])]
    Nodes,
    #[value(name = "endpoints", aliases = ["endpoint", "ep"])]
    Endpoints,
    #[value(name = "replicas", aliases = ["replica", "rep"])]
    Replicas,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to show
    pub(crate) resource: Resource,
    /// Only this one
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// What to show
    pub(crate) resource: Resource,
    /// Which one
    pub(crate) name: String,
}
