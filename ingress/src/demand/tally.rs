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
use crate::metrics::Series;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Second attempts that an endpoint has in a minute, whatever is asked of it: what one engine may have had at once when it
/// died. Beyond them, a fifth of the requests of that minute, as linkerd has it: then an outage makes the load a fifth
/// larger and not three times as large.
const RETRIES_MIN: u32 = 32;
const RETRIES_SHARE: u32 = 5;
/// Streams that must have begun before it is said what is slow.
const BEGUN_MIN: u64 = 20;
/// The share of streams that begin sooner than a slow one.
const SLOW: f64 = 0.95;

/// What clients of this ingress ask of one endpoint. Counting what passes takes no lock; how an attempt went takes a short
/// one.
#[derive(Debug)]
pub(crate) struct Tally {
    since: Instant,
    /// Requests that are here, the held ones included.
    present: AtomicU32,
    held: AtomicU32,
    arrivals: Ring<60>,
    retries: Ring<60>,
    tokens: Ring<60>,
    hour: Ring<60>,
    outcomes: Mutex<Outcomes>,
    series: Series,
}

impl Tally {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            since,
            present: AtomicU32::new(0),
            held: AtomicU32::new(0),
            arrivals: Ring::new(SECOND),
            retries: Ring::new(SECOND),
            tokens: Ring::new(SECOND),
            hour: Ring::new(MINUTE),
            outcomes: Mutex::default(),
            series: Series::new(),
        }
    }

    /// What Prometheus is told of the endpoint.
    pub(crate) const fn series(&self) -> &Series {
        &self.series
    }

    /// Requests that are here, the held ones included.
    pub(crate) fn present(&self) -> u32 {
        self.present.load(Ordering::Relaxed)
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

    /// Whether one of the requests may be tried once more at `now`; if so, that is counted.
    pub(crate) fn may_retry(&self, now: Instant) -> bool {
        let age = now - self.since;
        let may = is_within_budget(self.arrivals.sum(age), self.retries.sum(age));
        if may {
            self.retries.add(age, 1);
        }
        may
    }

    /// After how long without a first token a stream is slow, as far as that is known at `now`.
    pub(crate) fn slow_after(&self, now: Instant) -> Option<Duration> {
        let ttft = self.outcomes().ttft(now - self.since);
        (ttft.count() >= BEGUN_MIN).then(|| ttft.quantile(SLOW)).flatten()
    }

    /// What there is to tell of `endpoint`; `None` if that is nothing.
    pub(super) fn demand(&self, endpoint: &EndpointName, now: Instant) -> Option<Demand> {
        let age = now - self.since;
        let held = self.held();
        let demand = Demand {
            endpoint: endpoint.clone(),
            inflight: Load::round_count(self.present().saturating_sub(held)),
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

/// Whether one more is not too many, where in a minute `requests` came and `retries` were tried again.
const fn is_within_budget(requests: u32, retries: u32) -> bool {
    retries < RETRIES_MIN.saturating_add(requests / RETRIES_SHARE)
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

    /// What Prometheus is told of its endpoint.
    pub(crate) fn series(&self) -> &Series {
        &self.tally.series
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Rule 9: however many fail, second attempts stay a fifth of the requests and a constant.
        #[test]
        fn rule_9_retries_are_a_share_of_requests(events in prop::collection::vec(any::<bool>(), 0..2_000)) {
            let (mut requests, mut retries) = (0, 0);
            for is_request in events {
                if is_request {
                    requests += 1;
                } else if is_within_budget(requests, retries) {
                    retries += 1;
                }
                prop_assert!(retries <= RETRIES_MIN + requests / RETRIES_SHARE);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_counted_for_a_minute() {
        let start = Instant::now();
        let tally = Tally::new(start);
        let granted = |now| (0..1_000).filter(|_| tally.may_retry(now)).count();
        assert_eq!(granted(start), RETRIES_MIN as usize);
        tally.arrivals.add(Duration::ZERO, 100);
        assert_eq!(granted(start), 20);
        assert_eq!(granted(start + MINUTE), RETRIES_MIN as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_slow_is_known_from_enough_streams() {
        let start = Instant::now();
        let tally = Tally::new(start);
        let revision = Revision(shoal_types::Hlc {
            time: shoal_types::UnixMillis::from_millis(1),
            counter: 0,
            node: shoal_types::NodeId::from_bytes([1; 16]),
        });
        for _ in 1..BEGUN_MIN {
            tally.answered(revision, StatusCode::OK, Some(Duration::from_millis(30)), start);
        }
        assert_eq!(tally.slow_after(start), None);
        tally.answered(revision, StatusCode::OK, Some(Duration::from_millis(30)), start);
        let slow = tally.slow_after(start).unwrap();
        assert!(slow > Duration::from_millis(25) && slow < Duration::from_millis(45), "{slow:?}");
    }

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
