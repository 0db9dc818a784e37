//! What the clients of this ingress ask for: counted here, published by the agent, read by the stewards of all nodes.

mod outcomes;
mod ring;
mod tallies;
mod tally;

pub(crate) use self::ring::Ring;
pub(crate) use tallies::Tallies;
pub(crate) use tally::{Tally, Visit};
