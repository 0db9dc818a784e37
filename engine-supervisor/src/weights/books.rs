//! Who needs which model, and who is about to write how much.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use shoal_types::ClaimId;

use super::{
    evict::Holds,
    model_id::{Commit, Repo},
};

/// Shared by all that fetch and evict. Locked for a moment at a time.
#[derive(Debug, Default)]
pub(super) struct Books(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    held: BTreeMap<ClaimId, Hold>,
    /// Bytes that each fetch has still to write, by a number of its own.
    promised: BTreeMap<u64, Arc<AtomicU64>>,
    next: u64,
}

/// What a claim needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hold {
    repo: Repo,
    /// `None`: it is not known yet which revision, so all.
    commit: Option<Commit>,
}

/// Bytes that are spoken for until it is dropped.
#[derive(Debug)]
pub(super) struct Promise {
    books: Arc<Books>,
    number: u64,
    remaining: Arc<AtomicU64>,
}

impl Books {
    /// `claim` needs `commit` of `repo`, or all of it. It holds one model at a time.
    pub(super) fn hold(&self, claim: ClaimId, repo: &Repo, commit: Option<&Commit>) {
        let hold = Hold { repo: repo.clone(), commit: commit.cloned() };
        self.entries().held.insert(claim, hold);
    }

    /// What `claim` held.
    pub(super) fn release(&self, claim: ClaimId) -> Option<(Repo, Option<Commit>)> {
        self.entries().held.remove(&claim).map(|hold| (hold.repo, hold.commit))
    }

    /// Bytes that are spoken for.
    pub(super) fn promised(&self) -> u64 {
        self.entries().promised.values().map(|remaining| remaining.load(Ordering::Relaxed)).sum()
    }

    /// Speaks for `bytes`.
    pub(super) fn promise(self: &Arc<Self>, bytes: u64) -> Promise {
        let remaining = Arc::new(AtomicU64::new(bytes));
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.promised.insert(number, remaining.clone());
        Promise { books: self.clone(), number, remaining }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holds for Books {
    fn holds(&self, repo: &Repo, commit: &Commit) -> bool {
        let needs = |hold: &Hold| hold.repo == *repo && hold.commit.as_ref().is_none_or(|held| held == commit);
        self.entries().held.values().any(needs)
    }

    fn holds_any(&self, repo: &Repo) -> bool {
        self.entries().held.values().any(|hold| hold.repo == *repo)
    }
}

impl Promise {
    /// What is left of it; whoever writes takes away from it.
    pub(super) fn remaining(&self) -> Arc<AtomicU64> {
        self.remaining.clone()
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.books.entries().promised.remove(&self.number);
    }
}
