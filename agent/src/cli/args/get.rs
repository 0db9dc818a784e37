//! `shoal get` and `describe`.

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::OutputArgs;
use crate::cli::{complete, jsonpath::Path, select::Label};

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Nodes,
    Endpoints,
    Replicas,
    Keys,
    Tokens,
}

impl Resource {
    pub(crate) const ALL: [Self; 5] = [Self::Nodes, Self::Endpoints, Self::Replicas, Self::Keys, Self::Tokens];

    /// The words for it: plural, singular, short.
    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Nodes => &["nodes", "node", "no"],
            Self::Endpoints => &["endpoints", "endpoint", "ep"],
            Self::Replicas => &["replicas", "replica", "rep"],
            Self::Keys => &["keys", "key"],
            Self::Tokens => &["tokens", "token"],
        }
    }

    /// What `word` means.
    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.words().contains(&word))
    }
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// nodes (no), endpoints (ep), replicas (rep), keys, tokens or events; all, or those that are named: `node NAME...`, `node/NAME...`
    #[arg(num_args = 1.., required = true, value_name = "RESOURCE [NAME]", add = ArgValueCompleter::new(complete::targets))]
    pub(crate) target: Vec<String>,
    /// Only nodes or endpoints with such labels: KEY=VALUE, KEY!=VALUE, KEY; several by commas
    #[arg(short = 'l', long = "selector", value_delimiter = ',', value_name = "LABELS")]
    pub(crate) labels: Vec<Label>,
    /// Order by a field of what -o json shows, such as .ageMs
    #[arg(long, value_name = "PATH")]
    pub(crate) sort_by: Option<Path>,
    /// Go on with what changes, until it is interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// A node, endpoint or replica: `node NAME` or `node/NAME`
    #[arg(num_args = 1.., required = true, value_name = "RESOURCE NAME", add = ArgValueCompleter::new(complete::targets))]
    pub(crate) target: Vec<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
