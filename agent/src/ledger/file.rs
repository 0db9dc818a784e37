//! The ledger on disk.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use shoal_types::{ClaimId, GpuId};

/// Most of a file that is read: 64 GPUs with seven slices each take a tenth of it.
const FILE_MAX: u64 = 1 << 20;

/// Why the ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The file system refuses.
    #[error("cannot {doing} {path}, which says who holds which GPU: {source}")]
    File {
        /// To read or to write.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path}, which says who holds which GPU, is damaged: {source}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Where the ledger is kept.
#[derive(Debug)]
pub(super) struct LedgerFile {
    dir: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    held: BTreeMap<GpuId, ClaimId>,
}

impl LedgerFile {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.to_owned() }
    }

    /// Nothing is held where there is no file.
    pub(super) fn read(&self) -> Result<BTreeMap<GpuId, ClaimId>, LedgerError> {
        let mut text = Vec::new();
        let read = File::open(self.path()).and_then(|file| file.take(FILE_MAX).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(LedgerError::File { doing: "read", path: self.path(), source }),
        }
        let content: Result<Content, _> = serde_json::from_slice(&text);
        content.map(|content| content.held).map_err(|source| LedgerError::Damaged { path: self.path(), source })
    }

    /// On disk when it returns; a crash leaves the old one or the new one.
    pub(super) fn write(&self, held: &BTreeMap<GpuId, ClaimId>) -> Result<(), LedgerError> {
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec(&Content { held: held.clone() })?;
            let half = self.dir.join("gpus.json.new");
            let mut file = File::create(&half)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(half, self.path())?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| LedgerError::File { doing: "write", path: self.path(), source })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("gpus.json")
    }
}
