//! What the two hidden verbs are told.

use std::{ffi::OsString, path::PathBuf};

/// For `shoal engine-shim`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimOptions {
    /// The directory of the replica: `--dir PATH`. Without it the shim says who it is, and is told.
    pub directory: Option<PathBuf>,
}

impl ShimOptions {
    /// The arguments of `shoal` for these options.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let directory = self.directory.iter().flat_map(|directory| ["--dir".into(), directory.into()]);
        ["engine-shim".into()].into_iter().chain(directory).collect()
    }
}

/// For `shoal engine-exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOptions {
    /// The shim, with which the engine is to end: `--parent PID`.
    pub parent: u32,
    /// The engine's program and its arguments, behind `--`.
    pub command: Vec<OsString>,
}

impl ExecOptions {
    /// The arguments of `shoal` for these options.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let flags = ["engine-exec".into(), "--parent".into(), self.parent.to_string().into(), "--".into()];
        flags.into_iter().chain(self.command.iter().cloned()).collect()
    }
}
