//! What has been tried for a request, and how it went.

use std::fmt;

use shoal_types::{ClaimId, Revision};

use crate::{failure::Failure, holding::Called, routes::ReplicaRef};

/// Replicas that may fail one request, each once: more would turn an outage into a flood.
const ATTEMPTS_MAX: usize = 3;
/// Replicas that may send it on besides, because they are about to leave: that costs them nothing, and a node that drains
/// has several at once.
const REFUSALS_MAX: usize = 8;

/// The replicas that failed a request, in order.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    failed: Vec<Attempt>,
}

/// How far a request has come.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) tried: Tried,
    /// Which replica is being tried.
    pub(super) current: Option<(ClaimId, Revision)>,
    /// Leave to ask a replica, until one has been looked for.
    pub(super) called: Option<Called>,
    /// None of the replicas that were left had room.
    pub(super) found_no_room: bool,
    /// Another one would have been tried, if not so many others had been already.
    pub(super) is_over_budget: bool,
}

#[derive(Debug)]
struct Attempt {
    name: String,
    replica: ReplicaRef,
    failure: Failure,
}

impl Tried {
    pub(crate) const fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// `replica`, which is called `name`, gave no answer.
    pub(super) fn add(&mut self, name: String, replica: ReplicaRef, failure: Failure) {
        self.failed.push(Attempt { name, replica, failure });
    }

    /// Whether no further replica is tried.
    pub(super) fn is_exhausted(&self) -> bool {
        let refusals = self.failed.iter().filter(|attempt| attempt.failure.is_refusal()).count();
        refusals >= REFUSALS_MAX || self.failed.len() - refusals >= ATTEMPTS_MAX
    }

    /// Whether the next attempt is one more than the request was to cost.
    pub(super) fn costs(&self) -> bool {
        self.failed.last().is_some_and(|attempt| !attempt.failure.is_refusal())
    }

    pub(crate) fn contains(&self, claim: ClaimId) -> bool {
        self.failed.iter().any(|attempt| attempt.replica.claim == claim)
    }

    pub(super) fn all_loops(&self) -> bool {
        self.failed.iter().all(|attempt| attempt.failure.is_loop())
    }

    /// Whether there was none but such as have ended, or sleep, or whose node cannot be reached.
    pub(crate) fn all_gone(&self) -> bool {
        self.failed.iter().all(|attempt| attempt.failure.is_gone())
    }

    /// Those that may have begun with the request before they were lost.
    pub(crate) fn lost(mut self) -> Self {
        self.failed.retain(|attempt| attempt.failure.may_have_begun());
        self
    }

    /// Whether one of them is well and only had no room.
    pub(crate) fn is_any_full(&self) -> bool {
        self.failed.iter().any(|attempt| attempt.failure.is_full())
    }

    pub(super) fn all_busy(&self) -> bool {
        self.failed.iter().all(|attempt| attempt.failure.is_busy())
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Attempt { name, replica, failure }) in self.failed.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{name} on node {}: {failure}", replica.node.short())?;
        }
        Ok(())
    }
}
