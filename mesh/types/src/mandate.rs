//! What the steward of an endpoint says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{EndpointName, Hlc, Revision, UnixMillis};

/// Most revisions that a mandate speaks of: the one that comes and the one that goes.
pub const SHARES_MAX: usize = 2;

/// How many replicas of which revision an endpoint should have, as its steward says. Of several, the one of the highest
/// epoch counts, then that of the greater node id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mandate {
    /// Of which endpoint.
    pub endpoint: EndpointName,
    /// Rises with every change.
    pub epoch: u64,
    /// The write of the spec that it was made for.
    pub version: Hlc,
    /// What each revision should have, the one that is rolled out first; at most [`SHARES_MAX`]. What is not in it should
    /// have nothing.
    pub shares: Vec<Share>,
    /// How far the rollout has come.
    pub rollout: RolloutPhase,
    /// Why it is as it is; at most [`crate::REASON_MAX`] bytes.
    pub reason: String,
    /// Since when.
    pub since: UnixMillis,
}

impl Mandate {
    /// All replicas of all revisions.
    pub fn total(&self) -> u32 {
        self.shares.iter().fold(0, |sum, share| sum.saturating_add(share.replicas))
    }

    /// What `revision` should have, if it is spoken of.
    pub fn share_of(&self, revision: Revision) -> Option<&Share> {
        self.shares.iter().find(|share| share.revision == revision)
    }
}

/// What one revision should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Which processes.
    pub revision: Revision,
    /// Replicas.
    pub replicas: u32,
    /// Percent of the requests, while several revisions serve.
    pub weight: u8,
}

/// How far a rollout has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum RolloutPhase {
    /// There is one revision only.
    Complete,
    /// The new revision is on its way, at this step of the spec's, counted from 0.
    Progressing {
        /// Which step.
        step: u8,
        /// Since when all replicas of that step serve; the pause counts from there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ready: Option<UnixMillis>,
    },
    /// It stands still at this step.
    Paused {
        /// Which step.
        step: u8,
    },
    /// The old revision has everything back.
    RolledBack,
}

impl fmt::Display for RolloutPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Progressing { step, .. } => write!(f, "progressing (step {})", step + 1),
            Self::Paused { step } => write!(f, "paused (step {})", step + 1),
            Self::RolledBack => f.write_str("rolled back"),
        }
    }
}
