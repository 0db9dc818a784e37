//! The files that a certificate comes from.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use super::TlsError;

/// Where a certificate and its key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that it was issued by, without the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What the files hold.
pub(super) struct Pair {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// What was found in the files, so that it is known again. Not by their times: these are too coarse to tell two writes
/// apart, and stay the same where a link is moved to older files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Unreadable,
    Hash(u64),
}

impl TlsFiles {
    pub(super) async fn read(&self) -> Result<Pair, TlsError> {
        Ok(Pair { cert: read(&self.cert).await?, key: read(&self.key).await? })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(path).await.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

impl Pair {
    pub(super) fn seen(&self) -> Seen {
        let mut hasher = DefaultHasher::new();
        self.cert.hash(&mut hasher);
        self.key.hash(&mut hasher);
        Seen::Hash(hasher.finish())
    }
}
