//! Why one replica gave no answer. Each of these leads to another replica, because nothing of an answer had been
//! passed on.

use std::time::Duration;

use http::StatusCode;
use shoal_types::{ClaimId, NodeId};

use crate::{
    circuits::{Blow, Suspect},
    tunnel::{DialError, FrameError, NotServing},
    upstream::EngineError,
};

/// Why an attempt failed before the first byte of an answer was passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("its node cannot be reached: {0}")]
    Unreachable(#[from] DialError),
    #[error("its node could not be reached within {0:?}")]
    DialTimeout(Duration),
    #[error("its node did not take the request within {0:?}")]
    NotAccepted(Duration),
    #[error("the stream to its node broke: {0}")]
    Tunnel(#[from] FrameError),
    #[error("its node does not serve it: {0}")]
    NotServing(NotServing),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("its node reports: {0}")]
    RemoteEngine(String),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its stream began with an error: {0}")]
    ErrorEvent(String),
    #[error("its stream ended without a token")]
    NoTokens,
    #[error("its stream broke before the first token: {0}")]
    BrokeOff(String),
}

impl Failure {
    /// The word in metrics.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::DialTimeout(_) => "unreachable",
            Self::NotAccepted(_) => "not-accepted",
            Self::Tunnel(_) => "tunnel",
            Self::NotServing(_) => "not-serving",
            Self::Engine(_) | Self::RemoteEngine(_) => "engine",
            Self::Status(_) => "status",
            Self::ErrorEvent(_) => "error-event",
            Self::NoTokens => "no-tokens",
            Self::BrokeOff(_) => "broke-off",
        }
    }

    /// Whom to avoid for a while, and how sure that is.
    pub(crate) fn suspect(&self, node: NodeId, claim: ClaimId) -> Option<(Suspect, Blow)> {
        match self {
            Self::Unreachable(_) | Self::DialTimeout(_) | Self::NotAccepted(_) => {
                Some((Suspect::Node(node), Blow::Hard))
            }
            Self::Tunnel(error) if error.is_by_the_other_end() => Some((Suspect::Replica(claim), Blow::Soft)),
            Self::Tunnel(_) => Some((Suspect::Node(node), Blow::Hard)),
            // The request is at fault.
            Self::NotServing(NotServing::Hops) => None,
            // Full is not broken: it is believed for a while, and asked again.
            Self::NotServing(NotServing::Full) => None,
            Self::NotServing(_) | Self::Engine(_) | Self::RemoteEngine(_) => {
                Some((Suspect::Replica(claim), Blow::Hard))
            }
            Self::ErrorEvent(_) | Self::NoTokens | Self::BrokeOff(_) => Some((Suspect::Replica(claim), Blow::Soft)),
            // A full engine is not a broken one: its load says so soon enough.
            Self::Status(_) => None,
        }
    }

    /// Whether the request has come through as many gateways as it may, or has found that out further on.
    pub(crate) fn is_loop(&self) -> bool {
        match self {
            Self::NotServing(reason) => *reason == NotServing::Hops,
            Self::Status(status) => *status == StatusCode::LOOP_DETECTED,
            Self::Unreachable(_)
            | Self::DialTimeout(_)
            | Self::NotAccepted(_)
            | Self::Tunnel(_)
            | Self::Engine(_)
            | Self::RemoteEngine(_)
            | Self::ErrorEvent(_)
            | Self::NoTokens
            | Self::BrokeOff(_) => false,
        }
    }

    /// Whether its node only sent the request on, without having touched an engine.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::NotServing(reason) if reason.is_passing())
    }

    /// Whether the replica is not there any more, or may go with its node.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::NotServing(reason) => *reason == NotServing::NoSuchReplica,
            Self::Unreachable(_) | Self::DialTimeout(_) | Self::NotAccepted(_) => true,
            Self::Tunnel(error) => !error.is_by_the_other_end(),
            Self::Engine(_)
            | Self::RemoteEngine(_)
            | Self::Status(_)
            | Self::ErrorEvent(_)
            | Self::NoTokens
            | Self::BrokeOff(_) => false,
        }
    }

    /// Whether the request was on its way to the engine when its node was lost.
    pub(crate) const fn may_have_begun(&self) -> bool {
        matches!(self, Self::NotAccepted(_) | Self::Tunnel(_))
    }

    /// Whether the replica is well, and only has no room.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::NotServing(reason) => *reason == NotServing::Full,
            Self::Status(_) => self.is_busy(),
            Self::Unreachable(_)
            | Self::DialTimeout(_)
            | Self::NotAccepted(_)
            | Self::Tunnel(_)
            | Self::Engine(_)
            | Self::RemoteEngine(_)
            | Self::ErrorEvent(_)
            | Self::NoTokens
            | Self::BrokeOff(_) => false,
        }
    }

    /// Whether the replica is well, and only has no room or is about to leave.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::NotServing(reason) => reason.is_passing(),
            Self::Status(status) => {
                *status == StatusCode::TOO_MANY_REQUESTS || *status == StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unreachable(_)
            | Self::DialTimeout(_)
            | Self::NotAccepted(_)
            | Self::Tunnel(_)
            | Self::Engine(_)
            | Self::RemoteEngine(_)
            | Self::ErrorEvent(_)
            | Self::NoTokens
            | Self::BrokeOff(_) => false,
        }
    }

    /// Whether the replica failed. One that had no room, or whose node did not take the request, was not asked for an
    /// answer.
    pub(crate) fn is_replicas_fault(&self) -> bool {
        match self {
            Self::NotServing(_) => false,
            Self::Status(_) => !self.is_busy() && !self.is_loop(),
            Self::Unreachable(_)
            | Self::DialTimeout(_)
            | Self::NotAccepted(_)
            | Self::Tunnel(_)
            | Self::Engine(_)
            | Self::RemoteEngine(_)
            | Self::ErrorEvent(_)
            | Self::NoTokens
            | Self::BrokeOff(_) => true,
        }
    }
}
