//! Where a replica stands: what each state remembers, waits for, and is called.

use shoal_types::Progress;
use tokio::time::Instant;

use super::{Crash, GpuUse};
use crate::{EnginePhase, FailureClass, adapter::Stage, liveness::Liveness};

#[derive(Debug)]
pub(super) enum State {
    /// No process; one is to be launched.
    Waiting { until: Instant, crash: Option<String> },
    /// No process, and what it needs is being fetched.
    Preparing(Option<Progress>),
    /// No process, and the GPUs are looked at next at `next`, and in vain no longer than to `deadline`. `None` before
    /// the first look.
    Held { next: Option<Instant>, deadline: Instant, gpus: Option<GpuUse> },
    /// The process runs.
    Starting(Start),
    /// It answers.
    Warming(Start),
    /// It serves.
    Ready(Ready),
    /// It is being put to sleep, and woken at once if it was wanted again meanwhile.
    Dozing { wake: bool },
    /// It sleeps, at most until then. `next` is when to ask it, `None` while a question is open.
    Asleep { until: Instant, next: Option<Instant>, misses: u32 },
    /// It is being woken.
    Waking,
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
pub(super) struct Start {
    pub(super) deadline: Instant,
    /// When to ask next, `None` while a question is open.
    pub(super) next: Option<Instant>,
    /// How far it has come, by what it says.
    pub(super) stage: Option<Stage>,
    /// The last answer that was not the right one.
    pub(super) problem: Option<String>,
}

impl Start {
    pub(super) const fn new(deadline: Instant) -> Self {
        Self { deadline, next: None, stage: None, problem: None }
    }

    pub(super) fn again(&mut self, next: Instant, problem: String) {
        self.next = Some(next);
        self.problem = Some(problem);
    }
}

/// The time of service.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) since: Instant,
    /// When to ask next, `None` while a question is open.
    pub(super) next: Option<Instant>,
    pub(super) misses: u32,
    pub(super) liveness: Liveness,
}

impl State {
    pub(super) fn wake(&self) -> Option<Instant> {
        match self {
            Self::Waiting { until, .. } => Some(*until),
            Self::Held { next, .. } => *next,
            Self::Starting(start) | Self::Warming(start) => {
                Some(start.next.map_or(start.deadline, |next| next.min(start.deadline)))
            }
            Self::Ready(ready) => ready.next,
            Self::Asleep { until, next, .. } => Some(next.map_or(*until, |next| next.min(*until))),
            Self::Clearing { kill, .. } | Self::Stopping { kill } => Some(*kill),
            // The last two have an open question, which has a deadline of its own.
            Self::Preparing(_) | Self::Failed { .. } | Self::Gone | Self::Dozing { .. } | Self::Waking => None,
        }
    }

    pub(super) fn phase(&self) -> Option<EnginePhase> {
        Some(match self {
            Self::Waiting { crash: None, .. } => EnginePhase::Starting,
            Self::Waiting { crash: Some(reason), .. } => EnginePhase::Backoff { reason: reason.clone() },
            Self::Preparing(progress) => EnginePhase::Preparing(*progress),
            Self::Held { gpus, .. } => match gpus.as_ref().and_then(GpuUse::problem) {
                Some(reason) => EnginePhase::Backoff { reason },
                None => EnginePhase::Starting,
            },
            Self::Starting(start) => match start.stage {
                None => EnginePhase::Starting,
                Some(Stage::Loading(progress)) => EnginePhase::Loading(progress),
                Some(Stage::Warming) => EnginePhase::Warming,
            },
            Self::Warming(_) | Self::Waking => EnginePhase::Warming,
            Self::Ready(_) => EnginePhase::Ready,
            Self::Dozing { .. } | Self::Asleep { .. } => EnginePhase::Asleep,
            Self::Clearing { crash, .. } => EnginePhase::Backoff { reason: crash.reason.clone() },
            Self::Failed { class, reason } => EnginePhase::Failed { class: *class, reason: reason.clone() },
            Self::Stopping { .. } => EnginePhase::Stopping,
            Self::Gone => return None,
        })
    }
}

impl GpuUse {
    /// Why nothing can be launched on them.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Free => None,
            Self::Held(pids) => {
                let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
                let processes = if pids.len() == 1 { "process" } else { "processes" };
                Some(format!("its GPUs are held by {processes} {} outside it", pids.join(", ")))
            }
            Self::Unknown => Some("the driver does not say whether its GPUs are free".to_owned()),
        }
    }
}
