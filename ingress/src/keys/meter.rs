//! What one key uses at this ingress, and what it has used elsewhere.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use shoal_types::{KeyGrant, KeyUse, Load};
use tokio::time::Instant;

use super::{
    limit::{Excess, Limit, Used, reached},
    shown::Shown,
    usage::KeyCounts,
};
use crate::{demand::Ring, usage::Usage};

const SECOND: Duration = Duration::from_secs(1);
/// Seconds of a minute, over which rates are counted.
const MINUTE: u16 = 60;
/// When a key that has spent its day is told to come back: the ingress reads no wall clock, so it does not know midnight.
const DAY_RETRY: u16 = 3600;

/// Counts of one key. Tokens are counted as they pass, without a lock.
#[derive(Debug)]
pub(crate) struct Meter {
    since: Instant,
    requests: Ring<60>,
    tokens: Ring<60>,
    inflight: AtomicU32,
    /// Tokens of today, of all nodes: as they were told last, and what was used here since.
    today: AtomicU64,
    elsewhere: Mutex<KeyUse>,
    /// What was used since it was taken last, by endpoint.
    used: Mutex<HashMap<Arc<str>, KeyCounts>>,
    shown: Shown,
}

impl Meter {
    pub(super) fn new(shown: Shown, since: Instant) -> Self {
        Self {
            since,
            requests: Ring::new(SECOND),
            tokens: Ring::new(SECOND),
            inflight: AtomicU32::new(0),
            today: AtomicU64::new(0),
            elsewhere: Mutex::default(),
            used: Mutex::default(),
            shown,
        }
    }

    /// Lets one more request in, if it is within the limits of `grant`.
    pub(super) fn enter(&self, grant: &KeyGrant, now: Instant) -> Result<(), Excess> {
        if grant.is_limited() {
            // Held while it is counted, so that at one ingress a limit is exact.
            let elsewhere = self.elsewhere();
            if let Some((limit, allowed)) = reached(grant, self.used(now).and(&elsewhere)) {
                let retry_after = self.retry_after(limit, allowed, &elsewhere, now);
                self.shown.refused();
                return Err(Excess { limit, allowed, retry_after });
            }
            self.count(now);
        } else {
            self.count(now);
        }
        Ok(())
    }

    fn count(&self, now: Instant) {
        self.requests.add(now - self.since, 1);
        self.inflight.fetch_add(1, Ordering::Relaxed);
    }

    /// `tokens` more were passed on.
    pub(super) fn streamed(&self, tokens: u32, now: Instant) {
        self.tokens.add(now - self.since, tokens);
    }

    /// A request, of whose tokens `streamed` were counted already, is over. What it was for is not known of one that was
    /// refused.
    pub(super) fn leave(&self, endpoint: Option<&Arc<str>>, usage: Usage, streamed: u32, now: Instant) {
        self.inflight.fetch_sub(1, Ordering::Relaxed);
        let Usage { prompt, completion, cached, exact: _ } = usage;
        let tokens = prompt.saturating_add(completion);
        self.tokens.add(now - self.since, tokens.saturating_sub(streamed));
        self.today.fetch_add(tokens.into(), Ordering::Relaxed);
        self.shown.ended(prompt, completion);
        if let Some(endpoint) = endpoint {
            let counts =
                KeyCounts { requests: 1, prompt: prompt.into(), completion: completion.into(), cached: cached.into() };
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            match used.get_mut(endpoint) {
                Some(known) => known.add(&counts),
                None => drop(used.insert(Arc::clone(endpoint), counts)),
            }
        }
    }

    /// What was used since this was called last.
    pub(super) fn take(&self) -> HashMap<Arc<str>, KeyCounts> {
        std::mem::take(&mut self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What others should know of it, rounded.
    pub(super) fn told(&self, now: Instant) -> KeyUse {
        let Used { requests, tokens, inflight, today: _ } = self.used(now);
        let [requests, tokens, inflight] = [requests, tokens, inflight].map(Load::round_count);
        KeyUse { requests, tokens, inflight, ..KeyUse::default() }
    }

    /// Others have let `elsewhere` through, and `today` tokens were spent on all nodes.
    pub(super) fn hear(&self, elsewhere: KeyUse, today: u64) {
        *self.elsewhere() = elsewhere;
        self.today.store(today, Ordering::Relaxed);
    }

    /// Requests and tokens of the last minute, those elsewhere included.
    pub(super) fn minute(&self, now: Instant) -> (u32, u32) {
        let used = self.used(now).and(&self.elsewhere());
        (used.requests, used.tokens)
    }

    fn used(&self, now: Instant) -> Used {
        let age = now - self.since;
        Used {
            requests: self.requests.sum(age),
            tokens: self.tokens.sum(age),
            inflight: self.inflight.load(Ordering::Relaxed),
            today: self.today.load(Ordering::Relaxed),
        }
    }

    /// Seconds until there is room again, if nothing more comes: what is older than a minute by then no longer counts. Of
    /// what was used elsewhere it is not known when, so it is taken to have come evenly.
    fn retry_after(&self, limit: Limit, allowed: u64, elsewhere: &KeyUse, now: Instant) -> u16 {
        let (ring, others) = match limit {
            Limit::Requests => (&self.requests, elsewhere.requests),
            Limit::Tokens => (&self.tokens, elsewhere.tokens),
            Limit::Concurrency => return 1,
            Limit::Day => return DAY_RETRY,
        };
        let has_room = |wait: &u16| {
            let rest = MINUTE - wait;
            let here = u64::from(ring.sum_of_last(now - self.since, rest.into()));
            here + u64::from(others) * u64::from(rest) / u64::from(MINUTE) < allowed
        };
        (1..MINUTE).find(has_room).unwrap_or(MINUTE)
    }

    fn elsewhere(&self) -> MutexGuard<'_, KeyUse> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt: u32, completion: u32) -> Usage {
        Usage { prompt, completion, cached: 0, exact: true }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_exact_here_and_frees_as_the_minute_slides() {
        let start = Instant::now();
        let meter = Meter::new(Shown::default(), start);
        let grant = KeyGrant { requests_per_minute: Some(2), ..KeyGrant::default() };
        let at = |seconds| start + SECOND * seconds;
        assert!(meter.enter(&grant, at(0)).is_ok() && meter.enter(&grant, at(30)).is_ok());
        let excess = meter.enter(&grant, at(40)).unwrap_err();
        assert_eq!((excess.limit, excess.allowed, excess.retry_after), (Limit::Requests, 2, 20));
        assert!(meter.enter(&grant, at(59)).is_err());
        assert!(meter.enter(&grant, at(60)).is_ok());
        meter.hear(KeyUse { requests: 1, ..KeyUse::default() }, 0);
        assert!(meter.enter(&grant, at(90)).is_err(), "one here, one elsewhere");
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_counted_once_though_they_are_seen_as_they_pass_and_at_the_end() {
        let now = Instant::now();
        let meter = Meter::new(Shown::default(), now);
        let grant = KeyGrant { tokens_per_minute: Some(100), concurrency: Some(1), ..KeyGrant::default() };
        meter.enter(&grant, now).unwrap();
        assert_eq!(meter.enter(&grant, now).unwrap_err().limit, Limit::Concurrency);
        meter.streamed(40, now);
        meter.leave(Some(&"e".into()), usage(50, 49), 40, now);
        assert_eq!(meter.minute(now), (1, 99));
        meter.enter(&grant, now).unwrap();
        meter.leave(Some(&"e".into()), usage(1, 0), 0, now);
        assert_eq!(meter.enter(&grant, now).unwrap_err().limit, Limit::Tokens);
        let taken = meter.take();
        assert_eq!(taken["e"], KeyCounts { requests: 2, prompt: 51, completion: 49, cached: 0 });
        assert!(meter.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_is_spent_by_all_nodes_together() {
        let now = Instant::now();
        let meter = Meter::new(Shown::default(), now);
        let grant = KeyGrant { tokens_per_day: Some(1_000), ..KeyGrant::default() };
        meter.hear(KeyUse::default(), 990);
        meter.enter(&grant, now).unwrap();
        meter.leave(None, usage(5, 5), 0, now);
        assert_eq!(meter.enter(&grant, now).unwrap_err().limit, Limit::Day);
        meter.hear(KeyUse::default(), 0);
        assert!(meter.enter(&grant, now).is_ok(), "a new day");
    }
}
