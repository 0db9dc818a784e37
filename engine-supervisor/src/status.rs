//! What goes into the supervisor and what it says.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use shoal_types::{Backend, ClaimId, EndpointName, EndpointSpec, GpuId, Load, Progress, Revision, UnixMillis};
use tokio::sync::watch;

/// One replica to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// The claim that it fulfils; never launched twice.
    pub claim: ClaimId,
    /// Of which endpoint; the first name that it serves under.
    pub endpoint: EndpointName,
    /// Which processes of it.
    pub revision: Revision,
    /// When the claim was first published; kept for a daemon that takes over.
    pub claimed: UnixMillis,
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
    /// Where it listens, or will; a port can change with each restart. Or what it stands for.
    pub backend: Backend,
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
    /// Its weights are being fetched.
    Preparing(Option<Progress>),
    /// The process is being started.
    Starting,
    /// The process loads its weights.
    Loading(Option<Progress>),
    /// It has its weights, warms up, answers, and is asked for a first token.
    Warming,
    /// It serves.
    Ready,
    /// It keeps its weights and serves nobody until it is woken.
    Asleep,
    /// It crashed and will be started again, or its GPUs are not free yet.
    Backoff {
        /// Why it crashed, or what holds them.
        reason: String,
    },
    /// It will not be started again: too many crashes in a row, or an error that repeats itself. Placement must go
    /// elsewhere; [`Supervisor::stop`](crate::Supervisor::stop) removes it.
    Failed {
        /// Whose fault it is.
        class: FailureClass,
        /// Why.
        reason: String,
    },
    /// It was told to stop and has not yet.
    Stopping,
}

/// Whose fault a failure is, which decides what may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// The spec, the model or the node's configuration: the same would happen again, here and elsewhere.
    Config,
    /// Nobody's in particular: it may work the next time.
    Transient,
    /// A GPU's: it may work on others.
    Gpu,
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Transient => "transient",
            Self::Gpu => "gpu",
        })
    }
}

impl fmt::Display for EnginePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preparing(None) => f.write_str("preparing"),
            Self::Preparing(Some(progress)) => write!(f, "preparing: {progress}"),
            Self::Starting => f.write_str("starting"),
            Self::Loading(None) => f.write_str("loading"),
            Self::Loading(Some(progress)) => write!(f, "loading: {progress}"),
            Self::Warming => f.write_str("warming"),
            Self::Ready => f.write_str("ready"),
            Self::Asleep => f.write_str("asleep"),
            Self::Backoff { reason } => write!(f, "backoff: {reason}"),
            Self::Failed { class, reason } => write!(f, "failed ({class}): {reason}"),
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
