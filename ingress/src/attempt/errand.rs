//! What is to be got from a replica, and which ones may give it.

use std::time::Duration;

use shoal_types::ClaimId;

use crate::{pending::Pending, routes::Route, upstream::Outgoing};

/// One thing to be got for a request: its answer, or the rest of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Errand<'a> {
    pub(crate) pending: &'a Pending,
    pub(crate) outgoing: &'a Outgoing,
    /// How long it has waited for room.
    pub(crate) queued: Duration,
    /// Set for the rest of an answer that another replica began.
    pub(crate) rest_of: Option<&'a Begun<'a>>,
}

/// An answer that a replica began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun<'a> {
    /// The model that it is by.
    pub(crate) model: &'a str,
    /// The replica that was lost.
    pub(crate) lost: ClaimId,
    /// Only engines that go on with a message of an assistant can give the rest.
    pub(crate) is_chat: bool,
}

impl Begun<'_> {
    /// Whether replicas of the revision with this index in `route` can give the rest. Rule 10: it comes from the model that
    /// began it.
    pub(crate) fn may_go_on_with(&self, route: &Route, revision: usize) -> bool {
        let revision = route.revisions.get(revision);
        revision.is_some_and(|revision| revision.model == self.model && (revision.continues_messages || !self.is_chat))
    }
}
