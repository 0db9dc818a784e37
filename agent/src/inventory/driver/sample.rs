//! The calls that describe a GPU. Only its UUID and its memory it must say; whatever else it does not say is unknown.

use nvml_wrapper::{
    Device, Nvml,
    enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor},
    enums::device::SampleValue,
    error::NvmlError,
    structs::device::FieldId,
};
use shoal_types::{GpuId, MemorySize};

use super::mig;
use crate::inventory::{
    process,
    reading::{GpuProcess, GpuReading, Links, NvLinks, PcieLink, RecoveryAction, RemappedRows, Vitals},
    roster::Sample,
};

/// Samples between two looks at what changes rarely.
const SLOW: u32 = 10;
/// Most NVLinks that a GPU has (`NVML_NVLINK_MAX_LINKS`).
const NVLINKS_MAX: u32 = 18;
/// Most processes of a GPU that are told.
const PROCESSES_MAX: usize = 64;
/// `NVML_AFFINITY_SCOPE_NODE`.
const SCOPE_NODE: u32 = 0;
/// Remapped rows (`NVML_FI_DEV_REMAPPED_*`): for correctable and uncorrectable errors, pending, failure; then
/// `NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`.
const FIELDS: [FieldId; 5] = [FieldId(142), FieldId(143), FieldId(144), FieldId(145), FieldId(230)];

/// Takes samples of the GPU at one index.
#[derive(Debug)]
pub(super) struct Sampler {
    index: u32,
    /// What changes rarely, of which GPU, and how many samples old that is.
    slow: Option<(GpuId, String, Links, u32)>,
}

impl Sampler {
    pub(super) const fn new(index: u32) -> Self {
        Self { index, slow: None }
    }

    /// # Errors
    /// If there is no GPU at the index, or it does not say what it must.
    pub(super) fn sample(&mut self, nvml: &Nvml) -> Result<Sample, NvmlError> {
        let device = nvml.device_by_index(self.index)?;
        let id = GpuId(device.uuid()?);
        let (name, links) = self.slow(&device, &id)?;
        let memory = device.memory_info()?;
        let partitioned = device.mig_mode().is_ok_and(|mode| mode.current == 1);
        let gpu = GpuReading {
            id,
            name,
            memory: MemorySize::from_bytes(memory.total),
            mig: None,
            partitioned,
            links,
            vitals: vitals(&device, memory.used),
            fault: None,
            incident: None,
        };
        let slices = if partitioned { mig::slices(&device, &gpu) } else { Vec::new() };
        Ok(Sample { gpu, slices })
    }

    fn slow(&mut self, device: &Device<'_>, id: &GpuId) -> Result<(String, Links), NvmlError> {
        if let Some((known, name, links, age)) = &mut self.slow
            && known == id
            && *age < SLOW
        {
            *age += 1;
            return Ok((name.clone(), links.clone()));
        }
        let (name, links) = (device.name()?, links(device));
        self.slow = Some((id.clone(), name.clone(), links.clone(), 1));
        Ok((name, links))
    }
}

/// The processes that compute on it, with their names.
pub(super) fn processes(device: &Device<'_>) -> Option<Vec<GpuProcess>> {
    let processes = device.running_compute_processes().ok()?;
    let named = |pid| GpuProcess { pid, name: process::name(pid) };
    Some(processes.into_iter().take(PROCESSES_MAX).map(|process| named(process.pid)).collect())
}

fn vitals(device: &Device<'_>, memory_used: u64) -> Vitals {
    let percent = |value: u32| u8::try_from(value.min(100)).unwrap_or(100);
    let (remapped, recovery) = fields(device);
    Vitals {
        memory_used: Some(MemorySize::from_bytes(memory_used)),
        utilization: device.utilization_rates().ok().map(|rates| percent(rates.gpu)),
        temperature: device.temperature(TemperatureSensor::Gpu).ok().and_then(|celsius| u8::try_from(celsius).ok()),
        power: device.power_usage().ok(),
        power_limit: device.enforced_power_limit().ok(),
        throttle: device.current_throttle_reasons().ok(),
        ecc_uncorrected: device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).ok(),
        remapped,
        recovery,
        processes: processes(device),
    }
}

fn fields(device: &Device<'_>) -> (Option<RemappedRows>, Option<RecoveryAction>) {
    let Ok(samples) = device.field_values_for(&FIELDS) else { return (None, None) };
    let mut values = samples.into_iter().map(|sample| match sample.and_then(|sample| sample.value) {
        Ok(SampleValue::U32(value)) => Some(value),
        Ok(SampleValue::U64(value)) => Some(u32::try_from(value).unwrap_or(u32::MAX)),
        Ok(SampleValue::I64(value)) => u32::try_from(value).ok(),
        Ok(SampleValue::F64(_)) | Err(_) => None,
    });
    let mut next = || values.next().flatten();
    let rows = [next(), next(), next(), next()];
    let [correctable, uncorrectable, pending, failed] = rows;
    let remapped = pending.zip(failed).map(|(pending, failed)| RemappedRows {
        correctable: correctable.unwrap_or(0),
        uncorrectable: uncorrectable.unwrap_or(0),
        pending: pending != 0,
        failed: failed != 0,
    });
    (remapped, next().map(RecoveryAction::of))
}

fn links(device: &Device<'_>) -> Links {
    let pcie = device.current_pcie_link_gen().ok().zip(device.current_pcie_link_width().ok());
    Links {
        numa: numa(device),
        nvlink: nvlink(device),
        pcie: pcie.map(|(generation, width)| PcieLink { generation, width }),
    }
}

/// The one NUMA node that is near. Not NVML's "NUMA node id", which is for GPUs that are NUMA nodes themselves.
fn numa(device: &Device<'_>) -> Option<u32> {
    let nodes = *device.memory_affinity(1, SCOPE_NODE).ok()?.first()?;
    // A virtual machine may name them all, which names none.
    (nodes.count_ones() == 1).then(|| nodes.trailing_zeros())
}

fn nvlink(device: &Device<'_>) -> Option<NvLinks> {
    let states: Vec<bool> = (0..NVLINKS_MAX).map_while(|link| device.link_wrapper_for(link).is_active().ok()).collect();
    let count = |states: &mut dyn Iterator<Item = &bool>| u32::try_from(states.count()).unwrap_or(u32::MAX);
    let links =
        NvLinks { active: count(&mut states.iter().filter(|&&active| active)), total: count(&mut states.iter()) };
    (links.total > 0).then_some(links)
}
