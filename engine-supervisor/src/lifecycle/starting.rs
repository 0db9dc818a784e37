//! From nothing to ready: prepare, wait for the GPUs, launch, wait for answers, wait for a token.

use shoal_types::Progress;
use tokio::time::Instant;

use super::{
    Action, Crash, GpuUse, Lifecycle, due,
    state::{Ready, Start, State},
};
use crate::{FailureClass, adapter::Stage, liveness::Liveness};

impl Lifecycle {
    /// Of what has no process.
    pub(super) fn prepare(&mut self, now: Instant) -> Option<Action> {
        if self.profile.prepares {
            self.state = State::Preparing(None);
            return Some(Action::Prepare);
        }
        self.wait_for_gpus(now)
    }

    pub(super) fn progressed(&mut self, progress: Option<Progress>) -> Option<Action> {
        if let State::Preparing(known) = &mut self.state {
            *known = progress;
        }
        None
    }

    pub(super) fn prepared(&mut self, result: Result<(), Crash>, now: Instant) -> Option<Action> {
        let State::Preparing(_) = self.state else { return None };
        match result {
            Ok(()) => self.wait_for_gpus(now),
            Err(crash) => self.settle(crash, now),
        }
    }

    fn wait_for_gpus(&mut self, now: Instant) -> Option<Action> {
        self.state = State::Held { next: None, deadline: now + self.timings.gpus_free, gpus: None };
        Some(Action::CheckGpus)
    }

    pub(super) fn look_at_gpus(&mut self, now: Instant) -> Option<Action> {
        let State::Held { next, .. } = &mut self.state else { return None };
        due(next, now).then_some(Action::CheckGpus)
    }

    pub(super) fn gpus(&mut self, seen: GpuUse, now: Instant) -> Option<Action> {
        let State::Held { next, deadline, gpus } = &mut self.state else { return None };
        let Some(problem) = seen.problem() else {
            self.state = State::Starting(Start::new(now + self.profile.start));
            self.served = false;
            return Some(Action::Launch);
        };
        if *deadline <= now {
            let waited = self.timings.gpus_free.as_secs();
            self.state =
                State::Failed { class: FailureClass::Gpu, reason: format!("{problem}, for more than {waited} s") };
            return None;
        }
        *next = Some((now + self.timings.gpu_poll).min(*deadline));
        *gpus = Some(seen);
        None
    }

    pub(super) fn launched(&mut self, now: Instant) -> Option<Action> {
        if let State::Starting(start) = &mut self.state {
            start.next = Some(now + self.timings.start_poll);
        }
        None
    }

    pub(super) fn said(&mut self, said: Stage) -> Option<Action> {
        if let State::Starting(Start { stage, .. }) = &mut self.state
            && stage.is_none_or(|stage| stage.allows(said))
        {
            *stage = Some(said);
        }
        None
    }

    /// Asks `question`, unless the time is up.
    pub(super) fn ask_starting(&mut self, question: Action, now: Instant) -> Option<Action> {
        let (State::Starting(start) | State::Warming(start)) = &mut self.state else { return None };
        if start.deadline > now {
            return due(&mut start.next, now).then_some(question);
        }
        let problem = start.problem.take().unwrap_or_else(|| "it does not answer".to_owned());
        let reason = match (&self.state, self.served) {
            (State::Starting(_), true) => format!("it did not answer a daemon that took it over: {problem}"),
            (State::Warming(_), false) if self.timings.warm < self.profile.start => {
                format!("it answers, and made no token within {:?}: {problem}", self.timings.warm)
            }
            (_, true) => format!("it did not serve within {:?} of being woken: {problem}", self.profile.start),
            (_, false) => format!("it did not serve within {:?} of its launch: {problem}", self.profile.start),
        };
        self.crash(Crash::transient(reason), now)
    }

    pub(super) fn checked(&mut self, result: Result<(), String>, now: Instant) -> Option<Action> {
        let State::Starting(start) = &mut self.state else { return None };
        if let Err(problem) = result {
            start.again(now + self.timings.start_poll, problem);
            return None;
        }
        if self.served {
            self.serve(now);
            return None;
        }
        self.state = State::Warming(Start::new(start.deadline.min(now + self.timings.warm)));
        Some(Action::Warm)
    }

    fn serve(&mut self, now: Instant) {
        self.served = true;
        let liveness = Liveness::new(now, &self.timings);
        self.state = State::Ready(Ready { since: now, next: Some(now), misses: 0, liveness });
    }

    pub(super) fn warmed(&mut self, result: Result<(), String>, now: Instant) -> Option<Action> {
        let State::Warming(start) = &mut self.state else { return None };
        match result {
            Ok(()) => self.serve(now),
            Err(problem) => start.again(now + self.timings.watch, problem),
        }
        None
    }
}
