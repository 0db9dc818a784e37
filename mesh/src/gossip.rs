//! What nodes tell each other all the time: chitchat over the mesh's own transport, and the view made of it.
//!
//! Every key has one writer, the node it is about (DESIGN rule 1). [`Gossip`] owns one task that keeps this node's own
//! keys, watches chitchat, restarts it if a message makes it panic, and folds what was heard into one
//! [`View`](shoal_types::View) after another. Members are trusted with gossip content: chitchat does not authenticate
//! origins, the transport authenticates neighbours.

mod actor;
mod address;
mod backoff;
mod fold;
mod goodbye;
mod handle;
mod incarnations;
mod key;
mod known;
mod peers;
mod presence;
mod protocol;
mod roster;
mod said;
mod state_file;
mod wire;

#[cfg(test)]
mod tests;

pub use handle::GossipError;
pub(crate) use handle::{Gossip, GossipConfig, GossipParts};
pub(crate) use key::Key;
pub use peers::remember_peers;
pub(crate) use state_file::next_generation;
pub(crate) use wire::Link;
