//! What this host has: processors and memory by sysinfo, GPUs by NVML or, labelled, from the configuration.

mod gpu;
mod host;

pub(crate) use gpu::{GpuInventory, GpuReading};
pub(crate) use host::{host, host_addresses, host_name};
