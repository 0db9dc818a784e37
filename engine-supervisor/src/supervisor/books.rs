//! Which replicas there are, whom to tell, and what was said.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shoal_types::ClaimId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    log::ReplicaLog,
    replica::{Questions, Wanted},
};

/// Logs of replicas that are gone, kept so that one can still read why.
const ENDED_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Replicas {
    pub(super) running: BTreeMap<ClaimId, Reins>,
    /// The last first.
    pub(super) ended: VecDeque<(ClaimId, Arc<ReplicaLog>)>,
}

/// The other ends of a replica's task.
#[derive(Debug)]
pub(super) struct Reins {
    pub(super) stop: CancellationToken,
    pub(super) wanted: watch::Sender<Wanted>,
    /// What its GPUs reported that it does not survive.
    pub(super) faults: watch::Sender<Option<String>>,
    pub(super) log: Arc<ReplicaLog>,
}

impl Reins {
    pub(super) fn new(stop: CancellationToken, log: Arc<ReplicaLog>) -> Self {
        Self { stop, wanted: watch::Sender::new(Wanted::Awake), faults: watch::Sender::new(None), log }
    }

    /// Those of a replica that hears what is said from now on.
    pub(super) fn questions(&self) -> Questions {
        Questions::new(self.wanted.subscribe(), self.faults.subscribe())
    }
}

impl Replicas {
    pub(super) fn end(&mut self, claim: ClaimId) {
        if let Some(Reins { log, .. }) = self.running.remove(&claim) {
            self.ended.truncate(ENDED_MAX - 1);
            self.ended.push_front((claim, log));
        }
    }
}

pub(super) fn lock(replicas: &Mutex<Replicas>) -> MutexGuard<'_, Replicas> {
    replicas.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_the_last_ended_replicas_are_kept() {
        let mut replicas = Replicas::default();
        let claim = |counter| ClaimId {
            node: shoal_types::NodeId::from_bytes([1; 16]),
            generation: shoal_types::UnixMillis::from_millis(1),
            counter,
        };
        for counter in 0..20 {
            replicas.running.insert(claim(counter), Reins::new(CancellationToken::new(), ReplicaLog::new()));
            replicas.end(claim(counter));
        }
        let kept: Vec<u32> = replicas.ended.iter().map(|(claim, _)| claim.counter).collect();
        assert_eq!(kept, [19, 18, 17, 16, 15, 14, 13, 12]);
    }
}
