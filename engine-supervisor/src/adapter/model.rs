//! Whether a model is there, which the engines of Python take most of a minute to find out.

use std::path::Path;

use crate::RefusalReason;

/// The weights in the layout of the hub: an id there, or a directory of this node.
///
/// # Errors
/// If it can be neither.
pub(super) fn check_hub(model: &str) -> Result<(), RefusalReason> {
    let path = Path::new(model);
    if !path.is_absolute() {
        return if is_hub_id(model) { Ok(()) } else { Err(RefusalReason::NotAModel(model.to_owned())) };
    }
    if !path.exists() {
        return Err(RefusalReason::NoModel(model.to_owned()));
    }
    // A file is one in GGUF format. Mistral's own format has `params.json`.
    if path.is_dir() && !["config.json", "params.json"].iter().any(|file| path.join(file).exists()) {
        return Err(RefusalReason::EmptyModel(model.to_owned()));
    }
    Ok(())
}

/// The weights in one file (or the first of several) of this node.
///
/// # Errors
/// If they are not.
pub(super) fn check_file(model: &str) -> Result<(), RefusalReason> {
    let path = Path::new(model);
    if !path.is_absolute() || path.is_dir() {
        return Err(RefusalReason::NotAFile(model.to_owned()));
    }
    if path.is_file() { Ok(()) } else { Err(RefusalReason::NoModel(model.to_owned())) }
}

/// A LoRA adapter in the layout of the hub: an id there, or a directory of this node.
///
/// # Errors
/// If it can be neither. In a directory, weights in the older format are not enough: it is one that can hold code.
pub(super) fn check_adapter(source: &str) -> Result<(), RefusalReason> {
    let path = Path::new(source);
    if !path.is_absolute() {
        return if is_hub_id(source) { Ok(()) } else { Err(RefusalReason::NotAModel(source.to_owned())) };
    }
    let is_there = |file: &str| path.join(file).is_file();
    let whole = is_there("adapter_config.json") && is_there("adapter_model.safetensors");
    if whole { Ok(()) } else { Err(RefusalReason::NoAdapter(source.to_owned())) }
}

/// `organisation/name` or `name`, as the hub allows them.
fn is_hub_id(model: &str) -> bool {
    let valid = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let mut parts = model.split('/');
    parts.by_ref().take(2).all(valid) && parts.next().is_none()
}
