//! What this host has: processors and memory by sysinfo, GPUs by NVML or, labelled, from the configuration.

mod driver;
mod fault;
mod gpus;
mod host;
mod operator;
mod process;
mod reading;
mod roster;
mod simulated;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use driver::count_gpus;
pub(crate) use fault::GpuEvent;
pub(crate) use gpus::GpuInventory;
pub(crate) use host::{host, host_addresses, host_name};
pub(crate) use operator::{ClearError, GpuFaults, XidCounts};
pub(crate) use reading::GpuReading;
#[cfg(test)]
pub(crate) use reading::{GpuProcess, Links, Vitals};
pub(crate) use watch::ReadingsWatch;
