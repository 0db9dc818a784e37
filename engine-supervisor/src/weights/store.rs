//! The door: models are held, fetched, listed, refused.

mod fetches;
mod plan;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shoal_types::{ClaimId, Progress};
use tokio::{
    sync::{OwnedMutexGuard, watch},
    task::spawn_blocking,
};

use self::{
    fetches::Fetches,
    plan::{Fetch, Local, Plan, Wanted, local},
};
use super::{
    NoRoom, StoredModel, WeightsConfig, WeightsError,
    books::{Books, Promise},
    check::check_model,
    disk::{Disk, RealDisk, touch},
    download::{Download, Retry},
    evict::{self, Holds as _},
    hub::Hub,
    inventory::{StoredRepo, scan},
    layout::RepoCache,
    meter::Meter,
    model_id::{HubRevision, ModelId},
    room::Room,
};

/// The models on this node's disk. Clones are the same store; at most one may fetch into a cache.
#[derive(Debug, Clone)]
pub struct WeightStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: WeightsConfig,
    hub: Option<Hub>,
    disk: Arc<dyn Disk>,
    retry: Retry,
    books: Arc<Books>,
    fetches: Fetches,
    /// Held by whoever decides what is evicted, until it is gone.
    room: Arc<tokio::sync::Mutex<()>>,
    /// What was there at the last look.
    inventory: Mutex<Arc<[StoredRepo]>>,
}

impl WeightStore {
    /// Makes the cache directory if need be, and looks at what is there. Blocks.
    ///
    /// # Errors
    /// If the directory cannot be used, or the hub's URL or the host's root certificates are not right.
    pub fn open(config: WeightsConfig) -> Result<Self, WeightsError> {
        Self::open_on(config, Arc::new(RealDisk), Retry::default())
    }

    pub(super) fn open_on(mut config: WeightsConfig, disk: Arc<dyn Disk>, retry: Retry) -> Result<Self, WeightsError> {
        let cache = config.cache.clone();
        fs::create_dir_all(&cache).map_err(|source| WeightsError::disk("create", &cache, source))?;
        // The cache itself may be a link; what is in it may not.
        config.cache = fs::canonicalize(&cache).map_err(|source| WeightsError::disk("resolve", &cache, source))?;
        let hub = config.hub.as_ref().map(Hub::new).transpose()?;
        let shared = Shared {
            config,
            hub,
            disk,
            retry,
            books: Arc::default(),
            fetches: Fetches::default(),
            room: Arc::default(),
            inventory: Mutex::new(Arc::default()),
        };
        shared.look()?;
        Ok(Self(Arc::new(shared)))
    }

    /// What is on the disk, by model and revision, as of the last fetch, eviction or [`Self::refresh`].
    pub fn models(&self) -> Vec<StoredModel> {
        let shared = &self.0;
        let inventory = shared.inventory().clone();
        inventory.iter().flat_map(|stored| stored.models(|commit| shared.books.holds(&stored.repo, commit))).collect()
    }

    /// Looks at the disk anew: others may put models there, too.
    ///
    /// # Errors
    /// If the cache cannot be read.
    pub async fn refresh(&self) -> Result<(), WeightsError> {
        let shared = self.0.clone();
        blocking(move || shared.look()).await
    }

    /// Why this node could not have `model` on its disk, if it could not: it is not a model, it is cut off, the hub
    /// does not give it, the disk does not hold it. Asks the hub at most every 30 s about one model.
    ///
    /// Cancel safe.
    pub async fn refuse(&self, model: &str, revision: Option<&str>) -> Option<WeightsError> {
        self.find(model, revision).await.err()
    }

    /// Where `model` is, if it is whole on the disk; `None` if something of it would have to be fetched, and could be.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// Those of [`Self::refuse`].
    pub(crate) async fn find(&self, model: &str, revision: Option<&str>) -> Result<Option<PathBuf>, WeightsError> {
        let Some(wanted) = Wanted::parse(model, revision)? else { return check_path(model).await.map(Some) };
        let fetch = match self.plan(&wanted).await? {
            Plan::There(local) => return Ok(Some(local.path)),
            Plan::Fetch(fetch) => fetch,
        };
        let shared = self.0.clone();
        blocking(move || {
            shared.room_for(&fetch)?;
            let local = local(&shared.config.cache, &wanted).filter(|local| local.commit == fetch.commit);
            Ok(local.map(|local| local.path))
        })
        .await
    }

    /// Puts `model` onto the disk if it is not there, and says where it is: its directory, or its GGUF file. Models that
    /// no claim holds are evicted for it if a budget is set. `claim` holds it from now on, until [`Self::release`],
    /// even if this fails. Claims that want the same model wait for one fetch.
    ///
    /// Cancel safe: what was fetched stays, and is not fetched again.
    ///
    /// # Errors
    /// Why it cannot be there; [`WeightsError::is_transient`] says whether trying again may help.
    pub async fn prepare(
        &self,
        claim: ClaimId,
        model: &str,
        revision: Option<&str>,
        progress: watch::Sender<Option<Progress>>,
    ) -> Result<PathBuf, WeightsError> {
        let Some(wanted) = Wanted::parse(model, revision)? else { return check_path(model).await };
        let shared = &self.0;
        shared.books.hold(claim, &wanted.id.repo, None);
        // An eviction that began before knows nothing of this claim: it must be over.
        drop(shared.room.lock().await);
        let fetch = shared.fetches.of(&wanted.id.repo);
        let work = async {
            let _turn = fetch.turn.lock().await;
            self.bring(claim, &wanted, &fetch.progress).await
        };
        fetches::follow(work, &fetch, &progress).await
    }

    /// `claim` needs no model any longer. To be said once its [`Self::prepare`] has ended or been dropped.
    pub fn release(&self, claim: ClaimId) {
        let Some((repo, commit)) = self.0.books.release(claim) else { return };
        let layout = RepoCache::new(&self.0.config.cache, &repo);
        if let Some(commit) = commit.or_else(|| layout.resolve(&HubRevision::main())) {
            self.0.mark_used(&layout.snapshot(&commit));
        }
    }

    /// `claim` runs already, with `model`: to be said of every replica that is taken over, before anything is prepared.
    /// What is not a model of the hub needs no holding.
    pub fn hold(&self, claim: ClaimId, model: &str, revision: Option<&str>) {
        if let Ok(Some(wanted)) = Wanted::parse(model, revision) {
            self.0.books.hold(claim, &wanted.id.repo, wanted.revision.commit().as_ref());
        }
    }

    /// What has to be done for `wanted`.
    async fn plan(&self, wanted: &Wanted) -> Result<Plan, WeightsError> {
        let shared = &self.0;
        let (cache, looked_for) = (shared.config.cache.clone(), wanted.clone());
        let local = blocking(move || Ok(local(&cache, &looked_for))).await?;
        match (&shared.hub, local) {
            // A commit is what it is; a branch may have moved.
            (None, Some(local)) => Ok(Plan::There(local)),
            (Some(_), Some(local)) if wanted.revision.commit().is_some() => Ok(Plan::There(local)),
            (None, None) => {
                Err(WeightsError::Offline { model: wanted.name.clone(), cache: shared.config.cache.clone() })
            }
            (Some(hub), local) => match (hub.list(&wanted.id.repo, &wanted.revision).await, local) {
                (Err(error), Some(local)) => {
                    tracing::warn!(model = wanted.name, %error, "using the revision that is there");
                    Ok(Plan::There(local))
                }
                (listing, _) => {
                    let (cache, wanted, listing) = (shared.config.cache.clone(), wanted.clone(), listing?);
                    blocking(move || Fetch::new(&cache, wanted, &listing).map(Plan::Fetch)).await
                }
            },
        }
    }

    /// Carries out the plan for `wanted`. One at a time for each repository.
    async fn bring(
        &self,
        claim: ClaimId,
        wanted: &Wanted,
        progress: &watch::Sender<Option<Progress>>,
    ) -> Result<PathBuf, WeightsError> {
        let there = match self.plan(wanted).await? {
            Plan::There(local) => local,
            Plan::Fetch(fetch) => self.fetch(fetch, progress).await?,
        };
        self.0.books.hold(claim, &wanted.id.repo, Some(&there.commit));
        self.0.mark_used(&RepoCache::new(&self.0.config.cache, &wanted.id.repo).snapshot(&there.commit));
        self.refresh().await?;
        Ok(there.path)
    }

    async fn fetch(&self, fetch: Fetch, progress: &watch::Sender<Option<Progress>>) -> Result<Local, WeightsError> {
        let shared = &self.0;
        let fetch = Arc::new(fetch);
        let promise = self.make_room(&fetch).await?;
        let layout = RepoCache::new(&shared.config.cache, &fetch.wanted.id.repo);
        layout.prepare().map_err(|source| WeightsError::disk("make", layout.root(), source))?;
        let meter = Meter::new(fetch.total(), promise.remaining(), progress.clone());
        // Without a hub there is no plan to fetch.
        if let Some(hub) = &shared.hub {
            let (disk, reserve) = (&shared.disk, shared.config.reserve.as_bytes());
            let (repo, commit) = (&fetch.wanted.id.repo, &fetch.commit);
            let layout = &layout;
            let download = Download { hub, disk, layout, repo, commit, reserve, retry: shared.retry, meter: &meter };
            download.run(&fetch.missing).await?;
        }
        blocking(move || fetch.finish(&layout)).await
    }

    /// Evicts what has to go for `fetch`, and keeps others from taking the room.
    async fn make_room(&self, fetch: &Arc<Fetch>) -> Result<Promise, WeightsError> {
        let deciding = self.0.room.clone().lock_owned().await;
        let (shared, fetch) = (self.0.clone(), fetch.clone());
        // Not stopped by a cancellation, which therefore must not let go of the lock.
        blocking(move || shared.evict_for(&fetch, &deciding)).await
    }
}

impl Shared {
    fn inventory(&self) -> MutexGuard<'_, Arc<[StoredRepo]>> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Result<(), WeightsError> {
        let cache = &self.config.cache;
        let found = scan(cache).map_err(|source| WeightsError::disk("read", cache, source))?;
        *self.inventory() = found.into();
        Ok(())
    }

    /// Best effort: a cache that belongs to another user can be read all the same.
    fn mark_used(&self, snapshot: &Path) {
        if let Err(error) = touch(snapshot) {
            tracing::debug!(snapshot = %snapshot.display(), %error, "cannot mark a model as used");
        }
    }

    /// What would have to go for `fetch`, in this order, until the bytes are reached.
    fn room_for(&self, fetch: &Fetch) -> Result<(u64, Vec<evict::Victim>), WeightsError> {
        let cache = &self.config.cache;
        if fetch.needed() == 0 {
            return Ok((0, Vec::new()));
        }
        let read = |source| WeightsError::disk("read", cache, source);
        let repos = scan(cache).map_err(read)?;
        let mut victims = if self.config.budget.is_some() { evict::victims(&repos, &*self.books) } else { Vec::new() };
        // Its other revisions may have contents that are not fetched again, and its leftovers are resumed.
        victims.retain(|victim| victim.repo != fetch.wanted.id.repo);
        let room = Room {
            needed: fetch.needed(),
            free: self.disk.free(cache).map_err(read)?,
            reserve: self.config.reserve.as_bytes(),
            promised: self.books.promised(),
            used: repos.iter().map(StoredRepo::bytes).sum(),
            budget: self.config.budget.map(|budget| budget.as_bytes()),
            evictable: victims.iter().map(|victim| victim.bytes).sum(),
        };
        let to_evict = room.to_evict();
        let no_room = || {
            let (model, present) = (fetch.wanted.name.clone(), fetch.total() - fetch.needed());
            NoRoom { model, cache: cache.clone(), present, room: Box::new(room) }
        };
        Ok((to_evict.ok_or_else(no_room)?, victims))
    }

    fn evict_for(&self, fetch: &Fetch, _deciding: &OwnedMutexGuard<()>) -> Result<Promise, WeightsError> {
        let (mut to_evict, victims) = self.room_for(fetch)?;
        for victim in victims {
            if to_evict == 0 {
                break;
            }
            tracing::info!(model = %victim.repo, part = ?victim.part, bytes = victim.bytes, "evicting a model");
            evict::remove(&self.config.cache, &victim.repo, &victim.part)
                .map_err(|source| WeightsError::disk("evict from", &self.config.cache, source))?;
            to_evict = to_evict.saturating_sub(victim.bytes);
        }
        Ok(self.books.promise(fetch.needed()))
    }
}

async fn check_path(path: &str) -> Result<PathBuf, WeightsError> {
    let path = PathBuf::from(path);
    blocking(move || Ok(check_model(&path).map(|_| path)?)).await
}

/// Runs `work` where it may block. It runs to its end even if nobody waits for it any longer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WeightsError> + Send + 'static,
) -> Result<T, WeightsError> {
    let panicked = |error| WeightsError::disk("look at", Path::new("the models"), io::Error::other(error));
    spawn_blocking(work).await.map_err(panicked)?
}

#[cfg(test)]
mod tests;
