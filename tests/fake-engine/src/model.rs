//! The model's directory: what vLLM reads of it before and while it loads.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

/// Most bytes of a header of weights that are read.
const HEADER_MAX: u64 = 16 << 20;

/// `config.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) architectures: Vec<String>,
    #[serde(default)]
    pub(crate) max_position_embeddings: u64,
}

/// Why the model cannot be one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error(
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': \
         '{0}'. Use `repo_type` argument if needed."
    )]
    NotThere(String),
    #[error("ValueError: Unrecognized model in {model}: {source}")]
    Config { model: String, source: serde_json::Error },
    #[error(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, User-specified \
         max_model_len ({asked}) is greater than the derived max_model_len (max_position_embeddings={most}.0 or \
         model_max_length=None in model's config.json). To allow overriding this maximum, set the env var \
         VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
    )]
    TooLong { asked: u64, most: u64 },
}

/// A file of weights ends before its last tensor.
#[derive(Debug, thiserror::Error)]
#[error(
    "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered"
)]
pub(crate) struct Truncated;

impl Config {
    pub(crate) fn read(model: &str) -> Result<Self, ModelError> {
        // What is not there is taken for the name of a model of the hub.
        let text = fs::read_to_string(Path::new(model).join("config.json"))
            .map_err(|_| ModelError::NotThere(model.to_owned()))?;
        serde_json::from_str(&text).map_err(|source| ModelError::Config { model: model.to_owned(), source })
    }

    /// The context in tokens, where `asked` are wanted.
    pub(crate) const fn context(&self, asked: Option<u64>) -> Result<u64, ModelError> {
        let most = self.max_position_embeddings;
        match asked {
            Some(asked) if asked > most => Err(ModelError::TooLong { asked, most }),
            Some(asked) => Ok(asked),
            None => Ok(most),
        }
    }
}

/// The files of weights.
pub(crate) fn shards(model: &Path) -> io::Result<Vec<PathBuf>> {
    let mut shards = Vec::new();
    for entry in fs::read_dir(model)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            shards.push(path);
        }
    }
    shards.sort();
    Ok(shards)
}

/// Whether the file is as long as its header says: eight bytes of length (little endian), a JSON object of tensors with
/// their offsets in what follows, the data.
pub(crate) fn check_weights(path: &Path) -> Result<(), Truncated> {
    let (header, after) = header(path).map_err(|_| Truncated)?;
    let end = |tensor: &Value| tensor["data_offsets"][1].as_u64();
    let tensors = header.as_object().ok_or(Truncated)?;
    let needed = tensors.values().filter_map(end).max().unwrap_or(0);
    if after < needed { Err(Truncated) } else { Ok(()) }
}

/// The header, and how many bytes are behind it.
fn header(path: &Path) -> io::Result<(Value, u64)> {
    let mut file = File::open(path)?;
    let total = file.metadata()?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length).min(HEADER_MAX);
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, total.saturating_sub(8 + length)))
}
