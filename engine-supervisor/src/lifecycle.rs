//! The life of one replica as a state machine: events in, actions out, the time an argument. No I/O is here.
//!
//! ```text
//! Waiting -> Preparing -> Held -> Starting -> Warming -> Ready <------ Waking
//!    ^                     |          \__________|_________/ \ crash      ^
//!    |                     v                     v            v           |
//!    +---- backoff ------ Failed <---------- Clearing      Dozing -> Asleep
//!
//! Stop, from anywhere: Stopping -> Gone
//! ```
//!
//! Any exit that was not asked for is a crash, whatever its code: vLLM exits with 0 when its GPU worker dies. After a
//! crash the whole process group is killed, and nothing is launched before it is empty and nobody holds the GPUs.

mod ending;
mod serving;
mod starting;
mod state;

use std::time::Duration;

use shoal_types::Progress;
use tokio::time::Instant;

use self::state::{Start, State};
use crate::{EnginePhase, FailureClass, Timings, adapter::Stage, liveness::CanaryError, load::Pulse};

/// What happened to the replica.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// The time that [`Lifecycle::wake`] named has come.
    Tick,
    /// So much of [`Action::Prepare`] is done.
    Progressed(Option<Progress>),
    /// The answer to [`Action::Prepare`].
    Prepared(Result<(), Crash>),
    /// The answer to [`Action::CheckGpus`].
    Gpus(GpuUse),
    /// The process runs.
    Launched,
    /// There is no process.
    LaunchFailed(Crash),
    /// What the starting engine said last is the sign of this.
    Said(Stage),
    /// Whether the engine answers, and under the right name; the answer to [`Action::Check`].
    Checked(Result<(), String>),
    /// The answer to [`Action::Warm`].
    Warmed(Result<(), String>),
    /// The answer to [`Action::Watch`]: what the engine says of itself, nothing if it has no metrics.
    Watched(Result<Pulse, String>),
    /// The answer to [`Action::AskCanary`].
    Canary(Result<(), CanaryError>),
    /// It is not needed for now.
    Sleep,
    /// It is needed again.
    Wake,
    /// The answer to [`Action::FallAsleep`] and [`Action::CheckAsleep`].
    Slept(Result<(), String>),
    /// The answer to [`Action::WakeUp`].
    Woken(Result<(), String>),
    /// A GPU reported an error that its engine does not survive, whatever it says itself.
    GpuFault(String),
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
    /// Whose fault it was. What is the configuration's would happen again.
    pub(crate) class: FailureClass,
}

impl Crash {
    pub(crate) const fn transient(reason: String) -> Self {
        Self { reason, class: FailureClass::Transient }
    }

    pub(crate) const fn config(reason: String) -> Self {
        Self { reason, class: FailureClass::Config }
    }
}

/// Who uses the GPUs of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GpuUse {
    /// Nobody.
    Free,
    /// These processes.
    Held(Vec<u32>),
    /// The driver does not say, which is not "nobody".
    Unknown,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Fetch what the engine needs; reports `Progressed` and `Prepared`.
    Prepare,
    /// See who uses the GPUs; reports `Gpus`.
    CheckGpus,
    /// Start the process; reports `Launched` or `LaunchFailed`.
    Launch,
    /// Ask a starting engine whether it answers; reports `Checked`.
    Check,
    /// Ask it for one token; reports `Warmed`.
    Warm,
    /// Ask a ready engine for its health and metrics; reports `Watched`.
    Watch,
    /// Ask it for one token beside whatever else is asked; reports `Canary`.
    AskCanary,
    /// Put it to sleep; reports `Slept`.
    FallAsleep,
    /// Ask whether it still sleeps; reports `Slept`.
    CheckAsleep,
    /// Wake it up; reports `Woken`.
    WakeUp,
    /// SIGTERM to the group.
    Terminate,
    /// SIGKILL to the group.
    Kill,
}

/// What differs between replicas.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// From launch to ready.
    pub(crate) start: Duration,
    /// Whether something is to be prepared before each launch.
    pub(crate) prepares: bool,
    /// How long it may sleep, if it can.
    pub(crate) sleeps: Option<Duration>,
    /// Spreads the backoffs of replicas that crash together.
    pub(crate) seed: u64,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: State,
    crashes: u32,
    profile: Profile,
    timings: Timings,
    /// The process has given its first token, to this daemon or to an earlier one.
    served: bool,
}

/// How far a process had come when its daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adopted {
    /// It had given no token yet.
    Starting,
    /// It had served.
    Served,
    /// It slept.
    Asleep,
}

impl Lifecycle {
    /// To be launched at the first tick.
    pub(crate) const fn new(now: Instant, profile: Profile, timings: Timings) -> Self {
        Self { state: State::Waiting { until: now, crash: None }, crashes: 0, profile, timings, served: false }
    }

    /// Of a process that runs already; it is asked at once. One that has served need not be warmed, and answers within
    /// the time that a ready one may be silent.
    pub(crate) fn adopted(now: Instant, profile: Profile, timings: Timings, adopted: Adopted) -> Self {
        let silence = (timings.watch + timings.health) * timings.misses;
        let starting = |within| State::Starting(Start { next: Some(now), ..Start::new(now + within) });
        let state = match (adopted, profile.sleeps) {
            (Adopted::Asleep, Some(keep)) => State::Asleep { until: now + keep, next: Some(now), misses: 0 },
            (Adopted::Served | Adopted::Asleep, _) => starting(silence),
            (Adopted::Starting, _) => starting(profile.start),
        };
        Self { state, crashes: 0, profile, timings, served: adopted != Adopted::Starting }
    }

    /// Takes one event. Events that the state does not wait for change nothing: they were under way when it changed.
    pub(crate) fn step(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::Tick => self.tick(now),
            Event::Progressed(progress) => self.progressed(progress),
            Event::Prepared(result) => self.prepared(result, now),
            Event::Gpus(gpus) => self.gpus(gpus, now),
            Event::Launched => self.launched(now),
            Event::LaunchFailed(crash) => self.settle(crash, now),
            Event::Said(stage) => self.said(stage),
            Event::Checked(result) => self.checked(result, now),
            Event::Warmed(result) => self.warmed(result, now),
            Event::Watched(result) => self.watched(result, now),
            Event::Canary(result) => self.canary(result, now),
            Event::Sleep => self.sleep(now),
            Event::Wake => self.wake_up(),
            Event::Slept(result) => self.slept(result, now),
            Event::Woken(result) => self.woken(result, now),
            Event::GpuFault(fault) => self.gpu_fault(fault, now),
            Event::Exited(crash) => self.exited(crash, now),
            Event::GroupGone => self.group_gone(now),
            Event::Stop => self.stop(now),
        }
    }

    /// When to send [`Event::Tick`], if nothing else happens.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.state.wake()
    }

    /// What others are told; `None` when it is over.
    pub(crate) fn phase(&self) -> Option<EnginePhase> {
        match &self.state {
            State::Clearing { crash, .. } if self.is_final(crash) => {
                Some(EnginePhase::Failed { class: crash.class, reason: self.final_reason(crash) })
            }
            state => state.phase(),
        }
    }

    /// Crashes in a row, the current one included.
    pub(crate) const fn crashes(&self) -> u32 {
        self.crashes
    }

    /// Whether it has served since its launch: what it then ends of is not its configuration.
    pub(crate) const fn has_served(&self) -> bool {
        self.served
    }

    /// Whether the engine is on its way, and what it says tells how far.
    pub(crate) const fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting(_))
    }

    fn tick(&mut self, now: Instant) -> Option<Action> {
        match &mut self.state {
            State::Waiting { until, .. } if *until <= now => self.prepare(now),
            State::Held { .. } => self.look_at_gpus(now),
            State::Starting(_) => self.ask_starting(Action::Check, now),
            State::Warming(_) => self.ask_starting(Action::Warm, now),
            State::Ready(ready) => due(&mut ready.next, now).then_some(Action::Watch),
            State::Asleep { until, .. } if *until <= now => self.terminate(now),
            State::Asleep { next, .. } => due(next, now).then_some(Action::CheckAsleep),
            State::Clearing { kill, .. } | State::Stopping { kill } if *kill <= now => {
                *kill = now + ending::KILL_AGAIN;
                Some(Action::Kill)
            }
            State::Waiting { .. }
            | State::Preparing(_)
            | State::Dozing { .. }
            | State::Waking
            | State::Clearing { .. }
            | State::Failed { .. }
            | State::Stopping { .. }
            | State::Gone => None,
        }
    }
}

/// Whether `next` has come; it is then taken, since the question that it allows is being asked.
fn due(next: &mut Option<Instant>, now: Instant) -> bool {
    next.take_if(|next| *next <= now).is_some()
}

#[cfg(test)]
mod tests;
