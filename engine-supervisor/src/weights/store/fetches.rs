//! One fetch at a time of each repository, which all that wait for it can follow.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use shoal_types::Progress;
use tokio::sync::watch;

use crate::weights::model_id::Repo;

/// The fetches that run or are waited for.
#[derive(Debug, Default)]
pub(super) struct Fetches(Mutex<BTreeMap<Repo, Weak<Turn>>>);

/// Of one repository.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Held by the one who fetches.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// How far that is.
    pub(super) progress: watch::Sender<Option<Progress>>,
}

impl Fetches {
    /// The one of `repo`.
    pub(super) fn of(&self, repo: &Repo) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        turns.get(repo).and_then(Weak::upgrade).unwrap_or_else(|| {
            let turn = Arc::new(Turn::default());
            turns.insert(repo.clone(), Arc::downgrade(&turn));
            turn
        })
    }
}

/// Does `work` and passes on to `progress` how far the fetch is, whoever does it.
pub(super) async fn follow<T>(
    work: impl Future<Output = T>,
    fetch: &Turn,
    progress: &watch::Sender<Option<Progress>>,
) -> T {
    let mut work = pin!(work);
    let mut news = fetch.progress.subscribe();
    progress.send_replace(*news.borrow_and_update());
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            // It cannot close: `fetch` has the sender.
            Ok(()) = news.changed() => {
                progress.send_replace(*news.borrow_and_update());
            }
        }
    };
    progress.send_replace(*news.borrow());
    result
}
