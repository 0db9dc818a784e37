//! What is remembered of single requests: one record each, made at its end, and read by whoever asks why it
//! went where it did, and by the node's [`Observer`]: its access log, its traces.

mod decision;
mod recent;
mod record;
mod trail;

use std::sync::Arc;

use http::HeaderMap;
use shoal_types::UnixMillis;
use tokio::time::Instant;

use crate::{Hop, Observer, Telling, traces::TraceContext};

pub(crate) use self::{decision::Evidence, recent::Recent, trail::Trail};
pub use self::{
    decision::{Considered, Decision, Failed},
    record::{Outcome, RequestRecord, Tokens},
};

/// Where records go.
#[derive(Debug)]
pub(crate) struct Records {
    recent: Recent,
    telling: Telling,
}

impl Records {
    /// None yet, of requests that so many workers serve; what comes is told as `telling` says.
    pub(crate) fn new(workers: usize, telling: Telling) -> Self {
        Self { recent: Recent::new(workers), telling }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> UnixMillis {
        (self.telling.clock)()
    }

    /// The trace of a client's request with these headers, if it is to be recorded.
    pub(crate) fn trace(&self, headers: &HeaderMap) -> Option<TraceContext> {
        if self.telling.traces { TraceContext::of(headers, self.telling.sample) } else { None }
    }

    /// The trace of another node's request, if that one records it.
    pub(crate) fn trace_after(&self, headers: &HeaderMap) -> Option<TraceContext> {
        if self.telling.traces { TraceContext::after(headers) } else { None }
    }

    /// Takes the record of a request that has ended at `now`.
    pub(crate) fn add(&self, record: RequestRecord, now: Instant) {
        let record = Arc::new(record);
        if let Some(observer) = self.observer() {
            observer.request(&record);
        }
        self.recent.add(record, now);
    }

    /// Takes what happened at the far end of a tunnel.
    pub(crate) fn add_hop(&self, hop: Hop) {
        if let Some(observer) = self.observer() {
            observer.hop(hop);
        }
    }

    /// The latest requests with this id, the newest first.
    pub(crate) fn find(&self, id: &str) -> Vec<Arc<RequestRecord>> {
        self.recent.find(id)
    }

    /// The latest requests, the newest first, at most `limit`.
    pub(crate) fn latest(&self, limit: usize) -> Vec<Arc<RequestRecord>> {
        self.recent.latest(limit)
    }

    fn observer(&self) -> Option<&dyn Observer> {
        self.telling.observer.as_deref()
    }
}

#[cfg(test)]
mod tests;
