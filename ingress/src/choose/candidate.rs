//! What is known of a replica at the moment of choosing.

use std::time::Duration;

use super::cost::Cost;

/// What is known of a replica at the moment of choosing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Where it stands among the replicas of its route.
    pub(crate) position: usize,
    /// Index of its revision among the weights; one beyond them has no weight.
    pub(crate) revision: usize,
    /// An engine on this node.
    pub(crate) local: bool,
    /// It, or its node, failed a moment ago.
    pub(crate) suspect: bool,
    /// This request has been at it already.
    pub(crate) tried: bool,
    /// Requests that it has from here.
    pub(crate) own: u32,
    /// What it has to do.
    pub(crate) burden: Burden,
    /// How many requests it may have from here, if that is more than it has.
    pub(crate) limit: Option<u32>,
    /// How long it will be busy with prompts that this ingress has sent it.
    pub(crate) backlog: Cost,
    /// How many of the prompt's blocks it is believed to have.
    pub(crate) held: usize,
    /// What the way to it costs.
    pub(crate) distance: Cost,
    /// What it costs to be there rather than at the cheapest, as time.
    pub(crate) price: Cost,
    /// By which it is a prompt's home or not.
    pub(crate) key: u64,
}

/// What a replica has to do, and how well that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Burden {
    /// It runs here, or has just said so.
    Fresh(Requests),
    /// Gossip said so, and that it has reached this node is so long ago.
    Stale(Requests, Duration),
    /// It has not been heard of; so many requests it has from here.
    Unknown(u32),
}

/// Requests of one replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// All, those from here included.
    pub(crate) all: u32,
    /// Of those, such as its engine has not begun with.
    pub(crate) waiting: u32,
}

#[cfg(test)]
impl Default for Candidate {
    fn default() -> Self {
        Self {
            position: 0,
            revision: 0,
            local: false,
            suspect: false,
            tried: false,
            own: 0,
            burden: Burden::Unknown(0),
            limit: Some(u32::MAX),
            backlog: Cost::ZERO,
            held: 0,
            distance: Cost::ZERO,
            price: Cost::ZERO,
            key: 0,
        }
    }
}
