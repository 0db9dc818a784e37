//! What goes into the supervisor and what it says.

use std::{collections::BTreeMap, fmt, sync::Arc};

use shoal_types::{ClaimId, EndpointName, EndpointSpec, EngineAddress, GpuId, Load};
use tokio::sync::watch;

/// One replica to be run.
#[derive(Debug, Clone)]
pub struct LaunchPlan {
    /// The claim that it fulfils; never launched twice.
    pub claim: ClaimId,
    /// Of which endpoint; the first name that it serves under.
    pub endpoint: EndpointName,
    /// What to run.
    pub spec: EndpointSpec,
    /// The GPUs that it gets. It sees no others.
    pub gpus: Vec<GpuId>,
}

impl LaunchPlan {
    /// All names that clients may send as `model`, each once, the endpoint's own first.
    pub(crate) fn served_names(&self) -> Vec<&str> {
        let all =
            [self.endpoint.as_str(), &self.spec.model].into_iter().chain(self.spec.aliases.iter().map(String::as_str));
        let mut names: Vec<&str> = Vec::new();
        for name in all {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The GPUs as `CUDA_VISIBLE_DEVICES` takes them.
    pub(crate) fn gpu_list(&self) -> String {
        self.gpus.iter().map(|gpu| gpu.0.as_str()).collect::<Vec<_>>().join(",")
    }
}

/// Where one replica stands. It is there from launch until its last process is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// Which replica.
    pub claim: ClaimId,
    /// Of which endpoint.
    pub endpoint: EndpointName,
    /// How far it has come.
    pub phase: EnginePhase,
    /// Where it listens, or will. A port can change with each restart.
    pub address: EngineAddress,
    /// The GPUs that it holds, whatever its phase.
    pub gpus: Vec<GpuId>,
    /// Crashes in a row.
    pub crashes: u32,
    /// What the engine says of its load, rounded to three binary digits and 5 %, so that gossip stays quiet. `inflight`
    /// is 0: only the ingress knows it.
    pub load: Load,
    /// The leader of its process group, while there is one.
    pub pid: Option<u32>,
}

/// How far an engine has come. Reasons have at most [`shoal_types::REASON_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnginePhase {
    /// The process is being started, and loads.
    Starting,
    /// It answers, and is being asked for a first token.
    Warming,
    /// It serves.
    Ready,
    /// It crashed, and will be started again.
    Backoff {
        /// Why it crashed.
        reason: String,
    },
    /// It will not be started again: too many crashes in a row, or an error that repeats itself. Placement must go
    /// elsewhere; [`Supervisor::stop`](crate::Supervisor::stop) removes it.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was told to stop and has not yet.
    Stopping,
}

impl fmt::Display for EnginePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Warming => f.write_str("warming"),
            Self::Ready => f.write_str("ready"),
            Self::Backoff { reason } => write!(f, "backoff: {reason}"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}

/// All statuses, written by the replicas' tasks and watched by everybody.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatusBoard(watch::Sender<Arc<BTreeMap<ClaimId, EngineStatus>>>);

impl StatusBoard {
    /// Wakes watchers only if something changed.
    pub(crate) fn set(&self, status: EngineStatus) {
        self.0.send_if_modified(|all| {
            let changed = all.get(&status.claim) != Some(&status);
            if changed {
                Arc::make_mut(all).insert(status.claim, status);
            }
            changed
        });
    }

    pub(crate) fn remove(&self, claim: ClaimId) {
        self.0.send_if_modified(|all| Arc::make_mut(all).remove(&claim).is_some());
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<BTreeMap<ClaimId, EngineStatus>>> {
        self.0.subscribe()
    }
}
