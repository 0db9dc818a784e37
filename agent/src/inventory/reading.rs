//! What is known of a GPU. What the driver did not say is `None`, which is not zero.

use std::fmt;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use shoal_types::{FaultAction, GpuFault, GpuId, MemorySize, UnixMillis};

/// One GPU, or one MIG slice of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GpuReading {
    pub(crate) id: GpuId,
    /// NVML's name; of a slice that of its GPU.
    pub(crate) name: String,
    pub(crate) memory: MemorySize,
    /// The profile of a MIG slice, such as `1g.10gb`; `None` for a whole GPU.
    pub(crate) mig: Option<String>,
    /// Whether it is divided into MIG slices, which are readings of their own.
    pub(crate) partitioned: bool,
    pub(crate) links: Links,
    pub(crate) vitals: Vitals,
    /// Why it is not to be used, if it is not.
    pub(crate) fault: Option<GpuFault>,
    /// The last thing that it reported about itself and that may end an engine.
    pub(crate) incident: Option<Incident>,
}

/// How it is connected. Changes rarely.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// The NUMA node that it hangs off.
    pub(crate) numa: Option<u32>,
    pub(crate) nvlink: Option<NvLinks>,
    pub(crate) pcie: Option<PcieLink>,
}

/// Its NVLinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NvLinks {
    pub(crate) active: u32,
    pub(crate) total: u32,
}

/// Its way to the host, as it is now: a link that idles may be slower than it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PcieLink {
    pub(crate) generation: u32,
    pub(crate) width: u32,
}

/// What changes all the time; all `None` for a GPU whose driver does not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    pub(crate) memory_used: Option<MemorySize>,
    /// Share of time in which a kernel ran, in percent.
    pub(crate) utilization: Option<u8>,
    /// Degrees Celsius.
    pub(crate) temperature: Option<u8>,
    /// Milliwatts.
    pub(crate) power: Option<u32>,
    /// Milliwatts that it may draw.
    pub(crate) power_limit: Option<u32>,
    /// Why its clocks are low.
    pub(crate) throttle: Option<ThrottleReasons>,
    /// Uncorrectable memory errors since the driver was loaded.
    pub(crate) ecc_uncorrected: Option<u64>,
    pub(crate) remapped: Option<RemappedRows>,
    /// What the driver asks to be done; `None` if it is too old to say.
    pub(crate) recovery: Option<RecoveryAction>,
    /// Processes that compute on it. Those of other pid namespaces are not listed.
    pub(crate) processes: Option<Vec<GpuProcess>>,
}

/// Rows of memory that were replaced by spare ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RemappedRows {
    pub(crate) correctable: u32,
    pub(crate) uncorrectable: u32,
    /// A replacement waits for a reset of the GPU.
    pub(crate) pending: bool,
    /// There was no spare row.
    pub(crate) failed: bool,
}

/// `NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`, field 230.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecoveryAction {
    None,
    GpuReset,
    NodeReboot,
    DrainP2p,
    DrainAndReset,
    /// One that this program does not know.
    Other(u32),
}

/// A process on a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GpuProcess {
    pub(crate) pid: u32,
    /// `None` if the process cannot be looked at.
    pub(crate) name: Option<String>,
}

/// Something that a GPU reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incident {
    /// Such as `Xid 94: contained ECC error`.
    pub(crate) reason: String,
    pub(crate) at: UnixMillis,
}

impl RecoveryAction {
    pub(super) const fn of(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::GpuReset,
            2 => Self::NodeReboot,
            3 => Self::DrainP2p,
            4 => Self::DrainAndReset,
            other => Self::Other(other),
        }
    }

    /// What that means for replicas; `None` if nothing is asked for.
    pub(super) const fn action(self) -> Option<FaultAction> {
        match self {
            Self::None => None,
            Self::GpuReset | Self::DrainAndReset => Some(FaultAction::DrainGpu),
            Self::NodeReboot => Some(FaultAction::DrainNode),
            Self::DrainP2p => Some(FaultAction::DrainGroup),
            Self::Other(_) => Some(FaultAction::Cordon),
        }
    }
}

impl fmt::Display for RecoveryAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nothing"),
            Self::GpuReset => f.write_str("a reset of the GPU"),
            Self::NodeReboot => f.write_str("a reboot of the host"),
            Self::DrainP2p => f.write_str("that its peer-to-peer traffic is drained"),
            Self::DrainAndReset => f.write_str("that it is drained and reset"),
            Self::Other(number) => write!(f, "recovery action {number}, which this version does not know"),
        }
    }
}

impl fmt::Display for GpuProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (pid {})", self.pid),
            None => write!(f, "pid {}", self.pid),
        }
    }
}

impl GpuReading {
    /// The same GPU when nobody knows how it is.
    pub(super) fn unknown(&self) -> Self {
        Self { vitals: Vitals::default(), ..self.clone() }
    }
}
