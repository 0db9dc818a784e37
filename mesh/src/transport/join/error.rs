//! Why a host did not join, and what to do.

use std::{io, net::SocketAddr};

use shoal_types::{MeshId, NodeId};

use crate::{
    clock::Skew,
    identity::{CertificateError, IdentityError, JoinRefusal},
    transport::Attempts,
};

/// Why a host did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The identity directory: in use already, not writable, or what the issuer gave does not fit.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No socket to dial from.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[source] io::Error),
    /// Nobody answered.
    #[error(
        "no member of the mesh can be reached ({attempts}): check the addresses, and that UDP to the mesh port is open"
    )]
    Unreachable {
        /// What was tried.
        attempts: Attempts,
    },
    /// A member of another mesh answered; it was told nothing.
    #[error("the node at {address} is of mesh {found}, the token of mesh {expected}: wrong address, or wrong token")]
    OtherMesh {
        /// Who answered.
        address: SocketAddr,
        /// The token's mesh.
        expected: MeshId,
        /// Theirs.
        found: MeshId,
    },
    /// The certificate of the node that answered is not acceptable, though of the right mesh.
    #[error("the node at {address} shows a certificate that cannot be accepted: {error}")]
    BadCertificate {
        /// Who answered.
        address: SocketAddr,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// The two clocks differ by more than five minutes.
    #[error("this host's clock is {skew} that of the node at {address}: set the wrong one (with NTP, for example)")]
    ClockSkew {
        /// Whose clock it was compared with.
        address: SocketAddr,
        /// By how much.
        skew: Skew,
    },
    /// Members answered, but not the one that can admit with this token.
    #[error(
        "node {reached} answered, but only node {issuer}, which made the token, can admit with it: \
         start that node, or make a token on an issuer that runs ({attempts})"
    )]
    NotTheIssuer {
        /// Who answered.
        reached: NodeId,
        /// Who can.
        issuer: NodeId,
        /// What else was tried.
        attempts: Attempts,
    },
    /// The issuer says no.
    #[error("not admitted: {0}")]
    Refused(JoinRefusal),
}
