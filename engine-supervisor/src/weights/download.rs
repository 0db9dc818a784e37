//! From the hub into the cache, resumably: what was fetched once is not fetched again, whatever ends it.

use std::{cmp::Ordering, io::SeekFrom, path::Path, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Response;
use shoal_types::MemorySize;
use tokio::{
    fs::{self, File},
    io::{AsyncSeekExt as _, AsyncWriteExt as _, BufWriter},
    time::sleep,
};

use super::{
    WeightsError,
    disk::Disk,
    evict::remove_file,
    hub::{Hub, HubFile, Sent},
    layout::RepoCache,
    meter::Meter,
    model_id::{Commit, Repo},
};

/// Files fetched at a time. One connection to a CDN is slower than a disk; more than a few only share the line.
const AT_ONCE: usize = 4;
/// Bytes written at a time.
const BUFFER: usize = 1 << 20;
/// Bytes of one file between two looks at how much the disk has left.
const LOOK: u64 = 8 << 20;

/// How often a file is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    /// Attempts in a row that bring less than [`BUFFER`] bytes.
    pub(super) attempts: u32,
    /// Before the second; doubles with each that follows.
    pub(super) backoff: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, backoff: Duration::from_secs(1) }
    }
}

/// One model on its way.
#[derive(Debug)]
pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub,
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) layout: &'a RepoCache,
    pub(super) repo: &'a Repo,
    pub(super) commit: &'a Commit,
    /// Bytes that stay free.
    pub(super) reserve: u64,
    pub(super) retry: Retry,
    pub(super) meter: &'a Meter,
}

impl Download<'_> {
    /// Fetches what is missing of `files`; each is a blob once it is whole.
    ///
    /// Cancel safe: what has been written is resumed by the next call.
    ///
    /// # Errors
    /// The first; what the others had fetched stays, unless it is that the disk is full.
    pub(super) async fn run(&self, files: &[HubFile]) -> Result<(), WeightsError> {
        // Made beforehand: a closure that borrows from the stream would keep the whole from being `Send` (rust#102211).
        let fetches: Vec<_> = files.iter().map(|file| self.fetch(file)).collect();
        let result = stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect::<()>().await;
        if let Err(WeightsError::Full { .. }) = &result {
            // Whoever runs on this node needs the room more.
            files.iter().try_for_each(|file| self.discard(file))?;
        }
        result
    }

    fn discard(&self, file: &HubFile) -> Result<(), WeightsError> {
        let path = self.layout.incomplete(&file.blob);
        remove_file(&path).map_err(|source| WeightsError::disk("remove", &path, source))
    }

    async fn fetch(&self, file: &HubFile) -> Result<(), WeightsError> {
        let (mut fruitless, mut length) = (0, self.fetched(file).await);
        loop {
            let Err(error) = self.attempt(file).await else { return Ok(()) };
            if let WeightsError::Size { .. } = error {
                // Not a part of what it should be: nothing to go on from.
                self.discard(file)?;
            }
            let now = self.fetched(file).await;
            fruitless = if now >= length + BUFFER as u64 { 0 } else { fruitless + 1 };
            length = now;
            if fruitless >= self.retry.attempts || !matches!(&error, WeightsError::Hub(error) if error.is_transient()) {
                return Err(error);
            }
            tracing::info!(model = %self.repo, file = file.path, %error, "fetching goes on in a moment");
            sleep(self.retry.backoff * 2_u32.pow(fruitless.saturating_sub(1))).await;
        }
    }

    /// Fetches what is missing of `file`, as far as one answer goes.
    async fn attempt(&self, file: &HubFile) -> Result<(), WeightsError> {
        let path = self.layout.incomplete(&file.blob);
        let disk = |source| self.disk_error("write", &path, source);
        let mut incomplete = File::from_std(self.layout.open_incomplete(&file.blob).map_err(disk)?);
        let mut there = incomplete.metadata().await.map_err(disk)?.len();
        if there > file.size {
            (incomplete, there) = (self.anew(file, there).await?, 0);
        }
        if there < file.size {
            match self.hub.get(self.repo, self.commit, &file.path, there).await? {
                Sent::Rest(response) => there = self.write(file, response, incomplete, there).await?,
                Sent::Whole(response) => {
                    let empty = if there > 0 { self.anew(file, there).await? } else { incomplete };
                    there = self.write(file, response, empty, 0).await?;
                }
                Sent::Nothing => {}
            }
        }
        match there.cmp(&file.size) {
            Ordering::Equal => fs::rename(&path, self.layout.blob(&file.blob)).await.map_err(disk),
            Ordering::Less | Ordering::Greater => Err(self.wrong_size(file, there)),
        }
    }

    /// Writes an answer behind the `there` bytes that the file has; returns how many it has then.
    async fn write(
        &self,
        file: &HubFile,
        mut response: Response,
        mut incomplete: File,
        mut there: u64,
    ) -> Result<u64, WeightsError> {
        let path = self.layout.incomplete(&file.blob);
        let disk = |source| self.disk_error("write", &path, source);
        // At a position, not "at the end": a write of a call that was cancelled may still come, with the same bytes.
        incomplete.seek(SeekFrom::Start(there)).await.map_err(disk)?;
        let mut writer = BufWriter::with_capacity(BUFFER, incomplete);
        let mut looked = there;
        let ended = loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(self.hub.unreachable(self.repo, error).into()),
            };
            if there + chunk.len() as u64 > file.size {
                break Err(self.wrong_size(file, there + chunk.len() as u64));
            }
            writer.write_all(&chunk).await.map_err(disk)?;
            there += chunk.len() as u64;
            self.meter.add(chunk.len() as u64);
            if there - looked >= LOOK {
                looked = there;
                self.look()?;
            }
        };
        writer.flush().await.map_err(disk)?;
        // A blob has its name for good: it must not be found shorter after a power cut.
        writer.get_ref().sync_data().await.map_err(disk)?;
        ended.map(|()| there)
    }

    /// A new file in place of the one that is fetched into. Not a truncated one: see [`Self::write`].
    async fn anew(&self, file: &HubFile, there: u64) -> Result<File, WeightsError> {
        let path = self.layout.incomplete(&file.blob);
        self.meter.undo(there.min(file.size));
        fs::remove_file(&path).await.map_err(|source| self.disk_error("remove", &path, source))?;
        let anew = self.layout.open_incomplete(&file.blob);
        anew.map(File::from_std).map_err(|source| self.disk_error("write", &path, source))
    }

    /// Bytes that are there of a file.
    async fn fetched(&self, file: &HubFile) -> u64 {
        fs::symlink_metadata(self.layout.incomplete(&file.blob)).await.map_or(0, |metadata| metadata.len())
    }

    fn look(&self) -> Result<(), WeightsError> {
        let free = self.free();
        if free < self.reserve { Err(self.full(free)) } else { Ok(()) }
    }

    fn free(&self) -> u64 {
        // A file system that does not answer is found out by writing to it.
        self.disk.free(self.layout.cache()).unwrap_or(u64::MAX)
    }

    fn full(&self, free: u64) -> WeightsError {
        let cache = self.layout.cache().to_owned();
        WeightsError::Full { model: self.repo.to_string(), cache, free: MemorySize::from_bytes(free) }
    }

    fn disk_error(&self, doing: &'static str, path: &Path, source: std::io::Error) -> WeightsError {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => self.full(self.free()),
            _ => WeightsError::disk(doing, path, source),
        }
    }

    fn wrong_size(&self, file: &HubFile, sent: u64) -> WeightsError {
        WeightsError::Size { model: self.repo.to_string(), file: file.path.clone(), expected: file.size, sent }
    }
}
