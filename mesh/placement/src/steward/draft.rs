//! A mandate before it has an epoch.

use shoal_types::{EndpointRecord, Hlc, Mandate, RolloutPhase, Share};

use crate::{desired::Desired, scene::Scene};

/// What a mandate says, apart from who says it and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) version: Hlc,
    pub(super) shares: Vec<Share>,
    pub(super) rollout: RolloutPhase,
    pub(super) reason: String,
}

impl Draft {
    /// What an endpoint begins with of which nobody has ever spoken: what is claimed, within the bounds.
    pub(super) fn opening(scene: &Scene<'_>, record: &EndpointRecord) -> Self {
        let replicas = Desired::of(scene, record).total();
        let min = record.endpoint.spec.replicas.min;
        Self {
            version: record.version,
            shares: vec![Share { revision: record.revision, replicas, weight: 100 }],
            rollout: RolloutPhase::Complete,
            reason: if replicas > min { "so many were there".to_owned() } else { format!("replicas.min is {min}") },
        }
    }

    /// Whether it says the same as `mandate`, whatever write of the spec that was made for.
    pub(super) fn says(&self, mandate: &Mandate) -> bool {
        self.shares == mandate.shares && self.rollout == mandate.rollout && self.reason == mandate.reason
    }
}

impl From<&Mandate> for Draft {
    fn from(mandate: &Mandate) -> Self {
        Self {
            version: mandate.version,
            shares: mandate.shares.clone(),
            rollout: mandate.rollout,
            reason: mandate.reason.clone(),
        }
    }
}

/// How many replicas `mandate` wants of what it rolls out and what it replaces together. What was rejected does not
/// count.
pub(super) fn total(mandate: &Mandate) -> u32 {
    match mandate.rollout {
        RolloutPhase::RolledBack => mandate.shares.first().map_or(0, |share| share.replicas),
        RolloutPhase::Complete | RolloutPhase::Progressing { .. } | RolloutPhase::Paused { .. } => mandate.total(),
    }
}
