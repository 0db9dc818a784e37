//! Joining over the network: a host without a certificate talks to an issuer.

mod client;
mod error;
mod pin;
mod server;

pub use client::{Joined, join};
pub use error::JoinError;

pub(super) use server::JoinServer;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use shoal_types::NodeId;

use crate::identity::{Admitted, JoinRefusal};

/// Label of the keying material that ties a request to its TLS session; the nonce is the context.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-shoal-join-v1";
/// No frame of this exchange comes near it.
const FRAME_LIMIT: usize = 64 * 1024;

/// The issuer's answer.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Admitted { admitted: Admitted, peers: Vec<(NodeId, Vec<SocketAddr>)> },
    Refused(JoinRefusal),
}
