//! What is to be got from a replica, and which ones may give it.

use shoal_types::ClaimId;

use crate::{pending::Pending, routes::Route, upstream::Outgoing};

/// One thing to be got for a request: its answer, or the rest of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Errand<'a> {
    pub(crate) pending: &'a Pending,
    pub(crate) outgoing: &'a Outgoing,
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

impl Errand<'_> {
    /// Whether a replica of the revision with this index in `route` may give it. Rule 10: the rest of an answer comes from
    /// the model that began it.
    pub(super) fn may_go_to(&self, route: &Route, revision: usize) -> bool {
        let Some(begun) = self.rest_of else { return true };
        route
            .revisions
            .get(revision)
            .is_some_and(|revision| revision.model == begun.model && (revision.continues_messages || !begun.is_chat))
    }
}
