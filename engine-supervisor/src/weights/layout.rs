//! One repository in the cache, in the layout that huggingface_hub documents:
//!
//! ```text
//! models--organisation--name/
//!   blobs/<etag>                      contents; `<etag>.incomplete` while they are fetched
//!   snapshots/<commit>/config.json    -> ../../blobs/<etag>
//!   refs/main                         the commit that the branch meant last
//! ```

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Component, Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{
    disk::make_directory,
    model_id::{BlobName, Commit, HubRevision, Repo},
};

/// Suffix of a blob that is not whole yet.
pub(super) const INCOMPLETE: &str = ".incomplete";

/// The directory of one repository.
#[derive(Debug, Clone)]
pub(super) struct RepoCache {
    cache: PathBuf,
    root: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &Repo) -> Self {
        Self { cache: cache.to_owned(), root: cache.join(repo.folder()) }
    }

    /// The cache that it is in.
    pub(super) fn cache(&self) -> &Path {
        &self.cache
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(super) fn refs(&self) -> PathBuf {
        self.root.join("refs")
    }

    pub(super) fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.snapshots().join(commit.as_str())
    }

    pub(super) fn blob(&self, name: &BlobName) -> PathBuf {
        self.blobs().join(name.as_str())
    }

    pub(super) fn incomplete(&self, name: &BlobName) -> PathBuf {
        self.blobs().join(format!("{}{INCOMPLETE}", name.as_str()))
    }

    /// The commit that `revision` means here, if it has ever been fetched.
    pub(super) fn resolve(&self, revision: &HubRevision) -> Option<Commit> {
        revision.commit().or_else(|| read_ref(&self.refs().join(revision.as_str())))
    }

    /// Makes the directories that blobs are fetched into.
    pub(super) fn prepare(&self) -> io::Result<()> {
        [self.blobs(), self.snapshots()].iter().try_for_each(|directory| make_directory(&self.cache, directory))
    }

    /// The file that the blob is fetched into.
    pub(super) fn open_incomplete(&self, name: &BlobName) -> io::Result<fs::File> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(no_follow()).open(self.incomplete(name))
    }

    /// Puts `file` into the snapshot, as a link to its blob.
    pub(super) fn link(&self, commit: &Commit, file: &str, blob: &BlobName) -> io::Result<()> {
        let path = self.snapshot(commit).join(file);
        let up = "../".repeat(file.split('/').count() + 1);
        let target = format!("{up}blobs/{}", blob.as_str());
        if let Some(parent) = path.parent() {
            make_directory(&self.cache, parent)?;
        }
        if fs::read_link(&path).is_ok_and(|there| there == Path::new(&target)) {
            return Ok(());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => symlink(target, path),
        }
    }

    /// Says that `revision` means `commit` from now on.
    pub(super) fn write_ref(&self, revision: &HubRevision, commit: &Commit) -> io::Result<()> {
        if revision.commit().is_some() {
            return Ok(());
        }
        let path = self.refs().join(revision.as_str());
        if let Some(parent) = path.parent() {
            make_directory(&self.cache, parent)?;
        }
        let temporary = self.root.join(format!("refs.{}.new", commit.as_str()));
        fs::write(&temporary, commit.as_str())?;
        fs::rename(temporary, path)
    }
}

/// The commit that a file below `refs` names.
pub(super) fn read_ref(path: &Path) -> Option<Commit> {
    let mut text = String::new();
    let file = fs::OpenOptions::new().read(true).custom_flags(no_follow()).open(path).ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    Commit::parse(text.trim())
}

/// The name of the blob that a link of a snapshot leads to; `None` if it leads anywhere else.
pub(super) fn blob_of_link(target: &Path) -> Option<BlobName> {
    let mut parts = target.components().rev();
    let name = BlobName::parse(parts.next()?.as_os_str().to_str()?)?;
    let blobs = parts.next()?.as_os_str() == "blobs";
    (blobs && parts.all(|part| part == Component::ParentDir)).then_some(name)
}

/// A link in place of a file would lead out of the cache.
fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: &str) -> Commit {
        Commit::parse(&digit.repeat(40)).unwrap()
    }

    fn revision(text: &str) -> HubRevision {
        HubRevision::parse(Some(text)).unwrap()
    }

    #[test]
    fn a_snapshot_reads_as_hugging_face_writes_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(directory.path(), &Repo::parse("a/b").unwrap());
        let blob = BlobName::parse(&"c".repeat(40)).unwrap();
        cache.prepare().unwrap();
        fs::write(cache.blob(&blob), "{}").unwrap();
        for file in ["config.json", "1_Pooling/config.json", "config.json"] {
            cache.link(&commit("1"), file, &blob).unwrap();
            let path = cache.snapshot(&commit("1")).join(file);
            assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
            assert_eq!(blob_of_link(&fs::read_link(path).unwrap()), Some(blob.clone()));
        }
        assert_eq!(cache.resolve(&revision("main")), None);
        for name in ["main", "refs/pr/1"] {
            cache.write_ref(&revision(name), &commit("1")).unwrap();
            assert_eq!(cache.resolve(&revision(name)), Some(commit("1")));
        }
        assert_eq!(fs::read_to_string(directory.path().join("models--a--b/refs/main")).unwrap(), "1".repeat(40));
        assert_eq!(cache.resolve(&revision(&"2".repeat(40))), Some(commit("2")));
    }

    #[test]
    fn links_out_of_the_cache_are_not_followed() {
        let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("secret");
        fs::write(&secret, "3".repeat(40)).unwrap();
        let cache = RepoCache::new(directory.path(), &Repo::parse("a/b").unwrap());
        let blob = BlobName::parse(&"c".repeat(40)).unwrap();
        cache.prepare().unwrap();
        symlink(&secret, cache.incomplete(&blob)).unwrap();
        assert!(cache.open_incomplete(&blob).is_err());
        cache.write_ref(&revision("other"), &commit("1")).unwrap();
        symlink(&secret, cache.refs().join("main")).unwrap();
        assert_eq!(cache.resolve(&revision("main")), None);
        let name = "c".repeat(40);
        for target in [format!("/x/blobs/{name}"), format!("../../x/blobs/{name}"), format!("../x/{name}"), name] {
            assert_eq!(blob_of_link(Path::new(&target)), None, "{target}");
        }
        let linked = RepoCache::new(directory.path(), &Repo::parse("c/d").unwrap());
        symlink(outside.path(), linked.root()).unwrap();
        assert!(linked.prepare().is_err());
    }
}
