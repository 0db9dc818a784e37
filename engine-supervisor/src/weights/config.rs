//! What the node's configuration says about models on its disk.

use std::{env, ffi::OsString, path::PathBuf};

use shoal_types::MemorySize;

/// Where models are kept, how many, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsConfig {
    /// Directory in the layout of Hugging Face's cache: `models--organisation--name/{blobs,refs,snapshots}`.
    pub cache: PathBuf,
    /// Most bytes that the models there may take, whoever put them there; `None`: nothing is ever evicted.
    pub budget: Option<MemorySize>,
    /// Always left free on that file system: logs and state of what serves are often there too.
    pub reserve: MemorySize,
    /// Where models are fetched from; `None`: only what is there can be used.
    pub hub: Option<HubConfig>,
}

/// A hub that models are fetched from. Proxies are taken from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// Its root, `https://` or `http://`.
    pub url: String,
    /// File with the token for models that are not public; read anew for each request.
    pub token_file: Option<PathBuf>,
}

impl WeightsConfig {
    /// Bytes left free unless the configuration says otherwise.
    pub const RESERVE: MemorySize = MemorySize::from_gib(10);

    /// No budget, no hub.
    pub const fn new(cache: PathBuf) -> Self {
        Self { cache, budget: None, reserve: Self::RESERVE, hub: None }
    }

    /// The directory that engines started from this environment use; `None` if it names no home.
    pub fn default_cache() -> Option<PathBuf> {
        cache_of(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }
}

impl HubConfig {
    /// The hub unless the configuration says otherwise.
    pub const URL: &str = "https://huggingface.co";
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { url: Self::URL.to_owned(), token_file: None }
    }
}

/// The order of `huggingface_hub/constants.py`.
fn cache_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).map(PathBuf::from);
    path("HF_HUB_CACHE")
        .or_else(|| path("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| path("XDG_CACHE_HOME").map(|caches| caches.join("huggingface/hub")))
        .or_else(|| path("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_engines_look() {
        let of = |set: &[(&str, &str)]| {
            cache_of(|name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value)))
        };
        let home = ("HOME", "/home/a");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[home]), Some("/home/a/.cache/huggingface/hub".into()));
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "/c")]), Some("/c/huggingface/hub".into()));
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "/c"), ("HF_HOME", "/hf")]), Some("/hf/hub".into()));
        assert_eq!(of(&[home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/models")]), Some("/models".into()));
    }
}
