//! Where models are kept and fetched from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_types::MemorySize;

/// Models on this node's disk.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WeightsConfig {
    /// Directory in the layout of Hugging Face's cache; default the one that engines use: $HF_HOME/hub, or
    /// ~/.cache/huggingface/hub.
    pub(crate) cache: Option<PathBuf>,
    /// Most that the models there may take, whoever put them there: the least recently used that no replica needs are
    /// removed for others. Without it nothing is ever removed.
    pub(crate) budget: Option<MemorySize>,
    /// What always stays free on that file system.
    pub(crate) reserve: MemorySize,
    /// Where models are fetched from; without it only those that are there are used.
    pub(crate) hub: Option<HubConfig>,
}

impl Default for WeightsConfig {
    fn default() -> Self {
        Self { cache: None, budget: None, reserve: shoal_engine_supervisor::WeightsConfig::RESERVE, hub: None }
    }
}

/// Where models are fetched from.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HubConfig {
    /// Its URL; default https://huggingface.co.
    pub(crate) url: Option<String>,
    /// File with the token for models that are not public.
    pub(crate) token_file: Option<PathBuf>,
}
