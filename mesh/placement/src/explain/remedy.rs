//! What would make room for a replica that finds none.

use std::fmt;

use serde::{Deserialize, Serialize};
use shoal_types::{CapacityType, Decimal, EndpointName, MemorySize, UnixMillis};

use crate::{exclusion::quoted, ground::Site};

/// Names that a remedy tells.
pub(super) const NAMES_MAX: usize = 5;

/// One change that would make room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Remedy {
    /// Silent nodes come back.
    Return {
        /// Which.
        nodes: NodeNames,
    },
    /// Drained nodes are taken back.
    Undrain {
        /// Which.
        nodes: NodeNames,
    },
    /// More nodes offer the engine.
    OfferEngine {
        /// Which engine.
        engine: String,
        /// On which nodes.
        nodes: NodeNames,
    },
    /// `placement.require` allows another value.
    AllowLabel {
        /// Of which label.
        key: String,
        /// Which value; none if these nodes have no such label.
        value: Option<String>,
        /// Who has it.
        nodes: NodeNames,
    },
    /// The replicas may be on other capacity.
    UseCapacity {
        /// On which.
        capacity: CapacityType,
        /// Who has it.
        nodes: NodeNames,
    },
    /// `placement.maxPrice` is higher.
    RaiseMaxPrice {
        /// At least this, in USD per GPU-hour.
        to: Decimal,
        /// Who has room then.
        nodes: NodeNames,
    },
    /// Nodes tell what they cost.
    TellPrice {
        /// Which.
        nodes: NodeNames,
    },
    /// `resources.gpuModel` is another.
    AllowGpuModel {
        /// NVML's name of what there is.
        model: String,
        /// Who has it free.
        nodes: NodeNames,
    },
    /// `resources.gpuMemory` is less.
    LowerGpuMemory {
        /// At most this.
        to: MemorySize,
        /// Who has room then.
        nodes: NodeNames,
    },
    /// Time passes: nodes that refuse the revision try it again.
    Wait {
        /// When the first does.
        until: UnixMillis,
        /// Who refuses.
        nodes: NodeNames,
        /// What one of them says.
        reason: String,
    },
    /// GPUs of one node become free.
    FreeGpus {
        /// How many more.
        gpus: usize,
        /// Of which kind.
        kind: String,
        /// On which node: the one that needs fewest.
        node: String,
        /// Its cluster.
        cluster: String,
        /// How many of the kind are free there now.
        free: usize,
    },
    /// Replicas move together: enough GPUs are free, but not on one node.
    Defragment {
        /// How many are free.
        free: usize,
        /// At most so many on one node.
        most: usize,
        /// So many take a replica.
        needed: usize,
        /// Endpoints with replicas there that are not allowed to move.
        off: Vec<EndpointName>,
    },
    /// The endpoint has a higher priority, so that others give way.
    RaisePriority {
        /// Above this.
        above: i32,
        /// Who gives way.
        endpoints: Vec<EndpointName>,
        /// On which node.
        node: String,
    },
    /// A replica of the old revision goes before its successor serves.
    AllowUnavailable {
        /// Where it has the room.
        nodes: NodeNames,
    },
    /// There is another node.
    AddNode {
        /// With what.
        needs: String,
    },
}

/// Some nodes, of which a few are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeNames {
    /// How many they are.
    pub count: usize,
    /// The first of them.
    pub names: Vec<String>,
}

impl NodeNames {
    pub(super) fn of<'s, 'a: 's>(sites: impl IntoIterator<Item = &'s Site<'a>>) -> Self {
        let mut nodes = Self { count: 0, names: Vec::new() };
        for site in sites {
            nodes.count += 1;
            if nodes.names.len() < NAMES_MAX {
                nodes.names.push(site.node.facts.name.clone());
            }
        }
        nodes
    }
}

impl fmt::Display for NodeNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.count == 1 { "node " } else { "nodes " })?;
        f.write_str(&self.names.join(", "))?;
        match self.count - self.names.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return { nodes } => write!(f, "bring back {nodes}, of which nothing is heard"),
            Self::Undrain { nodes } => write!(f, "undrain {nodes}"),
            Self::OfferEngine { engine, nodes } => {
                write!(f, "offer the engine `{engine}` on {nodes} (`engines` in the configuration)")
            }
            Self::AllowLabel { key, value: Some(value), nodes } => {
                write!(f, "allow `{key}: {value}` in `placement.require`: {nodes} would do")
            }
            Self::AllowLabel { key, value: None, nodes } => write!(f, "give {nodes} the label `{key}`"),
            Self::UseCapacity { capacity, nodes } => {
                write!(f, "let these replicas be on {capacity} capacity (`placement.spot`): {nodes} would do")
            }
            Self::RaiseMaxPrice { to, nodes } => write!(f, "raise `placement.maxPrice` to {to}: {nodes} would do"),
            Self::TellPrice { nodes } => write!(f, "tell what {nodes} costs (the label `price`)"),
            Self::AllowGpuModel { model, nodes } => {
                write!(f, "allow GPUs such as `{model}` in `resources.gpuModel`: {nodes} would do")
            }
            Self::LowerGpuMemory { to, nodes } => {
                write!(f, "lower `resources.gpuMemory` to {to}: {nodes} would do")
            }
            Self::Wait { until, nodes, reason } => {
                write!(f, "wait until {until}: till then {nodes} will not try this revision ({reason})")
            }
            Self::FreeGpus { gpus, kind, node, cluster, free } => {
                write!(f, "free {gpus} more of the {kind} on node {node} of cluster {cluster}, which has {free} free")
            }
            Self::Defragment { free, most, needed, off } => {
                write!(f, "{free} such GPUs are free, at most {most} on one node, a replica needs {needed}: ")?;
                write!(f, "`placement.defragment` of {} would let them move together", quoted(off))
            }
            Self::RaisePriority { above, endpoints, node } => {
                let endpoints = quoted(endpoints);
                write!(f, "raise `placement.priority` above {above}: {endpoints} would give way on node {node}")
            }
            Self::AllowUnavailable { nodes } => write!(
                f,
                "let a replica of the old revision go before its successor serves (`rollout.maxUnavailable: 1`): {nodes} \
                 would do"
            ),
            Self::AddNode { needs } => write!(f, "add a node with {needs}"),
        }
    }
}
