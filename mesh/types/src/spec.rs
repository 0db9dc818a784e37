//! What a user applies: kubectl's shape, camelCase keys, quantities with units.

mod engine;
mod placement;
mod rollout;
mod scaling;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    engine::{CommandEngine, EngineSpec, GatewayEngine, ProcessEngine, SimEngine, Sleep, VllmEngine},
    placement::{Placement, ScoreWeights, Spot, Spread},
    rollout::{OnFailure, Rollout, Strategy},
    scaling::{Scaling, Targets},
};
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
    /// LoRA adapters of the model, each by a name that clients may send as `model`: hub id, or absolute path on the nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub adapters: BTreeMap<String, String>,
    /// Which program serves it.
    pub engine: EngineSpec,
    /// What one replica needs of its node.
    #[serde(default)]
    pub resources: Resources,
    /// How many replicas there should be.
    #[serde(default)]
    pub replicas: Replicas,
    /// When there should be more or fewer.
    #[serde(default)]
    pub scaling: Scaling,
    /// Where replicas may and should run.
    #[serde(default)]
    pub placement: Placement,
    /// How a new revision takes the place of the one before.
    #[serde(default)]
    pub rollout: Rollout,
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
            || self.adapters != next.adapters
            || self.engine != next.engine
            || self.resources != next.resources
    }

    /// This spec with the processes of `other`: what an undo applies.
    #[must_use]
    pub fn with_processes_of(self, other: &Self) -> Self {
        Self {
            model: other.model.clone(),
            model_revision: other.model_revision.clone(),
            aliases: other.aliases.clone(),
            adapters: other.adapters.clone(),
            engine: other.engine.clone(),
            resources: other.resources.clone(),
            ..self
        }
    }

    /// Requests that one replica is given at once; `None` if it says itself when it is full.
    pub fn max_inflight(&self) -> Option<u32> {
        self.routing.max_inflight.or_else(|| self.engine.max_concurrency())
    }

    /// The name of the weights that a replica loads: the model, and its revision where one is given. A node that has them
    /// on its disk has this name among [`NodeView::models`](crate::NodeView::models).
    pub fn cache_key(&self) -> String {
        let revision = self.model_revision.as_ref();
        revision.map_or_else(|| self.model.clone(), |revision| format!("{}@{revision}", self.model))
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
    /// Never fewer than these. With 0 the endpoint ends when it is idle, and starts with the next request.
    #[schemars(range(max = 10_000))]
    pub min: u32,
    /// Never more than these; `min` if it is not given.
    #[schemars(range(max = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { min: 1, max: None }
    }
}

impl Replicas {
    /// The most replicas that there may be.
    pub fn most(&self) -> u32 {
        self.max.unwrap_or(self.min).max(self.min)
    }

    /// `wanted` within the bounds.
    pub fn clamp(&self, wanted: u32) -> u32 {
        wanted.clamp(self.min, self.most())
    }
}

/// How requests are routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Routing {
    /// Longest time from a request's arrival to the end of its answer.
    pub timeout: HumanDuration,
    /// Which replica a request goes to.
    pub policy: RoutingPolicy,
    /// Whether a stream whose replica is lost goes on with another one, where that can be done without a seam.
    pub resume: bool,
    /// Longest time without a byte in the middle of an answer; a replica that says nothing for longer counts as lost.
    pub stall: HumanDuration,
    /// Whether a second replica is asked for a stream when the first one has not begun after the time within which 95 % begin.
    pub hedge: bool,
    /// Requests that one replica is given at once; what is over it waits in the queue. Default what the engine runs at
    /// once, as far as its kind and arguments say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_inflight: Option<u32>,
    /// Where requests wait while no replica is ready, or none has room.
    pub queue: Queue,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            timeout: HumanDuration::from_secs(600),
            policy: RoutingPolicy::Prefix,
            resume: true,
            // Between two tokens an engine takes less than a second; one that preempts a sequence takes some.
            stall: HumanDuration::from_secs(60),
            hedge: false,
            max_inflight: None,
            queue: Queue::default(),
        }
    }
}

/// Where requests wait for a replica, at each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Queue {
    /// Requests that wait at once at one node; the next one is turned away. With 0 none waits.
    #[schemars(range(max = 10_000))]
    pub size: u32,
    /// Longest wait for room at replicas that serve. For one to become ready it may be longer.
    pub deadline: HumanDuration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 512, deadline: HumanDuration::from_secs(60) }
    }
}

/// Which replica a request goes to, among those that may answer it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoutingPolicy {
    /// The one that has the beginning of its prompt in its cache, unless waiting there would take longer than computing
    /// the prompt elsewhere.
    #[default]
    Prefix,
    /// The one that has the least to do, as far as is known.
    LeastLoad,
    /// One after the other.
    RoundRobin,
    /// Always the same one for the same `x-session-id` or, in the body, `prompt_cache_key`; as `prefix` for a request
    /// without one.
    Session,
}
