//! What is in the cache.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirEntry, Metadata},
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use shoal_types::{MemorySize, UnixMillis};

use super::{
    check::check_model,
    disk::is_directory,
    layout::{INCOMPLETE, RepoCache, blob_of_link},
    model_id::{BlobName, Commit, Repo},
};

/// Directories below a snapshot that are looked into.
const DEPTH_MAX: usize = 8;

/// A model on the disk, at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredModel {
    /// Hub id.
    pub model: String,
    /// Commit.
    pub revision: String,
    /// What its files take. Revisions of one model may share some.
    pub bytes: MemorySize,
    /// When a claim last took or released it, or when it came there.
    pub last_used: UnixMillis,
    /// Whether an engine could load it.
    pub complete: bool,
    /// Whether a claim holds it.
    pub in_use: bool,
}

/// One repository of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredRepo {
    pub(super) repo: Repo,
    pub(super) snapshots: Vec<Snapshot>,
    /// Files by their name below `blobs`.
    pub(super) blobs: BTreeMap<String, StoredBlob>,
}

/// One revision of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) commit: Commit,
    pub(super) last_used: UnixMillis,
    pub(super) complete: bool,
    /// The blobs that it links to.
    pub(super) links: BTreeSet<BlobName>,
    /// Bytes of files that are no links: so where the file system has none.
    pub(super) own: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredBlob {
    pub(super) bytes: u64,
    pub(super) changed: UnixMillis,
}

impl StoredRepo {
    pub(super) fn bytes(&self) -> u64 {
        let blobs: u64 = self.blobs.values().map(|blob| blob.bytes).sum();
        blobs + self.snapshots.iter().map(|snapshot| snapshot.own).sum::<u64>()
    }

    /// Its revisions, of which `is_held` says whether a claim holds them.
    pub(super) fn models(&self, is_held: impl Fn(&Commit) -> bool) -> impl Iterator<Item = StoredModel> {
        self.snapshots.iter().map(move |snapshot| {
            let linked = snapshot.links.iter().filter_map(|link| self.blobs.get(link.as_str()));
            StoredModel {
                model: self.repo.to_string(),
                revision: snapshot.commit.to_string(),
                bytes: MemorySize::from_bytes(snapshot.own + linked.map(|blob| blob.bytes).sum::<u64>()),
                last_used: snapshot.last_used,
                complete: snapshot.complete,
                in_use: is_held(&snapshot.commit),
            }
        })
    }
}

/// All repositories of `cache`. What cannot be read, and whatever is not laid out as it should be, is left out: it is
/// not ours. Blocks.
pub(super) fn scan(cache: &Path) -> io::Result<Vec<StoredRepo>> {
    let repos = fs::read_dir(cache)?.flatten().filter_map(|entry| {
        let repo = Repo::from_folder(entry.file_name().to_str()?)?;
        scan_repo(cache, repo)
    });
    Ok(repos.collect())
}

/// One of them, if it is there.
pub(super) fn scan_repo(cache: &Path, repo: Repo) -> Option<StoredRepo> {
    let layout = RepoCache::new(cache, &repo);
    if ![layout.root(), &layout.blobs(), &layout.snapshots()].into_iter().all(is_directory) {
        return None;
    }
    let blobs = entries(&layout.blobs()).filter_map(|(entry, metadata)| {
        let name = entry.file_name().to_str()?.to_owned();
        let known = BlobName::parse(name.strip_suffix(INCOMPLETE).unwrap_or(&name)).is_some();
        let blob = StoredBlob { bytes: metadata.len(), changed: changed(&metadata) };
        (known && metadata.is_file()).then_some((name, blob))
    });
    let snapshots = entries(&layout.snapshots()).filter_map(|(entry, metadata)| {
        let commit = Commit::parse(entry.file_name().to_str()?)?;
        metadata.is_dir().then(|| scan_snapshot(&layout.snapshot(&commit), commit, &metadata))
    });
    Some(StoredRepo { repo, blobs: blobs.collect(), snapshots: snapshots.collect() })
}

fn scan_snapshot(path: &Path, commit: Commit, metadata: &Metadata) -> Snapshot {
    // A repository without weights, such as one of a tokenizer only, is nothing that an engine could load.
    let complete = check_model(path).is_ok_and(|model| model.weights > 0) || has_whole_gguf(path);
    let mut snapshot = Snapshot { commit, last_used: changed(metadata), complete, links: BTreeSet::new(), own: 0 };
    add_files(path, DEPTH_MAX, &mut snapshot);
    snapshot
}

/// Repositories of GGUF have no configuration.
fn has_whole_gguf(snapshot: &Path) -> bool {
    let is_gguf = |path: &Path| path.extension().is_some_and(|extension| extension == "gguf");
    let mut files = entries(snapshot).map(|(entry, _)| entry.path()).filter(|path| is_gguf(path));
    files.any(|path| check_model(&path).is_ok())
}

fn add_files(directory: &Path, depth: usize, snapshot: &mut Snapshot) {
    for (entry, metadata) in entries(directory) {
        if metadata.is_dir() && depth > 0 {
            add_files(&entry.path(), depth - 1, snapshot);
        } else if metadata.is_symlink() {
            snapshot.links.extend(fs::read_link(entry.path()).ok().as_deref().and_then(blob_of_link));
        } else if metadata.is_file() {
            snapshot.own += metadata.len();
        }
    }
}

/// With their own metadata, not that of what they link to.
fn entries(directory: &Path) -> impl Iterator<Item = (DirEntry, Metadata)> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok().map(|metadata| (entry, metadata)))
}

fn changed(metadata: &Metadata) -> UnixMillis {
    let since = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
