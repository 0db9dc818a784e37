//! What a user applies: kubectl's shape, camelCase keys, quantities with units.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EndpointName, HumanDuration, MemorySize};

/// A named service of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Version of this format.
    pub api_version: ApiVersion,
    /// What this document describes.
    pub kind: Kind,
    /// Name and labels.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: EndpointSpec,
}

/// Versions of the format that this program understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first and only one.
    #[serde(rename = "shoal/v1")]
    V1,
}

/// Kinds of documents that can be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A service of one model.
    Endpoint,
}

/// Name and labels of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Unique in the mesh; a DNS label. Clients may send it as `model`.
    pub name: EndpointName,
    /// Free key-value pairs for people and scripts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What is wanted of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSpec {
    /// Hub id or absolute path of the model. Clients may send it as `model`.
    pub model: String,
    /// Branch, tag or commit of the model at the hub; default the newest of its main branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_revision: Option<String>,
    /// Further names that clients may send as `model`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// Which program serves it.
    pub engine: EngineSpec,
    /// What one replica needs of its node.
    #[serde(default)]
    pub resources: Resources,
    /// How many replicas there should be.
    #[serde(default)]
    pub replicas: Replicas,
    /// Where replicas may and should run.
    #[serde(default)]
    pub placement: Placement,
    /// How requests are routed.
    #[serde(default)]
    pub routing: Routing,
}

impl EndpointSpec {
    /// Whether going from `self` to `next` needs new processes, that is a new revision.
    pub fn needs_new_processes(&self, next: &Self) -> bool {
        self.model != next.model
            || self.model_revision != next.model_revision
            || self.aliases != next.aliases
            || self.engine != next.engine
            || self.resources != next.resources
    }
}

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

/// What one replica needs of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Whole GPUs per replica.
    #[schemars(range(max = 64))]
    pub gpus: u32,
    /// Text that NVML's name of the GPU must contain, such as `H100`; case does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_model: Option<String>,
    /// Least memory of each GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<MemorySize>,
    /// Profile of MIG slices, such as `3g.40gb`: `gpus` then counts slices. Without it only whole GPUs are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<String>,
}

/// How many replicas there should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Replicas {
    /// The number of replicas kept running.
    #[schemars(range(max = 10_000))]
    pub min: u32,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { min: 1 }
    }
}

/// Where replicas may and should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// Cluster that is filled first; the others take what does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Node labels and the values that are allowed for each; a node must match all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub require: BTreeMap<String, Vec<String>>,
    /// Failure domain over which replicas are spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// How long a replica whose node has gone quiet is waited for before another is started. Its requests are
    /// rerouted at once; the last replica is replaced at once.
    pub replace_after: HumanDuration,
}

impl Default for Placement {
    fn default() -> Self {
        Self { home: None, require: BTreeMap::new(), spread: None, replace_after: HumanDuration::from_secs(10) }
    }
}

/// Failure domains over which replicas can be spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// The node label `zone`.
    Zone,
}

/// How requests are routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Routing {
    /// Longest time from a request's arrival to the end of its answer.
    pub timeout: HumanDuration,
}

impl Default for Routing {
    fn default() -> Self {
        Self { timeout: HumanDuration::from_secs(600) }
    }
}
