//! `shoal dev`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<DevVerb>,
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) nodes: u16,
    /// Port of the first node's OpenAI API; node i listens on this plus i
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub(crate) http_base: u16,
    /// GPUs of each node: so many simulated ones, or `mock` for eight of a stand-in for NVIDIA's library, which are as a
    /// file says that can be edited
    #[arg(long, default_value = "2", value_name = "N|mock")]
    pub(crate) gpus: DevGpus,
    /// The stand-in, for `--gpus mock`; default libmock_nvml.so beside this program
    #[arg(long, value_name = "PATH")]
    pub(crate) mock_nvml: Option<PathBuf>,
    /// Directory for the nodes' state; default a temporary one, removed in the end
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON object when ready, and no progress
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave the mesh running and return; `shoal dev stop` ends it
    #[arg(long)]
    pub(crate) detach: bool,
}

/// GPUs of each node of `shoal dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DevGpus {
    /// So many that do not exist.
    Simulated(u32),
    /// Those of a library that stands in for NVIDIA's.
    Mock,
}

impl FromStr for DevGpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(count @ 0..=64) => Ok(Self::Simulated(count)),
            Err(_) if text == "mock" => Ok(Self::Mock),
            Ok(_) | Err(_) => Err("neither a number up to 64 nor `mock`".to_owned()),
        }
    }
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum DevVerb {
    /// Stop a detached mesh
    Stop,
}
