//! A client's request that has no answer yet.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    admission::Admitted,
    caller::Caller,
    choose::Affinity,
    demand::Tally,
    records::Trail,
    routes::{Route, Wanted},
    upstream::Outgoing,
};

/// A client's request that has no answer yet, and all that is needed to get it one.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Who asks; a queue goes by it.
    #[allow(dead_code)]
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
