//! A client's request that has no answer yet.

use std::{sync::Arc, time::Duration};

use shoal_types::KeyId;
use tokio::time::Instant;

use crate::{
    admission::Admitted,
    caller::Caller,
    choose::Affinity,
    demand::Tally,
    holding::Asker,
    records::Trail,
    routes::{Route, Wanted},
    upstream::Outgoing,
};

/// Bytes of a body per token of a prompt, about: English text in JSON.
const BYTES_PER_TOKEN: usize = 4;
/// What an answer is taken for, in tokens. What clients allow for one is mostly far more than what comes.
const ANSWER: usize = 256;

/// A client's request that has no answer yet, and all that is needed to get it one.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Who asks.
    pub(crate) caller: Caller,
    pub(crate) wanted: Wanted,
    /// The route that it was found by, as it was then.
    pub(crate) route: Arc<Route>,
    /// The client reads events.
    pub(crate) stream: bool,
    /// Replicas may come where there are none.
    pub(crate) may_wake: bool,
    pub(crate) outgoing: Outgoing,
    /// What draws it to a replica.
    pub(crate) affinity: Affinity,
    /// The endpoint's timeout, and when it has passed.
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    pub(crate) tally: Arc<Tally>,
    /// Where it is noted who is chosen, and why.
    pub(crate) trail: Arc<Trail>,
    /// The client reads trailers.
    pub(crate) trailers: bool,
    /// Its share of the bodies that may be held.
    pub(crate) _room: Admitted,
}

impl Pending {
    /// What it asks of a queue.
    pub(crate) fn asker(&self) -> Asker<Option<KeyId>> {
        let Caller { key, priority, weight } = self.caller;
        let cost = self.outgoing.body.len() / BYTES_PER_TOKEN + ANSWER;
        Asker { caller: key, priority, weight, cost: u32::try_from(cost).unwrap_or(u32::MAX) }
    }
}
