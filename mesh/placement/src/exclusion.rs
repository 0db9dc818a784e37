//! Why a node cannot run a replica, in words with numbers.

use std::fmt;

use shoal_types::{DepartureReason, Resources, UnixMillis};

/// Why a node is no candidate for another replica of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
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
        needed: String,
        /// What the node offers.
        offered: Vec<String>,
    },
    /// A label is not one of the values that `placement.require` allows.
    Label {
        /// Which label.
        key: String,
        /// What the node has there, if anything.
        value: Option<String>,
        /// What is allowed.
        allowed: Vec<String>,
    },
    /// It does not have enough GPUs of the right kind, free or not.
    TooFewGpus {
        /// What one replica needs.
        needed: Resources,
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
        reason: String,
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

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspect { since } => write!(f, "nothing was heard of it since {since}"),
            Self::Left => f.write_str("it has left the mesh"),
            Self::Departing(reason) => reason.fmt(f),
            Self::EngineNotOffered { needed, offered } if offered.is_empty() => {
                write!(f, "it does not offer the engine `{needed}`, nor any other; see `engines` in its configuration")
            }
            Self::EngineNotOffered { needed, offered } => {
                write!(f, "it does not offer the engine `{needed}`, only {}", quoted(offered))
            }
            Self::Label { key, value: Some(value), allowed } => {
                write!(f, "its label `{key}` is `{value}`, allowed are {}", quoted(allowed))
            }
            Self::Label { key, value: None, allowed } => {
                write!(f, "it has no label `{key}`, allowed are {}", quoted(allowed))
            }
            Self::TooFewGpus { needed, matching, all } => {
                write!(f, "it has {matching} {} (of {all} GPUs), a replica needs {}", Kind(needed), needed.gpus)
            }
            Self::Refused { until, reason } => write!(f, "it refuses this revision until {until}: {reason}"),
            Self::GpusTaken { needed, free, matching } => {
                write!(f, "{free} of its {matching} fitting GPUs are free, a replica needs {needed}")
            }
        }
    }
}

/// The kind of GPU that is asked for, in words.
struct Kind<'a>(&'a Resources);

impl fmt::Display for Kind<'_> {
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

fn quoted(values: &[String]) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
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
        let few = Exclusion::TooFewGpus { needed, matching: 2, all: 8 };
        assert_eq!(few.to_string(), "it has 2 `H100` with at least 80GiB (of 8 GPUs), a replica needs 4");
        let taken = Exclusion::GpusTaken { needed: 4, free: 3, matching: 8 };
        assert_eq!(taken.to_string(), "3 of its 8 fitting GPUs are free, a replica needs 4");
        let label = Exclusion::Label {
            key: "cloud".to_owned(),
            value: Some("aws".to_owned()),
            allowed: vec!["onprem".to_owned(), "nebius".to_owned()],
        };
        assert_eq!(label.to_string(), "its label `cloud` is `aws`, allowed are `onprem`, `nebius`");
        let engine = Exclusion::EngineNotOffered { needed: "vllm".to_owned(), offered: vec![] };
        assert_eq!(
            engine.to_string(),
            "it does not offer the engine `vllm`, nor any other; see `engines` in its configuration"
        );
    }
}
