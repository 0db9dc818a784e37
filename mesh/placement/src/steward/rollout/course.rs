//! Where a rollout stands.

use shoal_types::{Revision, RolloutPhase, Share, UnixMillis};

/// The two revisions of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// What comes.
    pub(super) new: Revision,
    /// What goes.
    pub(super) old: Revision,
}

/// Where a rollout stands: what shares and phase of a mandate say together, in a form that cannot contradict itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// There is one revision.
    Settled { only: Revision },
    /// The new revision takes over, at `step`; all of that step serve since `ready`.
    Underway { pair: Pair, step: u8, ready: Option<UnixMillis> },
    /// It stands still with so many replicas of each.
    Halted { pair: Pair, step: u8, new: u32, old: u32 },
    /// The old revision has everything back.
    Withdrawn { good: Revision, rejected: Revision },
}

impl Course {
    /// What a mandate of `shares` and `phase` says. `None` if it speaks of no revision.
    pub(super) fn of(shares: &[Share], phase: RolloutPhase) -> Option<Self> {
        let first = shares.first()?;
        let Some(second) = shares.get(1) else { return Some(Self::Settled { only: first.revision }) };
        let pair = Pair { new: first.revision, old: second.revision };
        Some(match phase {
            RolloutPhase::Complete => Self::Settled { only: first.revision },
            RolloutPhase::Progressing { step, ready } => Self::Underway { pair, step, ready },
            RolloutPhase::Paused { step } => Self::Halted { pair, step, new: first.replicas, old: second.replicas },
            RolloutPhase::RolledBack => Self::Withdrawn { good: first.revision, rejected: second.revision },
        })
    }

    /// How far that is.
    pub(super) const fn phase(self) -> RolloutPhase {
        match self {
            Self::Settled { .. } => RolloutPhase::Complete,
            Self::Underway { step, ready, .. } => RolloutPhase::Progressing { step, ready },
            Self::Halted { step, .. } => RolloutPhase::Paused { step },
            Self::Withdrawn { .. } => RolloutPhase::RolledBack,
        }
    }
}
