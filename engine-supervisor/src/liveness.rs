//! Whether a ready engine lives, as a pure decision. `/health` does not tell: vLLM answers 200 while its worker hangs,
//! while it sleeps, and while it is paused.
//!
//! An engine whose tokens move lives. One whose tokens stand still is either idle or stuck, and is asked for a single
//! token, the canary: it lives if the canary is answered, and also if any token moves while the canary waits, since
//! the canary then only stands in a queue.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Timings, load::Pulse};

/// Why the canary got no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CanaryError {
    /// There is no answer by the deadline.
    Silent,
    /// The engine takes no further request for now.
    Busy(String),
    /// It answers something else, which a status of 200 may hide.
    Wrong(String),
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// Ask for a token.
    Ask,
    /// It does not live, for this reason.
    Dead(String),
}

/// What is known of the life of one engine.
#[derive(Debug)]
pub(crate) struct Liveness {
    idle: Duration,
    deadline: Duration,
    misses: u32,
    last: Pulse,
    /// It told of its tokens when it was last looked at.
    tells: bool,
    /// When it last was known to work.
    moved: Instant,
    asked: bool,
    /// Canaries in a row that went wrong.
    failed: u32,
}

impl Liveness {
    /// Of an engine that made a token at `now`.
    pub(crate) fn new(now: Instant, timings: &Timings) -> Self {
        Self {
            idle: timings.idle,
            deadline: timings.canary,
            misses: timings.misses,
            last: Pulse::default(),
            tells: false,
            moved: now,
            asked: false,
            failed: 0,
        }
    }

    /// Takes what a healthy engine says of itself.
    pub(crate) fn observe(&mut self, pulse: Pulse, now: Instant) -> Verdict {
        let seen_before = self.last.progress.is_some();
        if pulse.progress.is_some() && pulse.progress != self.last.progress && seen_before {
            self.works(now);
        }
        self.tells = pulse.progress.is_some();
        // What is not told this time is not forgotten.
        self.last = Pulse { progress: pulse.progress.or(self.last.progress), ..pulse };
        if self.asked || now < self.moved + self.idle {
            return Verdict::Fine;
        }
        self.asked = true;
        Verdict::Ask
    }

    /// Takes the answer to the canary.
    pub(crate) fn canary(&mut self, answer: Result<(), CanaryError>, now: Instant) -> Verdict {
        // A token moved while it was under way.
        if !std::mem::take(&mut self.asked) {
            return Verdict::Fine;
        }
        match answer {
            Ok(()) => {
                self.works(now);
                Verdict::Fine
            }
            Err(CanaryError::Silent) if self.tells => Verdict::Dead(self.silence(now)),
            // Of an engine that does not tell of its tokens, or does not at the moment, a full queue looks the same.
            Err(CanaryError::Silent) => self.miss(|this| this.silence(now)),
            Err(CanaryError::Busy(_)) if !self.tells => {
                self.works(now);
                Verdict::Fine
            }
            Err(CanaryError::Busy(answer) | CanaryError::Wrong(answer)) => {
                self.miss(|this| format!("{} one-token requests in a row went wrong, the last: {answer}", this.failed))
            }
        }
    }

    fn works(&mut self, now: Instant) {
        self.moved = now;
        self.asked = false;
        self.failed = 0;
    }

    fn miss(&mut self, reason: impl FnOnce(&Self) -> String) -> Verdict {
        self.failed += 1;
        if self.failed < self.misses { Verdict::Fine } else { Verdict::Dead(reason(self)) }
    }

    fn silence(&self, now: Instant) -> String {
        let count = |count: Option<u32>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        format!(
            "it hangs: no token for {} s, and one alone is not made within {} s ({} requests running, {} waiting)",
            now.duration_since(self.moved).as_secs(),
            self.deadline.as_secs_f32(),
            count(self.last.load.running),
            count(self.last.load.waiting)
        )
    }
}

#[cfg(test)]
mod tests;
