//! What a node tells about itself only when it is asked: too much, and too restless, for gossip.

use serde::{Deserialize, Serialize};
use shoal_engine_supervisor::StoredModel;
use shoal_mesh::PeerStatus;
use shoal_types::{GpuId, NodeId};

use crate::inventory::GpuReading;

/// One node, closely.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeDetail {
    /// Its GPUs and MIG slices.
    pub(crate) gpus: Vec<GpuDetail>,
    /// Models on its disk, where its configuration has a place for them.
    pub(crate) models: Vec<StoredModel>,
    /// Its connections to other nodes; one that has had nothing to say for a while may have been closed.
    #[serde(default)]
    pub(crate) links: Vec<Link>,
}

/// A connection to another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    /// To whom.
    pub(crate) node: NodeId,
    /// Round trip in milliseconds, as QUIC estimates it.
    pub(crate) rtt_ms: f64,
}

impl Link {
    /// That to `peer`, if there is one.
    pub(crate) fn of(peer: &PeerStatus) -> Option<Self> {
        let rtt = peer.rtt.filter(|_| peer.connected)?;
        Some(Self { node: peer.node, rtt_ms: rtt.as_secs_f64() * 1e3 })
    }
}

/// One GPU, closely. What the driver did not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GpuDetail {
    /// Which.
    pub(crate) id: GpuId,
    /// Milliwatts drawn, and those that it may draw.
    pub(crate) power: Option<u32>,
    pub(crate) power_limit: Option<u32>,
    /// Why its clocks are low, in NVML's words; empty if they are not.
    pub(crate) throttle: Option<Vec<String>>,
    /// Uncorrectable memory errors since the driver was loaded.
    pub(crate) ecc_uncorrected: Option<u64>,
    /// Rows of memory that were replaced, and whether one waits for a reset or could not be.
    pub(crate) remapped_rows: Option<u32>,
    pub(crate) remap_pending: Option<bool>,
    pub(crate) remap_failed: Option<bool>,
    /// NVLinks that are up, of how many.
    pub(crate) nvlinks: Option<(u32, u32)>,
    /// PCIe generation and lanes, as they are now.
    pub(crate) pcie: Option<(u32, u32)>,
    /// The NUMA node that it hangs off.
    pub(crate) numa: Option<u32>,
    /// Whose processes compute on it: `python3 (pid 4711)`.
    pub(crate) processes: Option<Vec<String>>,
}

impl From<&GpuReading> for GpuDetail {
    fn from(reading: &GpuReading) -> Self {
        let GpuReading { id, links, vitals, .. } = reading;
        let throttle = vitals.throttle.map(|reasons| {
            let names = reasons.iter_names().map(|(name, _)| name.to_lowercase().replace('_', " "));
            names.filter(|name| name != "none").collect()
        });
        Self {
            id: id.clone(),
            power: vitals.power,
            power_limit: vitals.power_limit,
            throttle,
            ecc_uncorrected: vitals.ecc_uncorrected,
            remapped_rows: vitals.remapped.map(|rows| rows.correctable + rows.uncorrectable),
            remap_pending: vitals.remapped.map(|rows| rows.pending),
            remap_failed: vitals.remapped.map(|rows| rows.failed),
            nvlinks: links.nvlink.map(|links| (links.active, links.total)),
            pcie: links.pcie.map(|link| (link.generation, link.width)),
            numa: links.numa,
            processes: vitals.processes.as_ref().map(|all| all.iter().map(ToString::to_string).collect()),
        }
    }
}
