//! Why a model is not on this node's disk, and cannot come there.

use std::{
    io,
    path::{Path, PathBuf},
};

use shoal_types::MemorySize;

use super::{BadModel, HubError, NoChoice, NoRoom};

/// Why a model cannot be used: each a sentence for the one who wrote the spec or the node's configuration.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Neither a path nor a name of the hub.
    #[error("`{0}` is neither an absolute path nor a hub id such as `organisation/model`")]
    NotAModel(String),
    /// Not a name that Git allows.
    #[error("`{0}` is not a branch, tag or commit of a model")]
    NotARevision(String),
    /// It is not there whole, and there is nowhere to fetch it from.
    #[error(
        "`{model}` is not on this node's disk ({cache}), and its configuration names no hub to fetch it from \
         (`weights.hub`)", cache = .cache.display()
    )]
    Offline {
        /// Which model.
        model: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// The hub does not give it.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// It is not clear which of the repository's files are meant.
    #[error("what to load of `{model}`: {source}")]
    NoChoice {
        /// Which model.
        model: String,
        /// Why.
        source: NoChoice,
    },
    /// The disk or the budget is too small.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Its files are not right.
    #[error(transparent)]
    BadModel(#[from] BadModel),
    /// The hub sent something else than it had listed.
    #[error("`{file}` of `{model}` should have {expected} bytes, and the hub sends {sent}")]
    Size {
        /// Which model.
        model: String,
        /// Which file.
        file: String,
        /// By the hub's list.
        expected: u64,
        /// By its answer.
        sent: u64,
    },
    /// Somebody else filled the disk meanwhile.
    #[error(
        "fetching `{model}` was given up and what was fetched of it removed: {cache} has {free} left, which stay free \
         for what runs (`weights.reserve`)", cache = .cache.display()
    )]
    Full {
        /// Which model.
        model: String,
        /// On whose file system.
        cache: PathBuf,
        /// What is left.
        free: MemorySize,
    },
    /// The cache cannot be used.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No connection could be made to any hub.
    #[error("cannot use HTTPS for the hub {url}: {reason}")]
    Client {
        /// Which hub.
        url: String,
        /// Why not, such as missing root certificates.
        reason: String,
    },
}

impl WeightsError {
    pub(super) fn disk(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk { doing, path: path.to_owned(), source }
    }

    /// Whether the same may work later on this node, without anybody changing the spec or the node's configuration.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_transient(),
            Self::NoRoom(_) | Self::Full { .. } | Self::Disk { .. } => true,
            Self::NotAModel(_)
            | Self::NotARevision(_)
            | Self::Offline { .. }
            | Self::NoChoice { .. }
            | Self::BadModel(_)
            | Self::Size { .. }
            | Self::Client { .. } => false,
        }
    }
}
