//! What the supervisor asks of the node about GPUs, which it does not read itself.

use std::fmt;

use shoal_types::{GpuId, MemorySize};

/// The node's knowledge of its GPUs. Answers come from the last reading and never wait for the driver.
pub trait GpuWatch: fmt::Debug + Send + Sync {
    /// Processes that hold memory on any of `gpus`; `None` if the driver does not say, which is not "none".
    fn holders(&self, gpus: &[GpuId]) -> Option<Vec<u32>>;

    /// The memory of the one of `gpus` that has the least; `None` if there are none, or not all are known.
    fn memory(&self, gpus: &[GpuId]) -> Option<MemorySize>;

    /// A fault that one of `gpus` reported within the last ten seconds, in words: an engine that ended about then ended
    /// because of it.
    fn recent_fault(&self, gpus: &[GpuId]) -> Option<String>;
}

/// GPUs that are never busy and never ill: of nodes that have none, or only simulated ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoGpuWatch;

impl GpuWatch for NoGpuWatch {
    fn holders(&self, _gpus: &[GpuId]) -> Option<Vec<u32>> {
        Some(Vec::new())
    }

    fn memory(&self, _gpus: &[GpuId]) -> Option<MemorySize> {
        None
    }

    fn recent_fault(&self, _gpus: &[GpuId]) -> Option<String> {
        None
    }
}
