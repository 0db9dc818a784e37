//! What the two hidden verbs are told.

use std::{ffi::OsString, path::PathBuf};

/// For `shoal engine-shim`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimOptions {
    /// The directory of the replica: `--dir PATH`.
    pub directory: PathBuf,
}

impl ShimOptions {
    /// The arguments of `shoal` for these options.
    pub(crate) fn args(&self) -> [OsString; 3] {
        ["engine-shim".into(), "--dir".into(), (&self.directory).into()]
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
