//! What a node says about itself.

use std::{borrow::Cow, collections::BTreeMap, fmt, net::SocketAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GpuSource, MemorySize, MeshId, UnixMillis, Validities};

/// The facts of one start of one node; they change only with its configuration and its certificates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// What people call it; the host name unless configured.
    pub name: String,
    /// Where it stands and what it costs.
    pub labels: Labels,
    /// Where its mesh port can be reached, best first.
    pub addresses: Vec<SocketAddr>,
    /// Where its ingress listens, if others can reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<SocketAddr>,
    /// The program's version.
    pub version: String,
    /// The newest frame version it speaks; it also speaks the one before.
    pub protocol: u8,
    /// The host.
    pub host: Host,
    /// Where its GPU list comes from.
    pub gpu_source: GpuSource,
    /// Whether it can admit nodes and make tokens.
    pub issuer: bool,
    /// Until when its certificates are valid; nodes of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validities: Option<Validities>,
    /// The root that its certificates come from, by the id that a mesh has which begins with it: the present one as long as any of
    /// them does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<MeshId>,
    /// Whether it can ask somebody for more capacity.
    #[serde(default)]
    pub requests_capacity: bool,
    /// Engines that it offers to run.
    pub engines: Vec<EngineOffer>,
    /// When its daemon started.
    pub started: UnixMillis,
}

/// The host as sysinfo sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Logical processors.
    pub cpus: u32,
    /// Main memory.
    pub memory: MemorySize,
    /// Kernel and distribution, for people.
    pub os: String,
}

/// One engine that a node's configuration allows, such as `sim`, `vllm` or `command/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineOffer(pub String);

/// Where a node stands and what it costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Labels {
    /// The unit that can be lost whole; endpoints can name one as home.
    pub cluster: String,
    /// The provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
    /// The provider's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The failure domain for spreading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What the capacity may do without asking.
    pub capacity_type: CapacityType,
    /// USD per GPU-hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<f64>,
    /// Whatever else the operator set.
    #[serde(flatten)]
    pub other: BTreeMap<String, String>,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            cluster: "default".to_owned(),
            cloud: None,
            region: None,
            zone: None,
            capacity_type: CapacityType::OnDemand,
            price: None,
            other: BTreeMap::new(),
        }
    }
}

impl Labels {
    /// The value of the label `key`, as `placement.require` compares it.
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        match key {
            "cluster" => Some(Cow::Borrowed(&self.cluster)),
            "cloud" => self.cloud.as_deref().map(Cow::Borrowed),
            "region" => self.region.as_deref().map(Cow::Borrowed),
            "zone" => self.zone.as_deref().map(Cow::Borrowed),
            "capacityType" => Some(Cow::Owned(self.capacity_type.to_string())),
            "price" => self.price.map(|price| Cow::Owned(price.to_string())),
            other => self.other.get(other).map(|value| Cow::Borrowed(value.as_str())),
        }
    }
}

/// What the provider may do to a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityType {
    /// Paid for in advance; stays.
    Reserved,
    /// Paid by the hour; stays.
    #[default]
    OnDemand,
    /// Cheap; may be taken back at short notice.
    Spot,
}

impl fmt::Display for CapacityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "reserved",
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        })
    }
}

impl FromStr for CapacityType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reserved" => Ok(Self::Reserved),
            "on-demand" => Ok(Self::OnDemand),
            "spot" => Ok(Self::Spot),
            other => Err(format!("`{other}` is not a capacity type: use `reserved`, `on-demand` or `spot`")),
        }
    }
}

/// A node's statement that it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    /// Why.
    pub reason: DepartureReason,
    /// The same in the words of whoever said it; at most [`crate::REASON_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Since when.
    pub since: UnixMillis,
    /// When it will be gone whatever others do; `None` if it waits for replacements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<UnixMillis>,
}

/// A departure that is over: the node remembers it, and says so as long as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastDeparture {
    /// When it began.
    pub at: UnixMillis,
    /// Why.
    pub reason: DepartureReason,
}

/// Why a node leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DepartureReason {
    /// An operator said so.
    Drain,
    /// The daemon is stopping, and its engines with it.
    Shutdown,
    /// Its host or container is being stopped: SIGTERM said so.
    Terminate,
    /// The provider takes the host back: a notice said so.
    Reclaim,
    /// A GPU is so ill that the whole host is given up.
    GpuFault,
}

impl fmt::Display for DepartureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drain => "it is being drained",
            Self::Shutdown => "it is shutting down",
            Self::Terminate => "its host is being stopped",
            Self::Reclaim => "its host is being taken away",
            Self::GpuFault => "one of its GPUs is ill",
        })
    }
}
