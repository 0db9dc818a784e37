//! What an operator may say about GPUs, and what can be asked about their errors.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use shoal_types::GpuId;
use tokio::sync::{mpsc, oneshot};

use super::fault::is_known;

/// Orders that may wait: people give them one by one.
pub(super) const ORDERS: usize = 8;

/// Why a fault is not cleared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClearError {
    /// There is no such GPU.
    #[error("this node has no GPU {0}")]
    NotHere(GpuId),
    /// Nothing is wrong with it.
    #[error("GPU {0} has no fault that could be cleared")]
    Sound(GpuId),
    /// The GPU itself still shows it.
    #[error("the fault of GPU {gpu} is still there: {reason}; it goes when the GPU has been reset or replaced")]
    Standing {
        /// Which.
        gpu: GpuId,
        /// What it shows.
        reason: String,
    },
    /// Nobody watches the GPUs any more.
    #[error("the daemon is stopping")]
    Stopping,
}

/// An order to clear the faults of a GPU.
#[derive(Debug)]
pub(super) struct Clear {
    pub(super) gpu: GpuId,
    pub(super) reply: oneshot::Sender<Result<(), ClearError>>,
}

/// Where an operator says that a GPU is well again.
#[derive(Debug, Clone)]
pub(crate) struct GpuFaults(pub(super) mpsc::Sender<Clear>);

impl GpuFaults {
    /// Forgets what `gpu`, or the GPU that it is a slice of, has reported. Once it was called, it is done even if nobody
    /// waits for the answer.
    ///
    /// # Errors
    /// If there is nothing to forget, or the GPU still shows what is wrong.
    pub(crate) async fn clear(&self, gpu: GpuId) -> Result<(), ClearError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Clear { gpu, reply }).await.map_err(|_| ClearError::Stopping)?;
        answer.await.map_err(|_| ClearError::Stopping)?
    }
}

/// How often each Xid came, since the daemon started. Bounded: all that the table does not name are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct XidCounts(Arc<Mutex<BTreeMap<Option<u32>, u64>>>);

impl XidCounts {
    pub(super) fn count(&self, xid: u32) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(is_known(xid).then_some(xid)).or_default() += 1;
    }

    /// By Xid; `None` are those that are not known.
    pub(crate) fn by_xid(&self) -> BTreeMap<Option<u32>, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
