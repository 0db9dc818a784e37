//! When an endpoint gets more or fewer replicas.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Decimal, HumanDuration};

/// When an endpoint gets more or fewer replicas, between `replicas.min` and `replicas.max`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Scaling {
    /// What one replica should have to do. With several, the one that asks for most replicas decides.
    pub targets: Targets,
    /// How long more must be needed before there are more.
    pub up_delay: HumanDuration,
    /// How long fewer must be enough before there are fewer.
    pub down_delay: HumanDuration,
    /// With `replicas.min: 0`: how long without a request before the last replica ends.
    pub idle_to_zero: HumanDuration,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            targets: Targets::default(),
            up_delay: HumanDuration::from_secs(30),
            down_delay: HumanDuration::from_secs(10 * 60),
            idle_to_zero: HumanDuration::from_secs(15 * 60),
        }
    }
}

/// What one replica should have to do on average; what is not given is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Targets {
    /// Requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inflight: Option<Decimal>,
    /// Requests that wait inside the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Decimal>,
    /// Share of the KV cache in use, above 0 and at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<Decimal>,
    /// Requests that arrive per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qps: Option<Decimal>,
    /// Time to the first token that 95 % of streamed requests stay below.
    #[serde(rename = "ttftP95", skip_serializing_if = "Option::is_none")]
    pub ttft_p95: Option<HumanDuration>,
}

impl Targets {
    /// Whether nothing is looked at.
    pub const fn is_empty(&self) -> bool {
        self.inflight.is_none()
            && self.waiting.is_none()
            && self.kv_cache.is_none()
            && self.qps.is_none()
            && self.ttft_p95.is_none()
    }
}
