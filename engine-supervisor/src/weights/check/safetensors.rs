//! A safetensors file says in its head how long it is: one that is cut off is known without reading it.
//!
//! Format: 8 bytes, little endian, length of a JSON header; the header; the tensors, at offsets that the header gives,
//! without gaps (<https://huggingface.co/docs/safetensors>).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read as _},
    path::Path,
};

use serde::Deserialize;

use super::BadModel;

/// Longest header that the format allows, in bytes.
const HEADER_MAX: u64 = 100_000_000;

/// A tensor; of the entry `__metadata__`, nothing.
#[derive(Deserialize)]
struct Entry {
    data_offsets: Option<(u64, u64)>,
}

/// The length of the file at `path`, which is as long as its header says.
pub(super) fn check_safetensors(path: &Path) -> Result<u64, BadModel> {
    let file = File::open(path).map_err(|error| BadModel::read(path, error))?;
    let length = file.metadata().map_err(|error| BadModel::read(path, error))?.len();
    let mut reader = BufReader::new(file);
    let mut prefix = [0; 8];
    if reader.read_exact(&mut prefix).is_err() {
        return Err(BadModel::file(path, format!("is cut off: it has {length} bytes")));
    }
    let header = u64::from_le_bytes(prefix);
    if header > HEADER_MAX {
        return Err(BadModel::file(path, "is not in safetensors format: its header would have over 100 MB"));
    }
    if 8 + header > length {
        return Err(BadModel::file(path, format!("is cut off in its header: it has {length} bytes")));
    }
    let tensors: BTreeMap<String, Entry> = serde_json::from_reader(reader.take(header))
        .map_err(|error| BadModel::file(path, format!("is not in safetensors format: {error}")))?;
    let data = tensors.values().filter_map(|entry| entry.data_offsets).map(|(_, end)| end).max().unwrap_or(0);
    let expected = data.saturating_add(8 + header);
    if expected != length {
        let problem = if length < expected { "is cut off" } else { "has something after its end" };
        return Err(BadModel::file(path, format!("{problem}: it has {length} bytes, and {expected} by its header")));
    }
    Ok(length)
}
