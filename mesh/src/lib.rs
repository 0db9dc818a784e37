//! Everything nodes say to each other.
//!
//! A [`Mesh`] is this node's membership: it publishes the node's own facts, shows what is known of all as one
//! [`View`](shoal_types::View), keeps the replicated specs ([`Store`]) and opens [`Stream`]s to other nodes. Before there
//! is one, [`init_mesh`] or [`join`] give the host its [`Identity`].

pub mod clock;
#[cfg(test)]
mod fixture;
mod gossip;
pub mod identity;
#[cfg(test)]
#[path = "../../tests/golden/kept.rs"]
mod kept;
mod mesh;
mod store;
pub mod transport;

pub use gossip::{GossipError, remember_peers};
pub use identity::{
    Identity, IdentityError, Issuer, IssuerGrant, IssuerRequest, JoinRefusal, JoinToken, RootKey, Succession,
    TokenError, TokenId, TokenLimits, init_mesh, init_mesh_again,
};
pub use mesh::{Mesh, MeshConfig, MeshError, NewKey};
pub use store::{
    Applied, Backup, BackupError, Keys, Origin, RestoreOptions, RestoreOutcome, Restored, Store, StoreError,
    TokenGrant, TokenStatus,
};
pub use transport::{
    FrameError, InboundStream, JoinError, Joined, OpenError, PeerStatus, RecvStream, SendStream, Stream, StreamKind,
    TransportError, join,
};
