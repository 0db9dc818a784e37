//! Which engines a node offers, and how it runs them.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_engine_supervisor::GatewayUrl;
use shoal_types::HumanDuration;

use super::ConfigError;

/// Engines that this node offers to run. None is offered that is not written here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct EnginesConfig {
    /// How long engines run on without a daemon, which a new one then takes over; after that they end.
    pub(crate) orphan_grace: HumanDuration,
    /// Socket of whoever starts `shoal engine-shim` for each connection, as a socket unit of systemd with `Accept=yes` does;
    /// without it the daemon starts engines as its own children. The packages' unit sets it by flag.
    pub(crate) shim_launcher: Option<PathBuf>,
    /// Offer the simulated engine.
    pub(crate) sim: bool,
    /// Offer vLLM; its program is `vllm` on the PATH unless written here.
    pub(crate) vllm: Option<ProgramConfig>,
    /// Offer SGLang; its program is a Python that has it, `python3` on the PATH unless written here.
    pub(crate) sglang: Option<ProgramConfig>,
    /// Offer TensorRT-LLM; its program is `trtllm-serve` on the PATH unless written here.
    pub(crate) trtllm: Option<ProgramConfig>,
    /// Offer llama.cpp; its program is `llama-server` on the PATH unless written here.
    pub(crate) llamacpp: Option<ProgramConfig>,
    /// Stand for services that run elsewhere: in-cluster stacks and providers, `engine: {kind: gateway, url: …}`.
    pub(crate) gateway: Option<GatewayConfig>,
    /// Programs that `engine: {kind: command, name: …}` may name.
    pub(crate) commands: BTreeMap<String, CommandConfig>,
}

impl Default for EnginesConfig {
    fn default() -> Self {
        Self {
            // Long enough for an upgrade that goes wrong and is taken back by hand.
            orphan_grace: HumanDuration::from_secs(600),
            shim_launcher: None,
            sim: false,
            vllm: None,
            sglang: None,
            trtllm: None,
            llamacpp: None,
            gateway: None,
            commands: BTreeMap::new(),
        }
    }
}

/// How the program of one engine kind is run here.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ProgramConfig {
    /// The program; one without a `/` is looked for on the PATH.
    pub(crate) binary: Option<PathBuf>,
    /// Flags that specs may use beside the built-in list of harmless ones.
    pub(crate) allowed_args: Vec<String>,
    /// Variables that specs may set beside the built-in list of harmless ones.
    pub(crate) allowed_env: Vec<String>,
    /// Variables for every such process of this node.
    pub(crate) env: BTreeMap<String, String>,
}

/// Which services specs may name.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GatewayConfig {
    /// URLs that may be asked: those with the same scheme, host and port, and a path that is one of these or below it.
    pub(crate) allow: Vec<String>,
    /// Directory of files with keys, each named by specs and holding one; without it specs can name none.
    pub(crate) key_directory: Option<PathBuf>,
    /// File of PEM certificates that count beside those that this host trusts.
    pub(crate) ca_file: Option<PathBuf>,
}

impl GatewayConfig {
    /// The URLs of `allow`.
    ///
    /// # Errors
    /// Naming the first that is none.
    pub(crate) fn allowed(&self) -> Result<Vec<GatewayUrl>, ConfigError> {
        let parse = |url: &String| {
            let wrong =
                |error| ConfigError::Value { field: "engines.gateway.allow", message: format!("`{url}`: {error}") };
            url.parse().map_err(wrong)
        };
        self.allow.iter().map(parse).collect()
    }
}

/// One program that serves the OpenAI API.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommandConfig {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments; `{model}`, `{name}`, `{socket}`, `{port}` and `{gpus}` are replaced. Exactly one of `{socket}`
    /// and `{port}` must occur: it says where the program listens.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// Its environment, with the same replacements.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Path that answers 200 once it can serve; default /health.
    #[serde(default)]
    pub(crate) health: Option<String>,
}
