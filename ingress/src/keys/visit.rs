//! One request by a key.

use std::sync::Arc;

use tokio::time::Instant;

use super::Key;
use crate::usage::Usage;

/// One request that counts against the limits of its key, until [`Self::end`].
#[derive(Debug)]
#[must_use]
pub(crate) struct KeyVisit {
    key: Arc<Key>,
    /// Tokens that were counted as they passed.
    streamed: u32,
}

impl KeyVisit {
    pub(super) const fn new(key: Arc<Key>) -> Self {
        Self { key, streamed: 0 }
    }

    /// `tokens` more were passed on.
    pub(crate) fn streamed(&mut self, tokens: u32, now: Instant) {
        self.streamed = self.streamed.saturating_add(tokens);
        self.key.meter.streamed(tokens, now);
    }

    /// The request is over; it was for `endpoint`, if it came as far as that.
    pub(crate) fn end(self, endpoint: Option<&Arc<str>>, usage: Usage, now: Instant) {
        self.key.meter.leave(endpoint, usage, self.streamed, now);
    }
}
