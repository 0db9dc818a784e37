//! The choices of a request while it runs. Whoever chooses writes them, its account reads them at the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_types::ClaimId;
use tokio::time::Instant;

use super::{Decision, Evidence, Failed};
use crate::traces::{SpanId, TraceContext};

/// Most choices that are noted, the last one apart: a request is tried at up to eleven replicas, each time it was held.
const DECISIONS_MAX: usize = 8;

/// The choices that were made for one request.
#[derive(Debug)]
pub(crate) struct Trail {
    arrived: Instant,
    trace: Option<TraceContext>,
    decisions: Mutex<Vec<Decision>>,
}

impl Trail {
    /// That of a request that arrived at `arrived`.
    pub(crate) fn new(arrived: Instant, trace: Option<TraceContext>) -> Arc<Self> {
        Arc::new(Self { arrived, trace, decisions: Mutex::default() })
    }

    /// The request's trace, if it has one that is recorded.
    pub(crate) const fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    /// Notes what was decided from `began` to `now`, and by what. Returns the trace that the chosen one is to go on with.
    pub(crate) fn decided(&self, evidence: Evidence, began: Instant, now: Instant) -> Option<TraceContext> {
        let Evidence { why, held, considered, more, chosen } = evidence;
        let span = self.trace.filter(|_| chosen.is_some()).map(|trace| trace.child(SpanId::random()));
        self.push(Decision {
            after_us: micros(self.arrived, began),
            took_us: micros(began, now),
            why: why.into(),
            held: held as u64,
            considered,
            more,
            chosen,
            span: span.map(|trace| trace.span),
            ..Decision::default()
        });
        span
    }

    /// `claim`, which was chosen, began to answer at `now`.
    pub(crate) fn answered(&self, claim: ClaimId, now: Instant) {
        self.ended(claim, now, |_| {});
    }

    /// `claim`, which was chosen, gave no answer.
    pub(crate) fn failed(&self, claim: ClaimId, reason: &'static str, error: String, now: Instant) {
        self.ended(claim, now, |decision| decision.failed = Some(Failed { reason: reason.to_owned(), error }));
    }

    /// Of two that are asked at once, either can end first.
    fn ended(&self, claim: ClaimId, now: Instant, how: impl FnOnce(&mut Decision)) {
        let mut decisions = self.lock();
        let is_it = |decision: &&mut Decision| decision.chosen().is_some_and(|chosen| chosen.claim == claim);
        if let Some(decision) = decisions.iter_mut().rev().find(is_it) {
            decision.ended_us = Some(micros(self.arrived, now));
            how(decision);
        }
    }

    /// All choices so far; none are left.
    pub(crate) fn take(&self) -> Vec<Decision> {
        std::mem::take(&mut self.lock())
    }

    fn push(&self, decision: Decision) {
        let mut decisions = self.lock();
        let are_many = decisions.len() > DECISIONS_MAX;
        match decisions.last_mut() {
            // It waits, and looks again; or there are more than anybody reads.
            Some(last) if (last.chosen, decision.chosen) == (None, None) || are_many => *last = decision,
            Some(_) | None => {
                // Nearly all requests have one.
                decisions.reserve_exact(1);
                decisions.push(decision);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Decision>> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}
