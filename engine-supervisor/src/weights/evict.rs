//! What goes when room is needed, and how it goes: the least recently used first, never what a claim holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use shoal_types::UnixMillis;

use super::{
    disk::is_directory,
    inventory::{StoredRepo, scan_repo},
    layout::{RepoCache, read_ref},
    model_id::{BlobName, Commit, Repo},
};

/// Directories below `refs` that are looked into: `refs/refs/pr/1`.
const REFS_DEPTH: usize = 8;

/// Something that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Victim {
    pub(super) repo: Repo,
    pub(super) part: Part,
    /// What its going gives, if those before it are gone.
    pub(super) bytes: u64,
    pub(super) last_used: UnixMillis,
}

/// A part of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A revision, with the contents that no other one has.
    Snapshot(Commit),
    /// Contents that no revision has: of a fetch that was not finished.
    Leftovers,
}

/// Who needs what, as eviction asks it.
pub(super) trait Holds {
    /// Whether a claim needs this revision.
    fn holds(&self, repo: &Repo, commit: &Commit) -> bool;
    /// Whether a claim needs, or fetches, any revision.
    fn holds_any(&self, repo: &Repo) -> bool;
}

/// Everything that may go, in the order in which it does.
pub(super) fn victims(repos: &[StoredRepo], holds: &impl Holds) -> Vec<Victim> {
    let mut victims: Vec<Victim> = repos.iter().flat_map(|repo| victims_of(repo, holds)).collect();
    // Stable: the order within a repository stays, on which the bytes depend.
    victims.sort_by_key(|victim| victim.last_used);
    victims
}

fn victims_of(stored: &StoredRepo, holds: &impl Holds) -> Vec<Victim> {
    let mut users: BTreeMap<&BlobName, usize> = BTreeMap::new();
    for link in stored.snapshots.iter().flat_map(|snapshot| &snapshot.links) {
        *users.entry(link).or_default() += 1;
    }
    let mut unheld: Vec<_> =
        stored.snapshots.iter().filter(|snapshot| !holds.holds(&stored.repo, &snapshot.commit)).collect();
    unheld.sort_by_key(|snapshot| snapshot.last_used);
    let victim = |part, bytes, last_used| Victim { repo: stored.repo.clone(), part, bytes, last_used };
    let mut victims = Vec::new();
    for snapshot in unheld {
        let mut bytes = snapshot.own;
        for link in &snapshot.links {
            let left = users.get_mut(link).map_or(0, |users| {
                *users -= 1;
                *users
            });
            let blob = stored.blobs.get(link.as_str()).filter(|_| left == 0);
            bytes += blob.map_or(0, |blob| blob.bytes);
        }
        victims.push(victim(Part::Snapshot(snapshot.commit.clone()), bytes, snapshot.last_used));
    }
    let unlinked = leftovers(stored);
    let changed = unlinked.iter().filter_map(|name| stored.blobs.get(*name)).map(|blob| blob.changed).max();
    if let Some(changed) = changed.filter(|_| !holds.holds_any(&stored.repo)) {
        let bytes = unlinked.iter().filter_map(|name| stored.blobs.get(*name)).map(|blob| blob.bytes).sum();
        victims.push(victim(Part::Leftovers, bytes, changed));
    }
    victims
}

/// Names of blobs that no snapshot links to.
fn leftovers(stored: &StoredRepo) -> Vec<&str> {
    let linked: BTreeSet<&str> =
        stored.snapshots.iter().flat_map(|snapshot| &snapshot.links).map(BlobName::as_str).collect();
    stored.blobs.keys().map(String::as_str).filter(|name| !linked.contains(name)).collect()
}

/// Removes `part` of `repo`, as far as it is still there. Interrupted, it leaves what a later call takes as leftovers.
/// Blocks.
pub(super) fn remove(cache: &Path, repo: &Repo, part: &Part) -> io::Result<()> {
    let Some(stored) = scan_repo(cache, repo.clone()) else { return Ok(()) };
    let layout = RepoCache::new(cache, repo);
    let blobs: Vec<String> = match part {
        Part::Leftovers => leftovers(&stored).into_iter().map(str::to_owned).collect(),
        Part::Snapshot(commit) => {
            remove_refs(&layout.refs(), commit, REFS_DEPTH)?;
            let snapshot = layout.snapshot(commit);
            if is_directory(&snapshot) {
                fs::remove_dir_all(snapshot)?;
            }
            only_of(&stored, commit)
        }
    };
    for blob in blobs {
        remove_file(&layout.blobs().join(blob))?;
    }
    for directory in [layout.blobs(), layout.snapshots(), layout.refs(), layout.root().to_owned()] {
        // Those that are not empty stay.
        let _ = fs::remove_dir(directory);
    }
    Ok(())
}

/// Names of blobs that of all revisions only `commit` links to.
fn only_of(stored: &StoredRepo, commit: &Commit) -> Vec<String> {
    let (gone, kept): (Vec<_>, Vec<_>) = stored.snapshots.iter().partition(|snapshot| snapshot.commit == *commit);
    let kept: BTreeSet<&BlobName> = kept.iter().flat_map(|snapshot| &snapshot.links).collect();
    let of_gone = gone.iter().flat_map(|snapshot| &snapshot.links).filter(|link| !kept.contains(link));
    of_gone.map(|link| link.as_str().to_owned()).collect()
}

/// Removes the branches and tags that mean `commit`.
fn remove_refs(directory: &Path, commit: &Commit, depth: usize) -> io::Result<()> {
    if !is_directory(directory) {
        return Ok(());
    }
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        if is_directory(&path) {
            if depth > 0 {
                remove_refs(&path, commit, depth - 1)?;
            }
        } else if read_ref(&path).as_ref() == Some(commit) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes a file or a link, if it is there.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
