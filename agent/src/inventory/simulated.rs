//! GPUs that do not exist.

use shoal_types::GpuId;

use super::reading::{GpuReading, Links, Vitals};
use crate::config::{GpuConfig, SimulatedGpus};

/// Those that the configuration asks for: nobody uses them, and nothing else is known of them.
pub(super) fn simulated(config: &GpuConfig) -> Vec<GpuReading> {
    let models = config.simulated.iter().flat_map(|gpus| (0..gpus.count).map(move |_| gpus));
    let reading = |(index, gpus): (usize, &SimulatedGpus)| GpuReading {
        id: GpuId(format!("SIM-{index}")),
        name: gpus.name.clone(),
        memory: gpus.memory,
        mig: None,
        partitioned: false,
        links: Links::default(),
        vitals: Vitals { processes: Some(Vec::new()), ..Vitals::default() },
        fault: None,
        incident: None,
    };
    models.enumerate().map(reading).collect()
}
