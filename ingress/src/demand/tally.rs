//! What is counted of one endpoint.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use shoal_types::{Demand, EndpointName, Load, Revision};
use tokio::time::Instant;

use super::{outcomes::Outcomes, ring::Ring};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What clients of this ingress ask of one endpoint. Counting what passes takes no lock; how an attempt went takes a short
/// one.
#[derive(Debug)]
pub(crate) struct Tally {
    since: Instant,
    /// Requests that are here, the held ones included.
    present: AtomicU32,
    held: AtomicU32,
    arrivals: Ring<60>,
    tokens: Ring<60>,
    hour: Ring<60>,
    outcomes: Mutex<Outcomes>,
}

impl Tally {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            since,
            present: AtomicU32::new(0),
            held: AtomicU32::new(0),
            arrivals: Ring::new(SECOND),
            tokens: Ring::new(SECOND),
            hour: Ring::new(MINUTE),
            outcomes: Mutex::default(),
        }
    }

    /// One more request is held.
    pub(crate) fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is no longer held.
    pub(crate) fn release(&self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that are held: they wait for a replica, or for room at one.
    pub(crate) fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    /// A replica of `revision` began to answer with `status`; a stream had its first token after `ttft`.
    pub(crate) fn answered(&self, revision: Revision, status: StatusCode, ttft: Option<Duration>, now: Instant) {
        self.outcomes().record(revision, now - self.since, |span| {
            span.requests = span.requests.saturating_add(1);
            span.failed = span.failed.saturating_add(status.is_server_error().into());
            if let Some(ttft) = ttft {
                span.ttft.record(ttft);
            }
        });
    }

    /// A replica of `revision` gave no answer.
    pub(crate) fn failed(&self, revision: Revision, now: Instant) {
        self.outcomes().record(revision, now - self.since, |span| {
            span.requests = span.requests.saturating_add(1);
            span.failed = span.failed.saturating_add(1);
        });
    }

    /// A replica of `revision` broke off an answer that had begun, and was counted then.
    fn broke(&self, revision: Revision, now: Instant) {
        self.outcomes().record(revision, now - self.since, |span| span.failed = span.failed.saturating_add(1));
    }

    /// What there is to tell of `endpoint`; `None` if that is nothing.
    pub(super) fn demand(&self, endpoint: &EndpointName, now: Instant) -> Option<Demand> {
        let age = now - self.since;
        let held = self.held();
        let demand = Demand {
            endpoint: endpoint.clone(),
            inflight: Load::round_count(self.present.load(Ordering::Relaxed).saturating_sub(held)),
            held: Load::round_count(held),
            arrivals: Load::round_count(self.arrivals.sum(age)),
            tokens: Load::round_count(self.tokens.sum(age)),
            hourly: to_power_of_two(self.hour.sum(age)),
            outcomes: self.outcomes().told(age),
        };
        let Demand { inflight, held, arrivals, tokens, hourly, .. } = demand;
        let is_nothing = [inflight, held, arrivals, tokens, hourly] == [0; 5] && demand.outcomes.is_empty();
        (!is_nothing).then_some(demand)
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The nearest power of two; 0 stays 0.
fn to_power_of_two(count: u32) -> u32 {
    let Some(log) = count.checked_ilog2() else { return 0 };
    let below = 1_u32 << log;
    if count - below < below.div_ceil(2) { below } else { below.checked_mul(2).unwrap_or(below) }
}

/// One request of a client, from its arrival to its end, which is when this is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    tally: Arc<Tally>,
    /// Whose answer it gets.
    revision: Option<Revision>,
}

impl Visit {
    /// A request that arrives at `now`.
    pub(crate) fn begin(tally: Arc<Tally>, now: Instant) -> Self {
        let age = now - tally.since;
        tally.present.fetch_add(1, Ordering::Relaxed);
        tally.arrivals.add(age, 1);
        tally.hour.add(age, 1);
        Self { tally, revision: None }
    }

    /// A replica of `revision` answers it.
    pub(crate) const fn answered_by(&mut self, revision: Revision) {
        self.revision = Some(revision);
    }

    /// `tokens` more were passed on at `now`.
    pub(crate) fn streamed(&self, tokens: u32, now: Instant) {
        self.tally.tokens.add(now - self.tally.since, tokens);
    }

    /// The replica broke its answer off.
    pub(crate) fn broke(&self, now: Instant) {
        if let Some(revision) = self.revision {
            self.tally.broke(revision, now);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.tally.present.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_counted_in_powers_of_two() {
        let rounded = [0, 1, 2, 3, 5, 6, 11, 12, 1_000, u32::MAX].map(to_power_of_two);
        assert_eq!(rounded, [0, 1, 2, 4, 4, 8, 8, 16, 1_024, 1 << 31]);
    }

    #[tokio::test(start_paused = true)]
    async fn demand_is_told_while_there_is_some_and_ends_in_silence() {
        let (start, endpoint) = (Instant::now(), "llama".parse().unwrap());
        let tally = Arc::new(Tally::new(start));
        assert_eq!(tally.demand(&endpoint, start), None);
        let visits: Vec<Visit> = (0..3).map(|_| Visit::begin(Arc::clone(&tally), start)).collect();
        tally.hold();
        tally.hold();
        visits[0].streamed(20, start);
        let demand = tally.demand(&endpoint, start).unwrap();
        assert_eq!((demand.inflight, demand.held, demand.arrivals, demand.tokens, demand.hourly), (1, 2, 3, 20, 4));
        drop(visits);
        tally.release();
        tally.release();
        let demand = tally.demand(&endpoint, start + MINUTE).unwrap();
        assert_eq!((demand.inflight, demand.held, demand.arrivals, demand.tokens, demand.hourly), (0, 0, 0, 0, 4));
        assert_eq!(tally.demand(&endpoint, start + 60 * MINUTE), None);
    }
}
