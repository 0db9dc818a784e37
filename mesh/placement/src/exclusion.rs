//! Why a node cannot run a replica, in words with numbers.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};
use shoal_types::{CapacityType, Decimal, DepartureReason, EngineOffer, Resources, UnixMillis};

use crate::want::Class;

/// Why a node is no candidate for another replica of an endpoint. It borrows what it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion<'a> {
    /// It has gone quiet.
    Suspect {
        /// Since when.
        since: UnixMillis,
    },
    /// It said goodbye.
    Left,
    /// It is about to leave.
    Departing(DepartureReason),
    /// Its configuration does not offer the engine.
    EngineNotOffered {
        /// What the endpoint needs.
        needed: Cow<'a, str>,
        /// What the node offers.
        offered: &'a [EngineOffer],
    },
    /// A label is not one of the values that `placement.require` allows.
    Label {
        /// Which label.
        key: &'a str,
        /// What the node has there, if anything.
        value: Option<Cow<'a, str>>,
        /// What is allowed.
        allowed: &'a [String],
    },
    /// It is not of the capacity type that this part of the replicas is for.
    CapacityType {
        /// What it is.
        has: CapacityType,
        /// What is wanted.
        wanted: Capacity,
    },
    /// It costs more than `placement.maxPrice`, or does not say what it costs.
    Price {
        /// USD per GPU-hour, if it says so.
        price: Option<Decimal>,
        /// The most that is allowed.
        most: Decimal,
    },
    /// It does not have enough GPUs of the right kind, free or not.
    TooFewGpus {
        /// What one replica needs.
        needed: &'a Resources,
        /// How many of its GPUs are of that kind.
        matching: usize,
        /// How many it has in all.
        all: usize,
    },
    /// It said that it will not run this revision for now.
    Refused {
        /// When it may be tried again.
        until: UnixMillis,
        /// What it said.
        reason: &'a str,
    },
    /// It has enough GPUs of the right kind, but others hold them.
    GpusTaken {
        /// How many one replica needs.
        needed: u32,
        /// How many of the right kind are free.
        free: usize,
        /// How many of the right kind there are.
        matching: usize,
    },
}

/// The capacity that a part of an endpoint's replicas is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capacity {
    /// Of any type.
    Any,
    /// Spot.
    Spot,
    /// On demand or reserved.
    Firm,
}

impl From<Class> for Capacity {
    fn from(class: Class) -> Self {
        match class {
            Class::Any => Self::Any,
            Class::Spot => Self::Spot,
            Class::Firm => Self::Firm,
        }
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Spot => "spot",
            Self::Firm => "on-demand or reserved",
        })
    }
}

impl fmt::Display for Exclusion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspect { since } => write!(f, "nothing was heard of it since {since}"),
            Self::Left => f.write_str("it has left the mesh"),
            Self::Departing(reason) => reason.fmt(f),
            Self::EngineNotOffered { needed, offered: [] } => {
                write!(f, "it does not offer the engine `{needed}`, nor any other; see `engines` in its configuration")
            }
            Self::EngineNotOffered { needed, offered } => {
                write!(
                    f,
                    "it does not offer the engine `{needed}`, only {}",
                    quoted(offered.iter().map(|offer| &offer.0))
                )
            }
            Self::Label { key, value: Some(value), allowed } => {
                write!(f, "its label `{key}` is `{value}`, allowed are {}", quoted(*allowed))
            }
            Self::Label { key, value: None, allowed } => {
                write!(f, "it has no label `{key}`, allowed are {}", quoted(*allowed))
            }
            Self::CapacityType { has, wanted } => write!(f, "its capacity is {has}, wanted here is {wanted}"),
            Self::Price { price: Some(price), most } => {
                write!(f, "it costs {price} USD per GPU-hour, `maxPrice` is {most}")
            }
            Self::Price { price: None, most } => {
                write!(f, "it does not say what it costs (its label `price`), `maxPrice` is {most}")
            }
            Self::TooFewGpus { needed, matching, all } => {
                write!(f, "it has {matching} {} (of {all} GPUs), a replica needs {}", GpuKind(needed), needed.gpus)
            }
            Self::Refused { until, reason } => write!(f, "it refuses this revision until {until}: {reason}"),
            Self::GpusTaken { needed, free, matching } => {
                write!(f, "{free} of its {matching} fitting GPUs are free, a replica needs {needed}")
            }
        }
    }
}

/// The kind of GPU that is asked for, in words.
pub(crate) struct GpuKind<'a>(pub(crate) &'a Resources);

impl fmt::Display for GpuKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.gpu_model, &self.0.mig) {
            (Some(model), None) => write!(f, "`{model}`")?,
            (Some(model), Some(profile)) => write!(f, "MIG slices `{profile}` of `{model}`")?,
            (None, Some(profile)) => write!(f, "MIG slices `{profile}`")?,
            (None, None) => f.write_str("GPUs")?,
        }
        self.0.gpu_memory.map_or(Ok(()), |memory| write!(f, " with at least {memory}"))
    }
}

pub(crate) fn quoted(values: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let quoted: Vec<String> = values.into_iter().map(|value| format!("`{value}`")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

#[cfg(test)]
mod tests {
    use shoal_types::MemorySize;

    use super::*;

    #[test]
    fn sentences_have_their_numbers() {
        let needed = Resources {
            gpus: 4,
            gpu_model: Some("H100".to_owned()),
            gpu_memory: Some(MemorySize::from_gib(80)),
            mig: None,
        };
        let few = Exclusion::TooFewGpus { needed: &needed, matching: 2, all: 8 };
        assert_eq!(few.to_string(), "it has 2 `H100` with at least 80GiB (of 8 GPUs), a replica needs 4");
        let taken = Exclusion::GpusTaken { needed: 4, free: 3, matching: 8 };
        assert_eq!(taken.to_string(), "3 of its 8 fitting GPUs are free, a replica needs 4");
        let allowed = ["onprem".to_owned(), "nebius".to_owned()];
        let label = Exclusion::Label { key: "cloud", value: Some("aws".into()), allowed: &allowed };
        assert_eq!(label.to_string(), "its label `cloud` is `aws`, allowed are `onprem`, `nebius`");
        let engine = Exclusion::EngineNotOffered { needed: "vllm".into(), offered: &[] };
        assert_eq!(
            engine.to_string(),
            "it does not offer the engine `vllm`, nor any other; see `engines` in its configuration"
        );
        let dear = Exclusion::Price { price: Decimal::from_f64(4.8), most: Decimal::from_whole(4) };
        assert_eq!(dear.to_string(), "it costs 4.8 USD per GPU-hour, `maxPrice` is 4");
        let untold = Exclusion::Price { price: None, most: Decimal::from_whole(4) };
        assert_eq!(untold.to_string(), "it does not say what it costs (its label `price`), `maxPrice` is 4");
        let spot = Exclusion::CapacityType { has: CapacityType::Spot, wanted: Capacity::Firm };
        assert_eq!(spot.to_string(), "its capacity is spot, wanted here is on-demand or reserved");
    }
}
