//! Whether a model on the disk is whole, as far as sizes tell: an engine takes up to two minutes to say that it is not.

mod safetensors;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use self::safetensors::check_safetensors;
use super::model_id::is_repo_path;

/// Largest configuration or index that is read, in bytes; an index of 100,000 tensors has some 10 MiB.
const JSON_MAX: u64 = 64 << 20;
/// What every GGUF begins with.
const GGUF_MAGIC: &[u8] = b"GGUF";
const INDEXES: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];

/// Names of files with weights; of those that are there, engines take the first kind. Mistral's `consolidated*` are the
/// same weights once more.
const FORMATS: [fn(&str) -> bool; 5] = [
    |name| name.ends_with(".safetensors") && !name.starts_with("consolidated"),
    |name| name.ends_with(".safetensors"),
    |name| name.ends_with(".bin") && name.starts_with("pytorch_model"),
    |name| name.ends_with(".pth") || name.ends_with(".pt"),
    |name| name.ends_with(".gguf"),
];

/// What is wrong with a model on the disk.
#[derive(Debug, thiserror::Error)]
pub enum BadModel {
    /// There is nothing at that path.
    #[error("the model path {path} does not exist on this node", path = .0.display())]
    Missing(PathBuf),
    /// A directory that is no model.
    #[error("the model directory {path} holds no `config.json` or `params.json`", path = .0.display())]
    NoConfig(PathBuf),
    /// A file of it cannot be read.
    #[error("cannot read {path} of the model: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of it is not what its name says.
    #[error("{path} of the model {problem}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, as a predicate.
        problem: String,
    },
}

impl BadModel {
    fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }
}

/// A model whose files are all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckedModel {
    /// Bytes of its weights; 0 if it has none that are known here.
    pub(crate) weights: u64,
}

/// Checks a model directory, or a GGUF file: the configuration can be read, all weights that an index names are there,
/// and none is cut off. Reads the heads of its files only.
pub(crate) fn check_model(path: &Path) -> Result<CheckedModel, BadModel> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BadModel::Missing(path.to_owned()),
        _ => BadModel::read(path, error),
    })?;
    if metadata.is_file() {
        return Ok(CheckedModel { weights: check_gguf(path)? });
    }
    if !check_configs(path)? {
        return Err(BadModel::NoConfig(path.to_owned()));
    }
    let weights = check_weights(&weight_files(path)?)?;
    Ok(CheckedModel { weights })
}

/// The fields of a JSON object in a file, if there is such a file.
pub(crate) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, BadModel> {
    let Some(bytes) = read_bounded(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| BadModel::file(path, format!("is not a JSON object: {error}")))
}

fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, BadModel> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BadModel::read(path, error)),
    };
    let mut bytes = Vec::new();
    file.take(JSON_MAX + 1).read_to_end(&mut bytes).map_err(|error| BadModel::read(path, error))?;
    if bytes.len() as u64 > JSON_MAX {
        return Err(BadModel::file(path, format!("is larger than any of its kind: over {JSON_MAX} bytes")));
    }
    Ok(Some(bytes))
}

/// Whether there is a configuration: `config.json`, or `params.json` in Mistral's own format.
fn check_configs(directory: &Path) -> Result<bool, BadModel> {
    let config = read_object(&directory.join("config.json"))?;
    let params = read_object(&directory.join("params.json"))?;
    Ok(config.is_some() || params.is_some())
}

/// The files that the weights are in: those that an index names; without one those that engines would take.
fn weight_files(directory: &Path) -> Result<BTreeSet<PathBuf>, BadModel> {
    for index in INDEXES {
        let path = directory.join(index);
        if let Some(bytes) = read_bounded(&path)? {
            return indexed(directory, &path, &bytes);
        }
    }
    let entries = fs::read_dir(directory).map_err(|error| BadModel::read(directory, error))?;
    let names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let of = |format: fn(&str) -> bool| names.iter().filter(|name| format(name)).collect::<Vec<_>>();
    let found = FORMATS.into_iter().map(of).find(|found| !found.is_empty()).unwrap_or_default();
    Ok(found.into_iter().map(|name| directory.join(name)).collect())
}

/// `{"weight_map": {"tensor": "file"}}`. Its `metadata.total_size` is not compared: tied tensors are counted twice by
/// some tools, and a file that is cut off shows by itself.
fn indexed(directory: &Path, path: &Path, bytes: &[u8]) -> Result<BTreeSet<PathBuf>, BadModel> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(bytes)
        .map_err(|error| BadModel::file(path, format!("is not an index of weights: {error}")))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    if let Some(strange) = files.iter().find(|file| !is_repo_path(file)) {
        return Err(BadModel::file(path, format!("names `{strange}`, which is not a file of the model")));
    }
    Ok(files.into_iter().map(|file| directory.join(file)).collect())
}

/// The sum of their sizes.
fn check_weights(files: &BTreeSet<PathBuf>) -> Result<u64, BadModel> {
    files.iter().try_fold(0, |sum, path| {
        let length = match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => check_safetensors(path)?,
            Some("gguf") => check_gguf(path)?,
            _ => length_of(path)?,
        };
        if length == 0 { Err(BadModel::file(path, "is empty")) } else { Ok(sum + length) }
    })
}

fn check_gguf(path: &Path) -> Result<u64, BadModel> {
    let mut magic = [0; GGUF_MAGIC.len()];
    let mut file = File::open(path).map_err(|error| BadModel::read(path, error))?;
    file.read_exact(&mut magic)
        .ok()
        .filter(|()| magic == GGUF_MAGIC)
        .ok_or_else(|| BadModel::file(path, "is neither a model directory nor in GGUF format"))?;
    length_of(path)
}

fn length_of(path: &Path) -> Result<u64, BadModel> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(|error| BadModel::read(path, error))
}

#[cfg(test)]
pub(super) mod tests;
