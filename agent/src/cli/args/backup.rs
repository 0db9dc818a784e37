//! `shoal backup` and `shoal restore`.

use std::path::PathBuf;

use clap::Args;

use super::OutputArgs;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// File to write; `-` prints it to standard output
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// File that `shoal backup` wrote; `-` reads it from standard input
    pub(crate) file: PathBuf,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also put back endpoints that are there and differ
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
