//! Why a shim ended before its engine was over.

use std::{io, path::PathBuf};

/// Why there is no engine, or nobody who keeps it.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// It was not started by a daemon, which is at the other end of its standard input.
    #[error("`shoal engine-shim` is started by or for the daemon, with a socket as standard input: {0}")]
    NoDaemon(#[source] io::Error),
    /// It cannot become what a shim is.
    #[error("cannot {doing}: {source}")]
    Process {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file or socket cannot be used.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The engine's program does not run.
    #[error("cannot execute {program}: {source}", program = .program.display())]
    Execute {
        /// Which.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The shim ended before the engine had begun.
    #[error("process {0}, which started this engine, is gone")]
    Orphan(u32),
}

impl ShimError {
    /// Its number, where the program is at fault and not the shim.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::Execute { source, .. } => source.raw_os_error(),
            Self::NoDaemon(_) | Self::Process { .. } | Self::File { .. } | Self::Orphan(_) => None,
        }
    }
}
