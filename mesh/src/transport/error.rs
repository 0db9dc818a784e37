//! What can go wrong between nodes, and how connections say why they end.

use std::{fmt, io, net::SocketAddr};

use quinn::VarInt;
use shoal_types::{NodeId, wire::WireError};

use super::Exclusion;
use crate::identity::IdentityError;

/// Why a connection was closed on purpose; the code of its CONNECTION_CLOSE frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseCode {
    /// The node stops.
    Shutdown,
    /// Both ends dialled at once; the other connection stays.
    Duplicate,
    /// No certificate, or not one of a node.
    Unauthenticated,
    /// The peer is no longer a member.
    Revoked,
    /// A join has been answered.
    Answered,
    /// What the peer proved itself with counts no more; a new connection may do better.
    Replaced,
    /// Nothing came from the peer while it was waited for. It hears of it if it lives on.
    Silent,
}

impl CloseCode {
    const ALL: [Self; 7] = [
        Self::Shutdown,
        Self::Duplicate,
        Self::Unauthenticated,
        Self::Revoked,
        Self::Answered,
        Self::Replaced,
        Self::Silent,
    ];

    pub(super) const fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Shutdown => 1,
            Self::Duplicate => 2,
            Self::Unauthenticated => 3,
            Self::Revoked => 4,
            Self::Answered => 5,
            Self::Replaced => 6,
            Self::Silent => 7,
        })
    }

    /// The code with which the peer closed, and its words.
    pub(super) fn of(error: &quinn::ConnectionError) -> Option<(Self, String)> {
        let quinn::ConnectionError::ApplicationClosed(close) = error else { return None };
        let code = Self::ALL.into_iter().find(|code| code.code() == close.error_code)?;
        Some((code, String::from_utf8_lossy(&close.reason).into_owned()))
    }
}

/// The addresses that were tried, and what came of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts(pub Vec<(SocketAddr, String)>);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing else was tried");
        }
        for (index, (address, outcome)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {outcome}")?;
        }
        Ok(())
    }
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The port could not be had.
    #[error("cannot listen on {listen}/udp: {source}; is another shoal running, or the address not of this host?")]
    Bind {
        /// Where to.
        listen: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The identity or the settings do not make a TLS configuration.
    #[error("cannot set up QUIC: {0}")]
    Setup(String),
}

/// Why no stream to a peer could be opened. Nothing was sent, so that the caller may try another peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Never heard of, or this node itself.
    #[error("no address of node {node} is known")]
    UnknownAddress {
        /// The peer.
        node: NodeId,
    },
    /// The peer is no member any more.
    #[error("node {node} is revoked")]
    Revoked {
        /// The peer.
        node: NodeId,
    },
    /// The peer has a valid certificate, and is kept out all the same.
    #[error("node {node} is kept out: {exclusion}")]
    Excluded {
        /// The peer.
        node: NodeId,
        /// Why.
        exclusion: Exclusion,
    },
    /// The peer hung up on this node and said why.
    #[error("node {node} refuses this node: {reason}")]
    Refused {
        /// The peer.
        node: NodeId,
        /// Its words.
        reason: String,
    },
    /// No address answered, or none with that node's certificate.
    #[error("cannot reach node {node}: {attempts}")]
    Unreachable {
        /// The peer.
        node: NodeId,
        /// What was tried.
        attempts: Attempts,
    },
    /// As many streams are open as the peer allows.
    #[error("node {node} takes no more streams at the moment")]
    Busy {
        /// The peer.
        node: NodeId,
    },
    /// The connection broke while opening.
    #[error("lost node {node} while opening a stream: {reason}")]
    Lost {
        /// The peer.
        node: NodeId,
        /// What was seen.
        reason: String,
    },
    /// This node stops.
    #[error("this node is shutting down")]
    Closed,
}

/// Why no frame could be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed, was reset by the peer, or ended within a frame.
    #[error("stream broke within a frame: {0}")]
    Io(#[from] io::Error),
    /// The peer ended the stream cleanly between frames.
    #[error("the stream ended where a frame was expected")]
    Ended,
    /// Too large, damaged, or of another version.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Why the certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// No live peer can sign, nor can this node.
    #[error("no live issuer is known: start one, or the certificate will expire")]
    NoIssuer,
    /// The last issuer that was asked could not be, or said no.
    #[error("node {issuer} did not renew the certificate: {reason}")]
    Refused {
        /// Who was asked.
        issuer: NodeId,
        /// What it said.
        reason: String,
    },
    /// The new certificate could not be taken into use.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}
