//! GPUs as their node reports them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ClaimId, MemorySize};

/// A GPU's UUID as NVML gives it (`GPU-…`), or `SIM-…` for one that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GpuId(pub String);

impl fmt::Display for GpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One GPU. What NVML could not say is `None`, which is not zero.
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
    /// Who has it.
    pub used_by: GpuUse,
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
