//! Verbs about endpoints and their replicas.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;
use shoal_types::{EndpointName, Hlc};

use super::{
    OutputArgs, WaitArgs,
    values::{duration, endpoint, replica},
};
use crate::cli::complete;

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// YAML file; `-` reads standard input
    #[arg(short, long, value_name = "PATH")]
    pub(crate) filename: PathBuf,
    /// Apply only if the endpoint still is at this version, as `get endpoints -o wide` shows it
    #[arg(long, value_name = "VERSION")]
    pub(crate) expect: Option<Hlc>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// `endpoint NAME...` or `endpoint/NAME...`
    #[arg(num_args = 1.., value_name = "endpoint NAME", required_unless_present = "filename", add = ArgValueCompleter::new(complete::targets))]
    pub(crate) target: Vec<String>,
    /// Delete the endpoints of this YAML file
    #[arg(short, long, value_name = "PATH", conflicts_with = "target")]
    pub(crate) filename: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// `endpoint NAME...` or `endpoint/NAME...`
    #[arg(num_args = 1.., value_name = "endpoint NAME", required_unless_present = "all", add = ArgValueCompleter::new(complete::targets))]
    pub(crate) target: Vec<String>,
    /// All endpoints
    #[arg(long, conflicts_with = "target")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("number").required(true).multiple(true))]
pub(crate) struct ScaleArgs {
    /// `endpoint NAME...` or `endpoint/NAME...`
    #[arg(num_args = 1.., required = true, value_name = "endpoint NAME", add = ArgValueCompleter::new(complete::targets))]
    pub(crate) target: Vec<String>,
    /// Exactly so many
    #[arg(long, group = "number", value_name = "N", conflicts_with_all = ["min", "max"])]
    pub(crate) replicas: Option<u32>,
    /// Never fewer than so many
    #[arg(long, group = "number", value_name = "N")]
    pub(crate) min: Option<u32>,
    /// Never more than so many
    #[arg(long, group = "number", value_name = "N")]
    pub(crate) max: Option<u32>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What `shoal wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    /// All wanted replicas serve; a node is there and takes replicas
    Ready,
    /// It and all its replicas are gone; a node has left
    Deleted,
}

#[derive(Debug, Args)]
pub(crate) struct WaitForArgs {
    /// `endpoint NAME...` or `node NAME...`, or with a slash
    #[arg(num_args = 1.., required = true, value_name = "RESOURCE NAME", add = ArgValueCompleter::new(complete::targets))]
    pub(crate) target: Vec<String>,
    /// Until when
    #[arg(long = "for", value_enum, default_value_t = WaitFor::Ready)]
    pub(crate) until: WaitFor,
    /// Longest wait
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// `endpoint/NAME`, or `request`
    #[arg(value_name = "endpoint/NAME | request", add = ArgValueCompleter::new(complete::endpoint_targets))]
    pub(crate) target: String,
    /// Of the request: what its answer's header `x-request-id` says
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// YAML file; `-` reads standard input
    #[arg(short, long, value_name = "PATH")]
    pub(crate) filename: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutVerb {
    /// Show how far the rollout has come, and how both revisions do
    Status(RolloutTarget),
    /// Let both revisions stand as they are
    Pause(RolloutEndpoint),
    /// Go on, or try again what was rolled back
    Resume(RolloutEndpoint),
    /// Go back to the revision before, or to another
    Undo(RolloutUndo),
    /// List the revisions that can be gone back to
    History(RolloutTarget),
}

#[derive(Debug, Args)]
pub(crate) struct RolloutEndpoint {
    /// Name of the endpoint
    #[arg(value_parser = endpoint, add = ArgValueCompleter::new(complete::endpoints))]
    pub(crate) endpoint: EndpointName,
}

#[derive(Debug, Args)]
pub(crate) struct RolloutTarget {
    /// Name of the endpoint
    #[arg(value_parser = endpoint, add = ArgValueCompleter::new(complete::endpoints))]
    pub(crate) endpoint: EndpointName,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RolloutUndo {
    /// Name of the endpoint
    #[arg(value_parser = endpoint, add = ArgValueCompleter::new(complete::endpoints))]
    pub(crate) endpoint: EndpointName,
    /// Revision to go back to, as `history` shows it; default the one before
    #[arg(long, value_name = "REVISION")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A replica, or an endpoint, of which the newest replica is shown
    #[arg(value_parser = replica, add = ArgValueCompleter::new(complete::replicas))]
    pub(crate) name: String,
    /// Go on with new lines
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of the launch before the present one, which crashed
    #[arg(short, long, conflicts_with = "follow")]
    pub(crate) previous: bool,
    /// Lines from the end
    #[arg(long, default_value_t = 200)]
    pub(crate) tail: usize,
}
