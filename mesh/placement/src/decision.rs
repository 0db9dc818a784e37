//! What a node should do now, and when to ask again.

use std::fmt;

use shoal_types::{ClaimId, EndpointName, NodeId, Revision, UnixMillis};

/// What one step decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What to do, in this order. An action is repeated by later steps until the view shows that it was done.
    pub actions: Vec<Action>,
    /// The earliest instant at which time alone may change the decision; `None` if only another view can.
    pub wake: Option<UnixMillis>,
}

impl Decision {
    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Asks to be stepped again at `at`, or earlier if something else asks for that.
    pub(crate) fn wake_at(&mut self, at: UnixMillis) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// One thing that a node should do with its own replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Reserve GPUs and publish a claim in state `Claimed`. The claim must be in the view of the next step: it is what
    /// keeps that step from claiming again. A node that cannot or will not do it publishes a refusal instead.
    Claim {
        /// Of which endpoint.
        endpoint: EndpointName,
        /// Which processes.
        revision: Revision,
        /// GPUs that one replica takes; [`crate::fits`] tells which.
        gpus: u32,
    },
    /// The claim has settled: start its engine.
    Start(ClaimId),
    /// A replica is missing and this one sleeps: wake it, and publish that it is on its way.
    Wake(ClaimId),
    /// Give up a claim that does not serve, at once.
    Withdraw {
        /// Which.
        claim: ClaimId,
        /// Why.
        reason: WithdrawReason,
    },
    /// Stop serving, once each of `confirm` has said that it serves.
    ///
    /// Views differ for moments, so two replicas could each believe that the other stays. That cannot become a drain:
    /// the caller marks its claim as *asking*, asks every one of `confirm` directly (with a deadline), and answers such
    /// questions with yes only for a claim that is `Ready` and not itself asking. Of two that ask each other, both hear
    /// no, and neither goes. If any answer is not yes the caller unmarks the claim and does nothing; the action comes
    /// again after another settle time. With nobody to confirm, it drains at once.
    Drain {
        /// Which.
        claim: ClaimId,
        /// Why.
        reason: DrainReason,
        /// The replicas that serve in its place.
        confirm: Vec<(NodeId, ClaimId)>,
    },
    /// A replica that serves should be replaced elsewhere, and then go (rule 7): publish its claim as leaving, with the
    /// reason, which makes others claim a replacement and lets it drain once that serves.
    ///
    /// It holds as long as it is repeated. A claim that leaves for this alone and of which a step says nothing any
    /// more stays: publish it as not leaving.
    Move {
        /// Which.
        claim: ClaimId,
        /// Why.
        reason: MoveReason,
    },
}

/// Why a replica that serves well is to be replaced elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveReason {
    /// A larger replica finds no place, and this one has another.
    Defragment {
        /// Whose larger replica.
        for_endpoint: EndpointName,
    },
    /// There is room where it costs clearly less.
    Rebalance {
        /// For example there.
        to: NodeId,
    },
}

impl fmt::Display for MoveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defragment { for_endpoint } => {
                write!(f, "it moves to make room for a larger replica of `{for_endpoint}`")
            }
            Self::Rebalance { to } => write!(f, "it moves to where it costs less, such as {}", to.short()),
        }
    }
}

/// Why a claim that does not serve is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithdrawReason {
    /// Enough claims are before it.
    Surplus,
    /// The endpoint has another revision.
    Superseded,
    /// The own node leaves.
    Departing,
    /// It was marked as one that is to go.
    Leaving,
    /// The endpoint was deleted, or wants no replica.
    Unwanted,
    /// An endpoint of higher priority takes its place.
    Preempted {
        /// Which.
        by: EndpointName,
    },
}

impl fmt::Display for WithdrawReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Surplus => "enough other replicas are before it",
            Self::Superseded => "the endpoint has a new revision",
            Self::Departing => "its node is leaving",
            Self::Leaving => "it must leave its GPUs",
            Self::Unwanted => "the endpoint wants no replicas",
            Self::Preempted { by } => return write_preempted(f, by),
        })
    }
}

fn write_preempted(f: &mut fmt::Formatter<'_>, by: &EndpointName) -> fmt::Result {
    write!(f, "`{by}` has a higher priority and takes its place")
}

/// Why a replica that serves is drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainReason {
    /// Enough ready replicas are before it.
    Surplus,
    /// Enough replicas serve without it, and another revision is to have its place.
    Superseded,
    /// The own node leaves, and enough others serve.
    Departing,
    /// It was marked as one that is to go, and enough others serve.
    Leaving,
    /// The own node leaves now, whoever else serves.
    Deadline,
    /// The endpoint was deleted, or may not have any replica.
    Unwanted,
    /// Nobody has asked for the endpoint for a while: it may have replicas again, but wants none now.
    Idle,
    /// An endpoint of higher priority takes its place.
    Preempted {
        /// Which.
        by: EndpointName,
    },
}

impl fmt::Display for DrainReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Surplus => "enough other replicas serve",
            Self::Superseded => "replicas of the new revision serve",
            Self::Departing => "its node is leaving and other replicas serve",
            Self::Leaving => "it must leave its GPUs and other replicas serve",
            Self::Deadline => "its node leaves now",
            Self::Unwanted => "the endpoint wants no replicas",
            Self::Idle => "nobody asks for the endpoint",
            Self::Preempted { by } => return write_preempted(f, by),
        })
    }
}
