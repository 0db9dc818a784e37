//! Which GPUs there are, and what is done about their faults.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_types::MemorySize;

/// GPUs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GpuConfig {
    /// Path of NVIDIA's management library; default libnvidia-ml.so.1 as the loader finds it.
    pub(crate) library: Option<PathBuf>,
    /// GPUs to pretend having where the library does not load. They are shown as simulated everywhere.
    pub(crate) simulated: Vec<SimulatedGpus>,
    /// What is done about faults, where the built-in table is not wanted.
    pub(crate) faults: FaultConfig,
}

/// What is done about faults of GPUs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FaultConfig {
    /// By the number of the driver's Xid error, such as `{"48": drain-gpu}`. What the driver itself asks for as recovery
    /// goes before this.
    pub(crate) xid: BTreeMap<u32, FaultVerdict>,
}

/// What is done about a fault of a GPU, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultVerdict {
    /// It is logged and counted.
    Ignore,
    /// The engine on the GPU is started anew.
    RestartEngine,
    /// Nothing new is started on it; what runs stays.
    Cordon,
    /// Replicas of several GPUs that have it are replaced elsewhere, then drained.
    DrainGroup,
    /// Every replica that has it is replaced elsewhere, then drained.
    DrainGpu,
    /// The whole node leaves.
    DrainNode,
}

/// GPUs that do not exist.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SimulatedGpus {
    /// How many.
    pub(crate) count: u32,
    /// Name as NVML would give it.
    pub(crate) name: String,
    /// Memory of each.
    pub(crate) memory: MemorySize,
}
