//! From a spec and a model's directory to a sentence for its author.

use std::path::Path;

use shoal_types::{EndpointSpec, MemorySize};

use super::{EngineArgs, ModelShape, check_fit};

/// Why `spec`, whose model is at `model`, does not fit onto GPUs with `gpu_memory` each, if it does not. What cannot be
/// told is no reason: an engine that is not known, arguments that divide the model in other ways, a model that cannot
/// be read. Blocks, on the heads of files.
pub fn refuse_fit(model: &Path, spec: &EndpointSpec, gpu_memory: MemorySize) -> Option<String> {
    let gpus = usize::try_from(spec.resources.gpus).ok().filter(|gpus| *gpus > 0)?;
    let args = EngineArgs::of(spec)?;
    let shape = ModelShape::read(model).ok()?;
    let misfit = check_fit(&shape, &args, &vec![gpu_memory; gpus]).err()?;
    Some(format!("`{}` {misfit} (an estimate)", spec.model))
}
