//! MIG slices: parts of a GPU that have UUIDs, memory and processes of their own.

use nvml_wrapper::{Device, error::NvmlError};
use shoal_types::{GpuId, MemorySize};

use super::sample::processes;
use crate::inventory::reading::{GpuReading, Vitals};

/// Most slices of a GPU.
const SLICES_MAX: u32 = 16;
/// What stands before the profile in the name of a slice: `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
const PROFILE_MARK: &str = " MIG ";
/// Bytes of a gigabyte as profiles count them.
const GIB: u64 = 1 << 30;

/// The slices of `parent` that exist. Heat and power are the whole GPU's.
pub(super) fn slices(device: &Device<'_>, parent: &GpuReading) -> Vec<GpuReading> {
    let count = device.mig_device_count().unwrap_or(0).min(SLICES_MAX);
    // Indexes without a slice are errors.
    let devices = (0..count).filter_map(|index| device.mig_device_by_index(index).ok());
    devices.filter_map(|slice| read(&slice, parent).ok()).collect()
}

fn read(slice: &Device<'_>, parent: &GpuReading) -> Result<GpuReading, NvmlError> {
    let memory = slice.memory_info()?;
    Ok(GpuReading {
        id: GpuId(slice.uuid()?),
        name: parent.name.clone(),
        memory: MemorySize::from_bytes(memory.total),
        mig: Some(profile(slice, memory.total)),
        partitioned: false,
        links: parent.links.clone(),
        vitals: Vitals {
            memory_used: Some(MemorySize::from_bytes(memory.used)),
            temperature: parent.vitals.temperature,
            processes: processes(slice),
            ..Vitals::default()
        },
        fault: None,
        incident: None,
    })
}

/// As the driver names it; drivers that do not are asked what the slice has.
fn profile(slice: &Device<'_>, memory: u64) -> String {
    let name = slice.name().unwrap_or_default();
    match name.rsplit_once(PROFILE_MARK) {
        Some((_, profile)) => profile.to_owned(),
        None => {
            let parts = slice.attributes().map_or(0, |attributes| attributes.gpu_instance_slice_count);
            format!("{parts}g.{}gb", memory.div_ceil(GIB))
        }
    }
}
