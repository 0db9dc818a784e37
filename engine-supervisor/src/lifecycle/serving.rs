//! Ready, asleep, and between them.

use tokio::time::Instant;

use super::{
    Action, Crash, Lifecycle,
    state::{Start, State},
};
use crate::{
    liveness::{CanaryError, Verdict},
    load::Pulse,
};

impl Lifecycle {
    pub(super) fn watched(&mut self, result: Result<Pulse, String>, now: Instant) -> Option<Action> {
        let State::Ready(ready) = &mut self.state else { return None };
        ready.next = Some(now + self.timings.watch);
        match result {
            Ok(pulse) => {
                ready.misses = 0;
                let verdict = ready.liveness.observe(pulse, now);
                self.judge(verdict, now)
            }
            Err(problem) => {
                ready.misses += 1;
                let misses = ready.misses;
                if misses < self.timings.misses {
                    return None;
                }
                let reason = format!("it missed {misses} health checks in a row: {problem}");
                self.crash(Crash::transient(reason), now)
            }
        }
    }

    pub(super) fn canary(&mut self, answer: Result<(), CanaryError>, now: Instant) -> Option<Action> {
        let State::Ready(ready) = &mut self.state else { return None };
        let verdict = ready.liveness.canary(answer, now);
        self.judge(verdict, now)
    }

    fn judge(&mut self, verdict: Verdict, now: Instant) -> Option<Action> {
        match verdict {
            Verdict::Fine => None,
            Verdict::Ask => Some(Action::AskCanary),
            Verdict::Dead(reason) => self.crash(Crash::transient(reason), now),
        }
    }

    /// What cannot sleep is stopped, and so is what would have to become ready first only to sleep.
    pub(super) fn sleep(&mut self, now: Instant) -> Option<Action> {
        let can_sleep = self.profile.sleeps.is_some();
        match &mut self.state {
            State::Ready(ready) if can_sleep => {
                if now >= ready.since + self.timings.stable {
                    self.crashes = 0;
                }
                self.state = State::Dozing { wake: false };
                Some(Action::FallAsleep)
            }
            State::Dozing { wake } => {
                *wake = false;
                None
            }
            State::Asleep { .. } => None,
            State::Waiting { .. }
            | State::Preparing(_)
            | State::Held { .. }
            | State::Starting(_)
            | State::Warming(_)
            | State::Ready(_)
            | State::Waking
            | State::Clearing { .. }
            | State::Failed { .. }
            | State::Stopping { .. }
            | State::Gone => self.stop(now),
        }
    }

    pub(super) fn wake_up(&mut self) -> Option<Action> {
        if let State::Dozing { wake } = &mut self.state {
            *wake = true;
        }
        let State::Asleep { .. } = self.state else { return None };
        self.state = State::Waking;
        Some(Action::WakeUp)
    }

    pub(super) fn slept(&mut self, result: Result<(), String>, now: Instant) -> Option<Action> {
        if let State::Dozing { wake } = self.state {
            return self.dozed(wake, result, now);
        }
        let State::Asleep { next, misses, .. } = &mut self.state else { return None };
        *next = Some(now + self.timings.watch);
        *misses = if result.is_ok() { 0 } else { *misses + 1 };
        if *misses < self.timings.misses { None } else { self.terminate(now) }
    }

    fn dozed(&mut self, wake: bool, result: Result<(), String>, now: Instant) -> Option<Action> {
        match (wake, result) {
            (true, Ok(())) => {
                self.state = State::Waking;
                Some(Action::WakeUp)
            }
            (false, Ok(())) => {
                let keep = self.profile.sleeps.unwrap_or_default();
                self.state = State::Asleep { until: now + keep, next: Some(now + self.timings.watch), misses: 0 };
                None
            }
            // It is in no known state, and wanted: as after a crash, it is started again.
            (true, Err(problem)) => self.crash(Crash::transient(format!("it did not fall asleep: {problem}")), now),
            (false, Err(_)) => self.terminate(now),
        }
    }

    /// A token proves that it serves again.
    pub(super) fn woken(&mut self, result: Result<(), String>, now: Instant) -> Option<Action> {
        let State::Waking = self.state else { return None };
        match result {
            Ok(()) => {
                self.state = State::Warming(Start::new(now + self.profile.start));
                Some(Action::Warm)
            }
            Err(problem) => self.crash(Crash::transient(format!("it did not wake up: {problem}")), now),
        }
    }
}
