//! Crashes, what follows them, and the end.

use std::time::Duration;

use shoal_types::stable_hash;
use tokio::time::Instant;

use super::{Action, Crash, Lifecycle, state::State};
use crate::FailureClass;

/// SIGKILL is sent again after this, to processes that were forked while the first was on its way.
pub(super) const KILL_AGAIN: Duration = Duration::from_secs(1);

impl Lifecycle {
    pub(super) fn exited(&mut self, crash: Crash, now: Instant) -> Option<Action> {
        match &mut self.state {
            State::Starting(_) | State::Warming(_) | State::Ready(_) | State::Waking | State::Dozing { wake: true } => {
                // What has served is not configured wrongly, whatever it says in the end.
                let is_blameless = self.served && crash.class == FailureClass::Config;
                let class = if is_blameless { FailureClass::Transient } else { crash.class };
                self.crash(Crash { class, ..crash }, now)
            }
            // Nobody needs it now; who does later loads it again, here or elsewhere.
            State::Dozing { wake: false } | State::Asleep { .. } => {
                self.state = State::Stopping { kill: now + KILL_AGAIN };
                Some(Action::Kill)
            }
            // Nothing is left to be finished without the leader, but its children may hold the GPUs for long.
            State::Stopping { kill } => {
                *kill = now + KILL_AGAIN;
                Some(Action::Kill)
            }
            State::Waiting { .. }
            | State::Preparing(_)
            | State::Held { .. }
            | State::Clearing { .. }
            | State::Failed { .. }
            | State::Gone => None,
        }
    }

    /// What has processes on that GPU ends now, even if it would answer for a while yet.
    pub(super) fn gpu_fault(&mut self, fault: String, now: Instant) -> Option<Action> {
        match &self.state {
            State::Starting(_)
            | State::Warming(_)
            | State::Ready(_)
            | State::Dozing { .. }
            | State::Asleep { .. }
            | State::Waking => {
                self.crash(Crash { reason: format!("its GPU failed: {fault}"), class: FailureClass::Gpu }, now)
            }
            State::Waiting { .. }
            | State::Preparing(_)
            | State::Held { .. }
            | State::Clearing { .. }
            | State::Failed { .. }
            | State::Stopping { .. }
            | State::Gone => None,
        }
    }

    pub(super) fn group_gone(&mut self, now: Instant) -> Option<Action> {
        match &self.state {
            State::Clearing { crash, .. } => {
                let crash = crash.clone();
                self.rest(crash, now);
            }
            State::Stopping { .. } => self.state = State::Gone,
            State::Waiting { .. }
            | State::Preparing(_)
            | State::Held { .. }
            | State::Starting(_)
            | State::Warming(_)
            | State::Ready(_)
            | State::Dozing { .. }
            | State::Asleep { .. }
            | State::Waking
            | State::Failed { .. }
            | State::Gone => {}
        }
        None
    }

    pub(super) fn stop(&mut self, now: Instant) -> Option<Action> {
        match self.state {
            State::Starting(_)
            | State::Warming(_)
            | State::Ready(_)
            | State::Dozing { .. }
            | State::Asleep { .. }
            | State::Waking => self.terminate(now),
            State::Clearing { kill, .. } => {
                self.state = State::Stopping { kill };
                None
            }
            State::Waiting { .. } | State::Preparing(_) | State::Held { .. } | State::Failed { .. } => {
                self.state = State::Gone;
                None
            }
            State::Stopping { .. } | State::Gone => None,
        }
    }

    /// Asks what has processes to end.
    pub(super) fn terminate(&mut self, now: Instant) -> Option<Action> {
        self.state = State::Stopping { kill: now + self.timings.grace };
        Some(Action::Terminate)
    }

    /// A crash of something that has processes.
    pub(super) fn crash(&mut self, crash: Crash, now: Instant) -> Option<Action> {
        self.count_crash(now);
        self.state = State::Clearing { kill: now + KILL_AGAIN, crash };
        Some(Action::Kill)
    }

    /// A crash of something that has none.
    pub(super) fn settle(&mut self, crash: Crash, now: Instant) -> Option<Action> {
        self.count_crash(now);
        self.rest(crash, now);
        None
    }

    /// Puts the crash that is being cleared down to `fault`, which a GPU of it reported.
    pub(crate) fn blame(&mut self, fault: &str) {
        if let State::Clearing { crash, .. } = &mut self.state
            && crash.class != FailureClass::Gpu
        {
            crash.class = FailureClass::Gpu;
            crash.reason = format!("its GPU failed: {fault}; {}", crash.reason);
        }
    }

    fn count_crash(&mut self, now: Instant) {
        if let State::Ready(ready) = &self.state
            && now >= ready.since + self.timings.stable
        {
            self.crashes = 0;
        }
        self.crashes += 1;
    }

    fn rest(&mut self, crash: Crash, now: Instant) {
        self.state = if self.is_final(&crash) {
            State::Failed { class: crash.class, reason: self.final_reason(&crash) }
        } else {
            State::Waiting { until: now + self.backoff(), crash: Some(crash.reason) }
        };
    }

    pub(super) fn is_final(&self, crash: &Crash) -> bool {
        crash.class == FailureClass::Config || self.crashes >= self.timings.crashes
    }

    pub(super) fn final_reason(&self, crash: &Crash) -> String {
        if crash.class == FailureClass::Config {
            crash.reason.clone()
        } else {
            format!("{} crashes in a row, the last: {}", self.crashes, crash.reason)
        }
    }

    /// Doubles with each crash, within a quarter up or down.
    fn backoff(&self) -> Duration {
        let doublings = self.crashes.saturating_sub(1).min(31);
        let full = self.timings.backoff.saturating_mul(1 << doublings).min(self.timings.backoff_max);
        let hash = stable_hash(&[b"backoff", &self.profile.seed.to_be_bytes(), &self.crashes.to_be_bytes()]);
        #[allow(clippy::cast_possible_truncation)] // below 512
        let per_mille = 750 + (hash % 501) as u32;
        full.saturating_mul(per_mille) / 1000
    }
}
