//! Which of the node's GPUs belong to which of its replicas. Only the node gives its GPUs away, so none is given twice.
//!
//! Who holds what is on disk before it is told, so that a daemon that is killed comes back to the same.

mod choice;
mod describe;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};
use shoal_placement::fits;
use shoal_types::{ClaimId, Gpu, GpuId, GpuUse, Resources};
use tracing::error;

use crate::state_file::{StateFile, StateFileError};

/// Who holds which GPU.
#[derive(Debug)]
pub(crate) struct GpuLedger {
    account: Account,
    file: StateFile<Account>,
}

/// What is on disk of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Account {
    held: BTreeMap<GpuId, ClaimId>,
}

/// GPUs that a claim was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// Which, in the node's order.
    pub(crate) gpus: Vec<GpuId>,
    /// Claims that some of them were taken from: their replicas must be gone before these GPUs are used.
    pub(crate) evicted: Vec<ClaimId>,
}

/// Why a claim is given no GPUs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReserveError {
    /// Too few are free, sound and of the right kind.
    #[error("its GPUs are not free")]
    NotFree,
    /// What is not on disk is not given.
    #[error(transparent)]
    NotWritten(#[from] StateFileError),
}

impl GpuLedger {
    /// The ledger of `state_dir`. One that cannot be read is told in the log and begun anew: replicas that still run
    /// come back by [`restore`](Self::restore).
    pub(crate) fn open(state_dir: &Path) -> Self {
        let file = StateFile::new(state_dir, "gpus.json", "which says who holds which GPU");
        let account = file.read().unwrap_or_else(|error| {
            error!(%error, "Who holds which GPU is not known from before");
            Account::default()
        });
        Self { account, file }
    }

    /// Gives `claim` GPUs of `gpus`, the node's as last described, that are free, sound and fit `need`; where there are not
    /// enough, takes them from as few of the claims in `evictable` as possible. On disk when it returns.
    ///
    /// # Errors
    /// If there are not enough, or the disk refuses; then nothing has changed.
    pub(crate) fn reserve(
        &mut self,
        claim: ClaimId,
        need: &Resources,
        gpus: &[Gpu],
        evictable: &BTreeSet<ClaimId>,
    ) -> Result<Reservation, ReserveError> {
        let wanted = usize::try_from(need.gpus).map_err(|_| ReserveError::NotFree)?;
        if wanted == 0 {
            return Ok(Reservation { gpus: Vec::new(), evicted: Vec::new() });
        }
        let usable = |gpu: &&Gpu| gpu.fault.is_none() && fits(gpu, need);
        let is_free = |gpu: &&Gpu| gpu.is_free() && !self.account.held.contains_key(&gpu.id);
        let free: Vec<&Gpu> = gpus.iter().filter(usable).filter(is_free).collect();
        let holder = |gpu: &Gpu| {
            let holder = *self.account.held.get(&gpu.id)?;
            (evictable.contains(&holder) && gpu.used_by == GpuUse::Replica(holder)).then_some(holder)
        };
        let slept_on = gpus.iter().filter(usable).filter_map(|gpu| Some((holder(gpu)?, gpu))).collect();
        let chosen = choice::choose(gpus, free, slept_on, wanted).ok_or(ReserveError::NotFree)?;
        let before = self.account.clone();
        self.account.held.extend(chosen.gpus.iter().map(|gpu| (gpu.clone(), claim)));
        if let Err(error) = self.file.write(&self.account) {
            self.account = before;
            return Err(error.into());
        }
        Ok(chosen)
    }

    /// Takes back what `claim` held.
    pub(crate) fn release(&mut self, claim: ClaimId) {
        self.keep_only(|holder| holder != claim);
    }

    /// Forgets the claims that did not come back with this start of the daemon; `claims` did.
    pub(crate) fn retain(&mut self, claims: &BTreeSet<ClaimId>) {
        self.keep_only(|holder| claims.contains(&holder));
    }

    /// A replica of before still runs on `gpus`: they are `claim`'s. Returns those that are not, because another claim
    /// was given them since: of two replicas that are left on one GPU, this is the one to end. After
    /// [`retain`](Self::retain).
    pub(crate) fn restore(&mut self, claim: ClaimId, gpus: &[GpuId]) -> Vec<(GpuId, ClaimId)> {
        let mut taken = Vec::new();
        for gpu in gpus {
            let holder = *self.account.held.entry(gpu.clone()).or_insert(claim);
            if holder != claim {
                taken.push((gpu.clone(), holder));
            }
        }
        self.save();
        taken
    }

    /// The claims that hold a GPU.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> BTreeSet<ClaimId> {
        self.account.held.values().copied().collect()
    }

    fn keep_only(&mut self, stays: impl Fn(ClaimId) -> bool) {
        let before = self.account.held.len();
        self.account.held.retain(|_, holder| stays(*holder));
        if self.account.held.len() != before {
            self.save();
        }
    }

    /// What is given back and not on disk is given back again after a restart, by [`retain`](Self::retain).
    fn save(&self) {
        if let Err(error) = self.file.write(&self.account) {
            error!(%error, "A restart of the daemon will find an old account of its GPUs");
        }
    }
}
