//! The life of one replica as a state machine: events in, actions out, the time an argument. No I/O is here.
//!
//! ```text
//! Waiting -> Starting -> Warming -> Ready
//!    ^           \__________|_________/ crash
//!    |                      v
//!    +---- backoff ---- Clearing ----> Failed        Stop, from anywhere: Stopping -> Gone
//! ```
//!
//! Any exit that was not asked for is a crash, whatever its code: vLLM exits with 0 when its GPU worker dies. After a
//! crash the whole process group is killed, and nothing is launched before it is empty, because what is left of it
//! still holds the GPUs.

use std::time::Duration;

use shoal_types::stable_hash;
use tokio::time::Instant;

use crate::{EnginePhase, FailureClass, Timings};

/// SIGKILL is sent again after this, to processes that were forked while the first was on its way.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// What happened to the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The time that [`Lifecycle::wake`] named has come.
    Tick,
    /// The process runs.
    Launched,
    /// There is no process.
    LaunchFailed(Crash),
    /// Whether the engine answers, and under the right name; the answer to [`Action::Check`] and [`Action::Watch`].
    Checked(Result<(), String>),
    /// The answer to [`Action::Warm`].
    Warmed(Result<(), String>),
    /// The leader of the process group ended.
    Exited(Crash),
    /// No process of the group is left, and the leader's exit was reported before.
    GroupGone,
    /// It is wanted no longer.
    Stop,
}

/// Why an engine ended, or never began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crash {
    /// For people.
    pub(crate) reason: String,
    /// Whether it would happen again.
    pub(crate) permanent: bool,
}

impl Crash {
    const fn class(&self) -> FailureClass {
        if self.permanent { FailureClass::Config } else { FailureClass::Transient }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start the process; reports `Launched` or `LaunchFailed`.
    Launch,
    /// Ask a starting engine whether it answers; reports `Checked`.
    Check,
    /// Ask it for one token; reports `Warmed`.
    Warm,
    /// Ask a ready engine for its health and load; reports `Checked`.
    Watch,
    /// SIGTERM to the group.
    Terminate,
    /// SIGKILL to the group.
    Kill,
}

#[derive(Debug)]
enum State {
    /// No process; one is to be launched.
    Waiting { until: Instant, crash: Option<String> },
    /// The process runs.
    Starting(Start),
    /// It answers.
    Warming(Start),
    /// It serves. `next` is when to ask it, `None` while a question is open.
    Ready { since: Instant, next: Option<Instant>, misses: u32 },
    /// It crashed, and its group is not empty yet.
    Clearing { kill: Instant, crash: Crash },
    /// No process, and there will be none.
    Failed { class: FailureClass, reason: String },
    /// It was asked to end, or killed at `kill`.
    Stopping { kill: Instant },
    /// It was wanted no longer, and no process is left.
    Gone,
}

/// The way from launch to ready.
#[derive(Debug)]
struct Start {
    deadline: Instant,
    /// When to ask next, `None` while a question is open.
    next: Option<Instant>,
    /// The last answer that was not the right one.
    problem: Option<String>,
}

impl Start {
    const fn new(deadline: Instant) -> Self {
        Self { deadline, next: None, problem: None }
    }

    fn again(&mut self, next: Instant, problem: String) {
        self.next = Some(next);
        self.problem = Some(problem);
    }
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: State,
    crashes: u32,
    start: Duration,
    timings: Timings,
    /// Spreads the backoffs of replicas that crash together.
    seed: u64,
    /// The process was taken over from an earlier daemon, to which it had given its first token.
    adopted: bool,
}

impl Lifecycle {
    /// To be launched at the first tick, and ready within `start` of it.
    pub(crate) const fn new(now: Instant, start: Duration, timings: Timings, seed: u64) -> Self {
        Self { state: State::Waiting { until: now, crash: None }, crashes: 0, start, timings, seed, adopted: false }
    }

    /// Of a process that runs already; it is asked at once. One that has `served` need not be warmed, and answers within
    /// the time that a ready one may be silent.
    pub(crate) fn adopted(now: Instant, start: Duration, timings: Timings, seed: u64, served: bool) -> Self {
        let within = if served { (timings.watch + timings.health) * timings.misses } else { start };
        let state = State::Starting(Start { next: Some(now), ..Start::new(now + within) });
        Self { state, crashes: 0, start, timings, seed, adopted: served }
    }

    /// Takes one event. Events that the state does not wait for change nothing: they were under way when it changed.
    pub(crate) fn step(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::Tick => self.tick(now),
            Event::Launched => self.launched(now),
            Event::LaunchFailed(crash) => {
                self.settle(crash, now);
                None
            }
            Event::Checked(result) => self.checked(result, now),
            Event::Warmed(result) => self.warmed(result, now),
            Event::Exited(crash) => self.exited(crash, now),
            Event::GroupGone => {
                self.group_gone(now);
                None
            }
            Event::Stop => self.stop(now),
        }
    }

    /// When to send [`Event::Tick`], if nothing else happens.
    pub(crate) fn wake(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until, .. } => Some(*until),
            State::Starting(start) | State::Warming(start) => {
                Some(start.next.map_or(start.deadline, |next| next.min(start.deadline)))
            }
            State::Ready { next, .. } => *next,
            State::Clearing { kill, .. } | State::Stopping { kill } => Some(*kill),
            State::Failed { .. } | State::Gone => None,
        }
    }

    /// What others are told; `None` when it is over.
    pub(crate) fn phase(&self) -> Option<EnginePhase> {
        Some(match &self.state {
            State::Waiting { crash: None, .. } | State::Starting(_) => EnginePhase::Starting,
            State::Waiting { crash: Some(reason), .. } => EnginePhase::Backoff { reason: reason.clone() },
            State::Warming(_) => EnginePhase::Warming,
            State::Ready { .. } => EnginePhase::Ready,
            State::Clearing { crash, .. } if self.is_final(crash) => {
                EnginePhase::Failed { class: crash.class(), reason: self.final_reason(crash) }
            }
            State::Clearing { crash, .. } => EnginePhase::Backoff { reason: crash.reason.clone() },
            State::Failed { class, reason } => EnginePhase::Failed { class: *class, reason: reason.clone() },
            State::Stopping { .. } => EnginePhase::Stopping,
            State::Gone => return None,
        })
    }

    /// Crashes in a row, the current one included.
    pub(crate) const fn crashes(&self) -> u32 {
        self.crashes
    }

    fn tick(&mut self, now: Instant) -> Option<Action> {
        match &mut self.state {
            State::Waiting { until, .. } if *until <= now => {
                self.state = State::Starting(Start::new(now + self.start));
                self.adopted = false;
                Some(Action::Launch)
            }
            State::Starting(start) | State::Warming(start) if start.deadline <= now => {
                let problem = start.problem.take().unwrap_or_else(|| "it does not answer".to_owned());
                let reason = if self.adopted {
                    format!("it did not answer a daemon that took it over: {problem}")
                } else {
                    format!("it did not serve within {:?} of its launch: {problem}", self.start)
                };
                self.crash(Crash { reason, permanent: false }, now)
            }
            State::Starting(start) => due(&mut start.next, now).then_some(Action::Check),
            State::Warming(start) => due(&mut start.next, now).then_some(Action::Warm),
            State::Ready { next, .. } => due(next, now).then_some(Action::Watch),
            State::Clearing { kill, .. } | State::Stopping { kill } if *kill <= now => {
                *kill = now + KILL_AGAIN;
                Some(Action::Kill)
            }
            State::Waiting { .. }
            | State::Clearing { .. }
            | State::Failed { .. }
            | State::Stopping { .. }
            | State::Gone => None,
        }
    }

    fn launched(&mut self, now: Instant) -> Option<Action> {
        if let State::Starting(start) = &mut self.state {
            start.next = Some(now + self.timings.start_poll);
        }
        None
    }

    fn checked(&mut self, result: Result<(), String>, now: Instant) -> Option<Action> {
        match &mut self.state {
            State::Starting(start) => {
                if let Err(problem) = result {
                    start.again(now + self.timings.start_poll, problem);
                    return None;
                }
                if self.adopted {
                    self.state = State::Ready { since: now, next: Some(now), misses: 0 };
                    return None;
                }
                self.state = State::Warming(Start::new(start.deadline));
                Some(Action::Warm)
            }
            State::Ready { next, misses, .. } => {
                *next = Some(now + self.timings.watch);
                *misses = if result.is_ok() { 0 } else { *misses + 1 };
                let missed = *misses;
                let reason = result.err().filter(|_| missed >= self.timings.misses)?;
                let reason = format!("it missed {missed} health checks in a row: {reason}");
                self.crash(Crash { reason, permanent: false }, now)
            }
            State::Waiting { .. }
            | State::Warming(_)
            | State::Clearing { .. }
            | State::Failed { .. }
            | State::Stopping { .. }
            | State::Gone => None,
        }
    }

    fn warmed(&mut self, result: Result<(), String>, now: Instant) -> Option<Action> {
        let State::Warming(start) = &mut self.state else { return None };
        match result {
            Ok(()) => self.state = State::Ready { since: now, next: Some(now), misses: 0 },
            Err(problem) => start.again(now + self.timings.watch, problem),
        }
        None
    }

    fn exited(&mut self, crash: Crash, now: Instant) -> Option<Action> {
        match &mut self.state {
            State::Starting(_) | State::Warming(_) => self.crash(crash, now),
            // What has served is not configured wrongly, whatever it says in the end.
            State::Ready { .. } => self.crash(Crash { permanent: false, ..crash }, now),
            // Nothing is left to be finished without the leader, but its children may hold the GPUs for long.
            State::Stopping { kill } => {
                *kill = now + KILL_AGAIN;
                Some(Action::Kill)
            }
            State::Waiting { .. } | State::Clearing { .. } | State::Failed { .. } | State::Gone => None,
        }
    }

    fn group_gone(&mut self, now: Instant) {
        match &self.state {
            State::Clearing { crash, .. } => {
                let crash = crash.clone();
                self.rest(crash, now);
            }
            State::Stopping { .. } => self.state = State::Gone,
            State::Waiting { .. }
            | State::Starting(_)
            | State::Warming(_)
            | State::Ready { .. }
            | State::Failed { .. }
            | State::Gone => {}
        }
    }

    fn stop(&mut self, now: Instant) -> Option<Action> {
        match self.state {
            State::Starting(_) | State::Warming(_) | State::Ready { .. } => {
                self.state = State::Stopping { kill: now + self.timings.grace };
                Some(Action::Terminate)
            }
            State::Clearing { kill, .. } => {
                self.state = State::Stopping { kill };
                None
            }
            State::Waiting { .. } | State::Failed { .. } => {
                self.state = State::Gone;
                None
            }
            State::Stopping { .. } | State::Gone => None,
        }
    }

    /// A crash of something that has processes.
    fn crash(&mut self, crash: Crash, now: Instant) -> Option<Action> {
        self.count_crash(now);
        self.state = State::Clearing { kill: now + KILL_AGAIN, crash };
        Some(Action::Kill)
    }

    /// A crash of something that has none.
    fn settle(&mut self, crash: Crash, now: Instant) {
        self.count_crash(now);
        self.rest(crash, now);
    }

    fn count_crash(&mut self, now: Instant) {
        if let State::Ready { since, .. } = self.state
            && now >= since + self.timings.stable
        {
            self.crashes = 0;
        }
        self.crashes += 1;
    }

    fn rest(&mut self, crash: Crash, now: Instant) {
        self.state = if self.is_final(&crash) {
            State::Failed { class: crash.class(), reason: self.final_reason(&crash) }
        } else {
            State::Waiting { until: now + self.backoff(), crash: Some(crash.reason) }
        };
    }

    const fn is_final(&self, crash: &Crash) -> bool {
        crash.permanent || self.crashes >= self.timings.crashes
    }

    fn final_reason(&self, crash: &Crash) -> String {
        if crash.permanent {
            crash.reason.clone()
        } else {
            format!("{} crashes in a row, the last: {}", self.crashes, crash.reason)
        }
    }

    /// Doubles with each crash, within a quarter up or down.
    fn backoff(&self) -> Duration {
        let doublings = self.crashes.saturating_sub(1).min(31);
        let full = self.timings.backoff.saturating_mul(1 << doublings).min(self.timings.backoff_max);
        let hash = stable_hash(&[b"backoff", &self.seed.to_be_bytes(), &self.crashes.to_be_bytes()]);
        #[allow(clippy::cast_possible_truncation)] // below 512
        let per_mille = 750 + (hash % 501) as u32;
        full.saturating_mul(per_mille) / 1000
    }
}

/// Whether `next` has come; it is then taken, since the question that it allows is being asked.
fn due(next: &mut Option<Instant>, now: Instant) -> bool {
    next.take_if(|next| *next <= now).is_some()
}

#[cfg(test)]
mod tests;
