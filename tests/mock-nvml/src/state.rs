//! What the state file can say. Every field has a default; one that is not known is an error, told on stderr.

use serde::Deserialize;

/// Memory of an H100 with 80 GB, in bytes (81,559 MiB).
const H100_MEMORY: u64 = 85_520_809_984;
/// Links of an H100.
pub const NVLINKS: u32 = 18;

/// The whole host.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// The driver's version. From 580.82 on, callers number some fields differently.
    pub driver_version: String,
    /// What `nvmlInit` answers: 0, 9 (driver not loaded), 18 (library and driver differ).
    pub init_error: i32,
    /// The GPUs, by index; by default eight.
    pub gpus: Vec<Gpu>,
    /// What happens to them, in order; each is delivered once. Append to it.
    pub events: Vec<Event>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            driver_version: "570.195.03".to_owned(),
            init_error: 0,
            gpus: vec![Gpu::default(); 8],
            events: Vec::new(),
        }
    }
}

/// One GPU. Memory is in bytes, power in milliwatts.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// By default `GPU-00000000-0000-4000-8000-` and the index.
    pub uuid: Option<String>,
    /// NVML's name.
    pub name: String,
    /// Memory that exists.
    pub memory_total: u64,
    /// Memory in use.
    pub memory_used: u64,
    /// Percent of time in which a kernel ran.
    pub utilization: u32,
    /// Degrees Celsius.
    pub temperature: u32,
    /// Power drawn.
    pub power: u32,
    /// Power allowed.
    pub power_limit: u32,
    /// NVML's bits of reasons for low clocks; 1 is idle.
    pub throttle: u64,
    /// Uncorrectable memory errors since the driver was loaded.
    pub ecc_uncorrected: u64,
    /// Rows remapped for correctable errors, for uncorrectable ones, whether one waits for a reset, whether one failed.
    pub remapped: [u32; 4],
    /// Field 230: 0 none, 1 GPU reset, 2 node reboot, 3 drain P2P, 4 drain and reset; `null` if the driver is too old.
    pub recovery_action: Option<u32>,
    /// PCIe generation.
    pub pcie_gen: u32,
    /// PCIe lanes.
    pub pcie_width: u32,
    /// NVLinks that are down, of 18.
    pub nvlinks_down: Vec<u32>,
    /// Its NUMA node; by default 0 for the first four, then 1.
    pub numa: Option<u32>,
    /// Whether it is divided.
    pub mig: bool,
    /// The slices, if it is divided.
    pub slices: Vec<Slice>,
    /// Processes that compute on it.
    pub processes: Vec<Process>,
    /// What every call on it answers: 0, 15 (GPU is lost), 16 (reset required), 999 (unknown) or another code.
    pub error: i32,
    /// What asking for its handle answers.
    pub handle_error: i32,
    /// Milliseconds that every call on it takes, for as long as this file says so.
    pub delay_ms: u64,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            uuid: None,
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            memory_total: H100_MEMORY,
            memory_used: 0,
            utilization: 0,
            temperature: 33,
            power: 70_000,
            power_limit: 700_000,
            throttle: 1,
            ecc_uncorrected: 0,
            remapped: [0; 4],
            recovery_action: Some(0),
            pcie_gen: 5,
            pcie_width: 16,
            nvlinks_down: Vec::new(),
            numa: None,
            mig: false,
            slices: Vec::new(),
            processes: Vec::new(),
            error: 0,
            handle_error: 0,
            delay_ms: 0,
        }
    }
}

/// One MIG slice.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slice {
    /// By default `MIG-00000000-0000-4000-` and the indexes of GPU and slice.
    pub uuid: Option<String>,
    /// Such as `1g.10gb`.
    pub profile: String,
    /// Memory that it has, in bytes.
    pub memory_total: u64,
    /// Memory in use, in bytes.
    pub memory_used: u64,
    /// Processes that compute on it.
    pub processes: Vec<Process>,
}

impl Default for Slice {
    fn default() -> Self {
        let profile = "1g.10gb".to_owned();
        Self { uuid: None, profile, memory_total: H100_MEMORY / 8, memory_used: 0, processes: Vec::new() }
    }
}

/// A process on a GPU.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// Memory that it holds, in bytes.
    pub memory: u64,
}

/// Something that happens to a GPU.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its index.
    pub gpu: usize,
    /// NVML's event type: 2 double-bit ECC error, 8 critical Xid.
    #[serde(default = "critical_xid")]
    pub kind: u64,
    /// The Xid of a critical one.
    #[serde(default)]
    pub xid: u64,
}

const fn critical_xid() -> u64 {
    8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_eight_idle_gpus() {
        let state: State = serde_json::from_str("{}").unwrap();
        assert_eq!(state.gpus.len(), 8);
        assert!(state.gpus.iter().all(|gpu| gpu.error == 0 && gpu.processes.is_empty()));
    }

    #[test]
    fn a_field_that_is_not_known_is_an_error() {
        assert!(serde_json::from_str::<State>(r#"{"gpus": [{"temprature": 90}]}"#).is_err());
        let state: State = serde_json::from_str(r#"{"gpus": [{}], "events": [{"gpu": 0, "xid": 48}]}"#).unwrap();
        assert_eq!((state.gpus.len(), state.events[0].kind, state.events[0].xid), (1, 8, 48));
    }
}
