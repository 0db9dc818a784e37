//! Which program serves a model, and its options.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::HumanDuration;

/// Which program serves the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EngineSpec {
    /// vLLM's OpenAI server, as a child process on a Unix socket.
    Vllm(VllmEngine),
    /// SGLang's server.
    Sglang(ProcessEngine),
    /// TensorRT-LLM's server, `trtllm-serve`.
    Trtllm(ProcessEngine),
    /// llama.cpp's `llama-server`.
    Llamacpp(ProcessEngine),
    /// A service that shoal does not run: an in-cluster stack or a provider, by URL.
    Gateway(GatewayEngine),
    /// A program that the node's own configuration defines by name.
    Command(CommandEngine),
    /// The simulated engine built into shoal: no model, no GPU work; answers are made up and say so.
    Sim(SimEngine),
}

impl EngineSpec {
    /// The word used for this kind in specs, node facts and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Vllm(_) => "vllm",
            Self::Sglang(_) => "sglang",
            Self::Trtllm(_) => "trtllm",
            Self::Llamacpp(_) => "llamacpp",
            Self::Gateway(_) => "gateway",
            Self::Command(_) => "command",
            Self::Sim(_) => "sim",
        }
    }

    /// Whether it serves LoRA adapters by the names that clients send as `model`.
    pub const fn serves_adapters(&self) -> bool {
        match self {
            Self::Vllm(_) | Self::Sim(_) => true,
            // SGLang takes an adapter's bare name for another name of its model, llama.cpp takes a number in the body: a
            // request by name would be answered by the model without the adapter.
            Self::Sglang(_) | Self::Llamacpp(_) | Self::Trtllm(_) | Self::Gateway(_) | Self::Command(_) => false,
        }
    }

    /// Requests that one replica runs at once, as far as kind and arguments say so; more would queue inside it. `None` for
    /// what says itself when it is full.
    pub fn max_concurrency(&self) -> Option<u32> {
        match self {
            // vLLM 0.32: `max_num_seqs` of the default scheduler; more on the largest GPUs, where a spec has to say so.
            Self::Vllm(engine) => Some(number_after(&engine.args, &["--max-num-seqs"]).unwrap_or(ENGINE_CONCURRENCY)),
            // SGLang and TensorRT-LLM run as many as fit into memory, unless told otherwise.
            Self::Sglang(engine) => {
                Some(number_after(&engine.args, &["--max-running-requests"]).unwrap_or(ENGINE_CONCURRENCY))
            }
            Self::Trtllm(engine) => {
                Some(number_after(&engine.args, &["--max_batch_size"]).unwrap_or(ENGINE_CONCURRENCY))
            }
            // llama.cpp's slots.
            Self::Llamacpp(engine) => {
                Some(number_after(&engine.args, &["--parallel", "-np"]).unwrap_or(LLAMACPP_SLOTS))
            }
            Self::Command(_) => Some(ENGINE_CONCURRENCY),
            Self::Sim(engine) => Some(engine.max_num_seqs),
            Self::Gateway(_) => None,
        }
    }

    /// How its replicas sleep while they are not needed; `None` if they end instead.
    pub const fn sleep(&self) -> Option<&Sleep> {
        match self {
            Self::Vllm(engine) => engine.sleep.as_ref(),
            Self::Sim(engine) => engine.sleep.as_ref(),
            Self::Sglang(_) | Self::Trtllm(_) | Self::Llamacpp(_) | Self::Gateway(_) | Self::Command(_) => None,
        }
    }
}

/// Options of a vLLM engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VllmEngine {
    /// Further arguments of `vllm serve`; a node refuses those that its configuration does not allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment of the process; a node refuses names that its configuration does not allow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Put a drained replica to sleep instead of ending it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep: Option<Sleep>,
}

/// How a replica that is not needed for now sleeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sleep {
    /// 1 keeps the weights in main memory, 2 only the process; as vLLM counts them.
    #[schemars(range(min = 1, max = 2))]
    pub level: u8,
    /// How long it may sleep before it is ended.
    pub keep: HumanDuration,
}

impl Default for Sleep {
    fn default() -> Self {
        Self { level: 1, keep: HumanDuration::from_secs(30 * 60) }
    }
}

/// Options of an engine that is a process with arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessEngine {
    /// Further arguments; a node refuses those that its configuration does not allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment of the process; a node refuses names that its configuration does not allow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// Where a gateway's service is. A node refuses URLs that its configuration does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayEngine {
    /// `http://` or `https://`, host, and the path before `/v1/…`.
    pub url: String,
    /// What the service calls the model; default the endpoint's `model`. Requests say so, and answers come as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Name of a file in the key directory of the node's configuration: the service's API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Path on the same host that answers 200 while the service is well; default `/v1/models` below the URL's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Prometheus metrics that tell of the service's load, as an llm-d router has them: a path on the same host, or a
    /// whole URL where they have a port of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
}

/// Options of an engine defined in the node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandEngine {
    /// The name under which nodes define the program. Nodes that do not define it are no candidates.
    pub name: String,
}

/// Options of the simulated engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SimEngine {
    /// Time that pretends to be loading weights.
    pub load_time: HumanDuration,
    /// Time to the first token of a request that does not queue.
    pub time_to_first_token: HumanDuration,
    /// Time between two tokens.
    pub inter_token_latency: HumanDuration,
    /// Sequences served at once; more wait in a queue.
    #[schemars(range(min = 1))]
    pub max_num_seqs: u32,
    /// Put a drained replica to sleep instead of ending it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep: Option<Sleep>,
}

impl Default for SimEngine {
    fn default() -> Self {
        Self {
            load_time: HumanDuration::from_millis(200),
            time_to_first_token: HumanDuration::from_millis(40),
            inter_token_latency: HumanDuration::from_millis(15),
            max_num_seqs: 64,
            sleep: None,
        }
    }
}

/// What an engine is taken to run at once if nothing else is said: vLLM's default.
const ENGINE_CONCURRENCY: u32 = 256;
/// The same for llama.cpp's server, which has few slots.
const LLAMACPP_SLOTS: u32 = 4;

/// The number that follows one of `names` in `args`, as `--name 8` or `--name=8`; the last one counts.
fn number_after(args: &[String], names: &[&str]) -> Option<u32> {
    let value = |index: usize| {
        let arg = &args[index];
        names.iter().find_map(|name| match arg.strip_prefix(name)? {
            "" => args.get(index + 1)?.parse().ok(),
            rest => rest.strip_prefix('=')?.parse().ok(),
        })
    };
    (0..args.len()).rev().find_map(value).filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_runs_as_many_at_once_as_its_arguments_say() {
        let vllm = |args: &[&str]| {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            EngineSpec::Vllm(VllmEngine { args, ..VllmEngine::default() }).max_concurrency()
        };
        assert_eq!(vllm(&["--max-num-seqs", "8", "--x"]), Some(8));
        assert_eq!(vllm(&["--max-num-seqs=8", "--max-num-seqs=16"]), Some(16));
        for odd in [&["--max-num-seqs"][..], &["--max-num-seqs", "many"], &["--max-num-seqs-x", "8"], &[]] {
            assert_eq!(vllm(odd), Some(256), "{odd:?}");
        }
        assert_eq!(EngineSpec::Sim(SimEngine::default()).max_concurrency(), Some(64));
    }
}
