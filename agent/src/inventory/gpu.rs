//! GPUs: NVML on a thread of its own, because a sick driver blocks its callers for seconds.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::Duration,
};

use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};
use shoal_types::{GpuId, GpuSource, MemorySize};
use tokio::{
    sync::{Mutex, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::GpuConfig;

/// Time between two looks at the GPUs.
const PERIOD: Duration = Duration::from_secs(2);
/// How long the driver may take to answer for all GPUs before they count as unknown.
const READ_DEADLINE: Duration = Duration::from_secs(2);

/// One GPU as the driver describes it; `None` is what it did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GpuReading {
    pub(crate) id: GpuId,
    pub(crate) name: String,
    pub(crate) memory: MemorySize,
    pub(crate) memory_used: Option<MemorySize>,
    pub(crate) utilization: Option<u8>,
    pub(crate) temperature: Option<u8>,
    /// Processes that hold memory on it; `None` if the driver did not say.
    pub(crate) processes: Option<Vec<u32>>,
}

/// The GPUs of this host.
#[derive(Debug)]
pub(crate) struct GpuInventory {
    source: GpuSource,
    requests: Option<SyncSender<oneshot::Sender<Vec<GpuReading>>>>,
    /// The last answer, shown as unknown while the driver does not give a new one.
    last: Mutex<Vec<GpuReading>>,
}

impl GpuInventory {
    /// Loads NVML; where it does not load, takes the configured simulated GPUs, if any.
    pub(crate) fn open(config: &GpuConfig) -> Self {
        match load(config.library.as_deref()) {
            Ok(nvml) => {
                if !config.simulated.is_empty() {
                    warn!("NVML is there: the simulated GPUs of the configuration are ignored");
                }
                Self::with_nvml(nvml)
            }
            Err(error) if config.simulated.is_empty() => {
                warn!(%error, "no GPUs: NVML cannot be used");
                Self { source: GpuSource::None, requests: None, last: Mutex::default() }
            }
            Err(error) => {
                warn!(%error, "NVML cannot be used: the GPUs of this node are SIMULATED, as configured");
                Self { source: GpuSource::Simulated, requests: None, last: Mutex::new(simulated(config)) }
            }
        }
    }

    fn with_nvml(nvml: Nvml) -> Self {
        let (requests, inbox) = sync_channel(1);
        let spawned = thread::Builder::new().name("nvml".to_owned()).spawn(move || answer(&nvml, &inbox));
        if let Err(error) = spawned {
            warn!(%error, "no GPUs: cannot start the thread that asks NVML");
            return Self { source: GpuSource::None, requests: None, last: Mutex::default() };
        }
        Self { source: GpuSource::Nvml, requests: Some(requests), last: Mutex::default() }
    }

    /// Where the list comes from.
    pub(crate) const fn source(&self) -> GpuSource {
        self.source
    }

    /// Reads until `stop`, so that whoever needs the GPUs never waits for the driver.
    pub(crate) async fn keep(self, readings: watch::Sender<Vec<GpuReading>>, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(PERIOD)).await.is_some() {
            let read = self.read().await;
            readings.send_if_modified(|known| {
                let changed = *known != read;
                *known = read;
                changed
            });
        }
    }

    /// The GPUs now. With a driver that does not answer, those last seen, without any of their changing values.
    pub(crate) async fn read(&self) -> Vec<GpuReading> {
        let mut last = self.last.lock().await;
        let Some(requests) = &self.requests else { return last.clone() };
        let (reply, answer) = oneshot::channel();
        // A full queue means that the thread still hangs in the call before.
        let asked = match requests.try_send(reply) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        if asked && let Ok(Ok(readings)) = timeout(READ_DEADLINE, answer).await {
            readings.clone_into(&mut last);
            return readings;
        }
        warn!(deadline = ?READ_DEADLINE, "the GPU driver does not answer: the state of the GPUs is unknown");
        last.iter().cloned().map(unknown).collect()
    }
}

fn load(library: Option<&Path>) -> Result<Nvml, NvmlError> {
    match library {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    }
}

fn simulated(config: &GpuConfig) -> Vec<GpuReading> {
    let models = config.simulated.iter().flat_map(|gpus| (0..gpus.count).map(move |_| gpus));
    let reading = |(index, gpus): (usize, &crate::config::SimulatedGpus)| GpuReading {
        id: GpuId(format!("SIM-{index}")),
        name: gpus.name.clone(),
        memory: gpus.memory,
        memory_used: None,
        utilization: None,
        temperature: None,
        processes: Some(Vec::new()),
    };
    models.enumerate().map(reading).collect()
}

fn unknown(reading: GpuReading) -> GpuReading {
    GpuReading { memory_used: None, utilization: None, temperature: None, processes: None, ..reading }
}

fn answer(nvml: &Nvml, inbox: &Receiver<oneshot::Sender<Vec<GpuReading>>>) {
    while let Ok(reply) = inbox.recv() {
        let count = nvml.device_count().unwrap_or_else(|error| {
            warn!(%error, "NVML does not say how many GPUs there are");
            0
        });
        let readings = (0..count).filter_map(|index| match nvml.device_by_index(index).and_then(|gpu| read(&gpu)) {
            Ok(reading) => Some(reading),
            Err(error) => {
                warn!(index, %error, "NVML cannot describe a GPU: it is left out");
                None
            }
        });
        // The asker may have given up by now.
        let _ = reply.send(readings.collect());
    }
}

fn read(gpu: &Device<'_>) -> Result<GpuReading, NvmlError> {
    let memory = gpu.memory_info()?;
    let percent = |value: u32| u8::try_from(value.min(100)).unwrap_or(100);
    Ok(GpuReading {
        id: GpuId(gpu.uuid()?),
        name: gpu.name()?,
        memory: MemorySize::from_bytes(memory.total),
        memory_used: Some(MemorySize::from_bytes(memory.used)),
        utilization: gpu.utilization_rates().ok().map(|rates| percent(rates.gpu)),
        temperature: gpu.temperature(TemperatureSensor::Gpu).ok().and_then(|celsius| u8::try_from(celsius).ok()),
        processes: gpu
            .running_compute_processes()
            .ok()
            .map(|processes| processes.into_iter().map(|process| process.pid).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimulatedGpus;

    fn config(simulated: Vec<SimulatedGpus>) -> GpuConfig {
        GpuConfig { library: Some("/nonexistent/libnvidia-ml.so.1".into()), simulated }
    }

    #[tokio::test]
    async fn without_a_library_there_are_no_gpus() {
        let inventory = GpuInventory::open(&config(Vec::new()));
        assert_eq!(inventory.source(), GpuSource::None);
        assert!(inventory.read().await.is_empty());
    }

    #[tokio::test]
    async fn simulated_gpus_say_that_they_are() {
        let gpus = SimulatedGpus { count: 2, name: "H100".to_owned(), memory: MemorySize::from_gib(80) };
        let inventory = GpuInventory::open(&config(vec![gpus]));
        assert_eq!(inventory.source(), GpuSource::Simulated);
        let readings = inventory.read().await;
        assert_eq!(readings.len(), 2);
        assert!(readings.iter().all(|reading| reading.id.0.starts_with("SIM-")));
    }
}
