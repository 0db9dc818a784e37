//! QUIC between nodes: one UDP port, one connection per pair of nodes, streams by purpose, and joining.
//!
//! Not here: what is said. [`Transport`] carries streams and gossip messages of nodes that have proved who they are;
//! [`Inbound`] is where those of others arrive; [`join`] is how a host becomes a node.

mod accept;
mod attention;
mod config;
mod dial;
mod error;
mod gathering;
mod gossip;
mod handle;
mod inbound;
mod join;
mod link;
mod peer;
mod pool;
mod pulse;
mod receive;
mod renewal;
mod silence;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

pub use config::{SOCKET_BUFFER, TransportConfig};
pub use error::{Attempts, FrameError, OpenError, RenewError, TransportError};
pub use gossip::GOSSIP_MAX;
pub use handle::Transport;
pub use inbound::{Inbound, InboundStream};
pub use join::{JoinError, Joined, join};
pub use pool::{Admission, Exclusion, PeerStatus};
pub use stream::{RecvStream, SendStream, Stream, StreamKind};
