//! Why this node cannot take part, or do what was asked of it.

use std::{io, path::PathBuf};

use shoal_types::NodeId;

use crate::{gossip::GossipError, identity::IdentityError, store::StoreError, transport::TransportError};

/// See the variants.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The state directory cannot be used.
    #[error("cannot write to the state directory {}: {source}", .directory.display())]
    State {
        /// Which.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The port or its certificates.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Gossip.
    #[error(transparent)]
    Gossip(#[from] GossipError),
    /// The identity's part in a token.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Tokens are made where they are used.
    #[error("node {node} is not an issuer: make tokens at a node that is (`shoal nodes` shows which are)")]
    NotAnIssuer {
        /// This node.
        node: NodeId,
    },
    /// A node cannot throw itself out.
    #[error("a node does not revoke itself: stop it, or revoke it at another node")]
    OwnNode,
    /// This node was thrown out.
    #[error("node {node} was revoked: to take part again, remove its state directory and join as a new node")]
    Revoked {
        /// This node.
        node: NodeId,
    },
}
