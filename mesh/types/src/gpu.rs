//! GPUs as their node reports them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ClaimId, MemorySize, UnixMillis};

/// A UUID as NVML gives it (`GPU-…`, or `MIG-…` for a slice of one), or `SIM-…` for a GPU that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GpuId(pub String);

impl fmt::Display for GpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One GPU, or one MIG slice of one. What NVML could not say is `None`, which is not zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Its UUID.
    pub id: GpuId,
    /// NVML's name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Memory that exists.
    pub memory: MemorySize,
    /// Memory in use, rounded to 1/20 of what exists, so that gossip stays quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used: Option<MemorySize>,
    /// Share of time in which a kernel ran, in percent, rounded to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<u8>,
    /// Core temperature in degrees Celsius, rounded to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<u8>,
    /// The profile of a MIG slice, such as `1g.10gb`; `None` for a whole GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<String>,
    /// The NUMA node that it hangs off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
    /// Who has it.
    pub used_by: GpuUse,
    /// Why it is not to be used, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<GpuFault>,
}

impl Gpu {
    /// Whether a new replica may have it: nobody does, and it is sound.
    pub fn is_free(&self) -> bool {
        self.used_by == GpuUse::Free && self.fault.is_none()
    }
}

/// What is wrong with a GPU, and what follows for what runs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuFault {
    /// What is done about it.
    pub action: FaultAction,
    /// What was seen, such as `Xid 48: double-bit ECC error`; at most [`crate::REASON_MAX`] bytes.
    pub reason: String,
    /// When it was first seen.
    pub since: UnixMillis,
}

/// What a fault of a GPU means for replicas, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultAction {
    /// What runs on it stays; nothing new is started on it.
    Cordon,
    /// Replicas of several GPUs that have this one are replaced elsewhere, then drained; one that has only this GPU
    /// stays.
    DrainGroup,
    /// Every replica that has it is replaced elsewhere, then drained.
    DrainGpu,
    /// The whole node leaves.
    DrainNode,
}

impl fmt::Display for FaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cordon => "cordoned",
            Self::DrainGroup => "draining its groups",
            Self::DrainGpu => "draining",
            Self::DrainNode => "draining the node",
        })
    }
}

/// Who has a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuUse {
    /// Nobody: it can be claimed.
    Free,
    /// One of the node's replicas.
    Replica(ClaimId),
    /// A process that is not shoal's, by pid and name.
    Foreign(String),
    /// It is divided into MIG slices, which are listed after it.
    Partitioned,
    /// The driver did not answer. Not free.
    Unknown,
}

/// Where a node's GPU inventory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuSource {
    /// NVIDIA's management library.
    Nvml,
    /// The node's configuration: these GPUs do not exist.
    Simulated,
    /// The node has none.
    None,
}
