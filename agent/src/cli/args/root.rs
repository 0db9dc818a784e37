//! `shoal root`.

use std::path::PathBuf;

use clap::Subcommand;

use super::OutputArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum RootVerb {
    /// Make the root that is to follow, in a new directory; needs the present root key, and no daemon
    Begin {
        /// Directory that is made: root.key and root.succession
        dir: PathBuf,
        /// The present root key
        #[arg(long, value_name = "PATH")]
        root_key: PathBuf,
    },
    /// Show from which root the certificate of each node comes
    Status(OutputArgs),
    /// Make all nodes trust the new root, and no other
    Finish {
        /// The root.succession that `begin` made
        succession: PathBuf,
        /// Although nodes are cut off that are silent, or whose certificate comes from the old one
        #[arg(long)]
        force: bool,
    },
}
