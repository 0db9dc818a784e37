//! One replica: the task that drives its lifecycle, does what that says, and publishes where it stands.

mod questions;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
};

use shoal_types::{Backend, EngineAddress, Load, Progress, clip_reason};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::questions::{Prepare, Questions, Wanted};
use crate::{
    EnginePhase, EngineStatus, GpuWatch, LaunchPlan, LogReader, LogSource,
    adapter::{Adapter, Environment, Listens},
    error::SupervisorError,
    lifecycle::{Action, Crash, Event, GpuUse, Lifecycle},
    log::ReplicaLog,
    models::Models,
    probe::Probe,
    process::{Process, ProcessEvent, ShimConfig},
    reason,
    replica_record::{ReplicaRecord, Stage},
    status::StatusBoard,
};

/// One replica, before and while it runs.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) plan: LaunchPlan,
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) inherited: Arc<Environment>,
    pub(crate) shim: ShimConfig,
    /// What is on disk of how far it has come.
    pub(crate) stage: Stage,
    /// Where it listens if it listens on a socket.
    pub(crate) socket: PathBuf,
    pub(crate) probe: Probe,
    pub(crate) lifecycle: Lifecycle,
    /// What is done before each launch.
    pub(crate) preparation: Option<Arc<dyn Prepare>>,
    pub(crate) models: Models,
    pub(crate) gpus: Arc<dyn GpuWatch>,
    pub(crate) log: Arc<ReplicaLog>,
    pub(crate) board: StatusBoard,
    /// It is wanted no longer.
    pub(crate) stop: CancellationToken,
    /// Nobody waits any longer for it to end.
    pub(crate) abandon: CancellationToken,
}

/// A running replica's open ends.
struct Running {
    process: Option<Process>,
    questions: Questions,
    load: Load,
    /// The number of the log's first line of this launch.
    first_line: u64,
    stopping: bool,
}

impl Replica {
    /// Until no process of it is left, or it is abandoned, to the next daemon. Starts with `process` if it runs already.
    pub(crate) async fn run(mut self, process: Option<Process>, mut questions: Questions) {
        if process.is_some() {
            questions.listen(LogReader::new(self.log.clone()), 0);
        }
        let mut running = Running { process, questions, load: Load::default(), first_line: 0, stopping: false };
        let mut event = Event::Tick;
        loop {
            let mut action = self.step(event);
            while let Some(next) = action {
                let outcome = self.execute(next, &mut running).await;
                action = outcome.and_then(|event| self.step(event));
            }
            let Some(phase) = self.lifecycle.phase() else { break };
            self.publish(phase, &running);
            event = tokio::select! {
                biased; // a process is not looked at any more once it may be another daemon's
                () = self.abandon.cancelled() => break,
                event = self.next(&mut running) => event,
            };
        }
    }

    /// One step, remembered before its action is taken.
    fn step(&mut self, event: Event) -> Option<Action> {
        let action = self.lifecycle.step(event, Instant::now());
        let stage = match self.lifecycle.phase() {
            Some(EnginePhase::Ready) => Stage::Served,
            Some(EnginePhase::Asleep) => Stage::Asleep,
            Some(EnginePhase::Failed { .. } | EnginePhase::Stopping) => Stage::Ending,
            Some(
                EnginePhase::Preparing(_)
                | EnginePhase::Starting
                | EnginePhase::Loading(_)
                | EnginePhase::Warming
                | EnginePhase::Backoff { .. },
            )
            | None => self.stage,
        };
        if stage != self.stage
            && let Err(error) = self.remember(stage)
        {
            tracing::warn!(claim = %self.plan.claim, %error, "a daemon after this one may do wrong by a replica");
        }
        action
    }

    fn remember(&mut self, stage: Stage) -> io::Result<()> {
        self.stage = stage;
        let record = ReplicaRecord { plan: self.plan.clone(), address: self.probe.address.clone(), stage };
        record.write(&self.shim.directory)
    }

    async fn next(&self, running: &mut Running) -> Event {
        let wake = self.lifecycle.wake();
        tokio::select! {
            () = self.stop.cancelled(), if !running.stopping => {
                running.stopping = true;
                Event::Stop
            }
            event = next_of_process(&mut running.process) => match event {
                ProcessEvent::Exited(status) => Event::Exited(self.crash(status, running.first_line)),
                ProcessEvent::ShimLost(why) => {
                    let reason = format!("its shim, without which it cannot run, is lost: {why}");
                    Event::Exited(Crash::transient(reason))
                }
                ProcessEvent::GroupGone => {
                    running.process = None;
                    Event::GroupGone
                }
            },
            (event, load) = running.questions.next(&*self.adapter, self.lifecycle.is_starting()) => {
                running.load = load.unwrap_or(running.load);
                event
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => Event::Tick,
        }
    }

    async fn execute(&mut self, action: Action, running: &mut Running) -> Option<Event> {
        match action {
            Action::Prepare => return running.questions.prepare(self.preparation.as_ref()),
            Action::CheckGpus => return Some(Event::Gpus(self.gpu_use())),
            Action::Launch => return Some(self.launch(running).await),
            Action::Check
            | Action::Warm
            | Action::Watch
            | Action::AskCanary
            | Action::FallAsleep
            | Action::CheckAsleep
            | Action::WakeUp => {
                let level = self.adapter.sleep().map_or(1, |sleep| sleep.level);
                running.questions.ask(action, self.probe.clone(), level);
            }
            Action::Terminate => running.end(Process::terminate),
            Action::Kill => {
                if let Some(fault) = self.gpus.recent_fault(&self.plan.gpus) {
                    self.lifecycle.blame(&fault);
                }
                running.end(Process::kill);
            }
        }
        None
    }

    fn gpu_use(&self) -> GpuUse {
        match self.gpus.holders(&self.plan.gpus) {
            _ if self.plan.gpus.is_empty() => GpuUse::Free,
            Some(pids) if pids.is_empty() => GpuUse::Free,
            Some(pids) => GpuUse::Held(pids),
            None => GpuUse::Unknown,
        }
    }

    async fn launch(&mut self, running: &mut Running) -> Event {
        running.first_line = self.log.begin_launch();
        running.questions.listen(LogReader::new(self.log.clone()), running.first_line);
        running.load = Load::default();
        match self.spawn().await {
            Ok(process) => {
                let line = format!("started as process {} at {}", process.pid(), self.probe.address);
                running.process = Some(process);
                self.say(&line);
                Event::Launched
            }
            Err(crash) => {
                self.say(&crash.reason);
                Event::LaunchFailed(crash)
            }
        }
    }

    async fn spawn(&mut self) -> Result<Process, Crash> {
        self.probe.address =
            address(self.adapter.listens(), &self.socket).map_err(|error| Crash::transient(error.to_string()))?;
        // A stale one makes vLLM fail, after a minute.
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Crash::transient(format!("cannot remove {}: {error}", self.socket.display())));
            }
            _ => {}
        }
        for (name, content) in self.adapter.files() {
            let path = self.shim.directory.join(name);
            fs::write(&path, content)
                .map_err(|error| Crash::transient(format!("cannot write {}: {error}", path.display())))?;
        }
        let mut command = self.adapter.command_line(&self.plan, &self.probe.address, &self.inherited);
        if self.preparation.is_some() {
            command.env.extend(self.models.environment());
        }
        self.say(&format!("executing {}", command.describe()));
        self.remember(Stage::Starting)
            .map_err(|error| Crash::transient(format!("cannot record the replica: {error}")))?;
        Process::spawn(&self.shim, &command, &self.log).await.map_err(|error| {
            let reason = format!("cannot execute {}: {error}", command.program.display());
            if reason::is_permanent(&error) { Crash::config(reason) } else { Crash::transient(reason) }
        })
    }

    /// What an exit means, from its status and the last lines.
    fn crash(&self, status: ExitStatus, first_line: u64) -> Crash {
        let lines: Vec<String> = self.log.since(first_line).into_iter().filter_map(reason::of_engine).collect();
        self.say(&format!("ended with {status}"));
        if let Some(diagnosis) = self.adapter.diagnose(status.code(), &lines) {
            let reason = format!("{} ({status})", diagnosis.reason(self.lifecycle.has_served()));
            return Crash { reason, class: diagnosis.cause.class() };
        }
        let words = reason::last_words(&lines);
        Crash::transient(if words.is_empty() { status.to_string() } else { format!("{status}: {words}") })
    }

    pub(crate) fn say(&self, line: &str) {
        tracing::info!(claim = %self.plan.claim, endpoint = %self.plan.endpoint, "engine: {line}");
        self.log.append(LogSource::Supervisor, line);
    }

    fn publish(&self, phase: EnginePhase, running: &Running) {
        self.board.set(EngineStatus {
            load: if phase == EnginePhase::Ready { running.load } else { Load::default() },
            phase: terse(phase),
            pid: running.process.as_ref().map(Process::pid),
            crashes: self.lifecycle.crashes(),
            ..self.initial_status()
        });
    }

    /// What is published before the task runs.
    pub(crate) fn initial_status(&self) -> EngineStatus {
        EngineStatus {
            claim: self.plan.claim,
            endpoint: self.plan.endpoint.clone(),
            phase: EnginePhase::Starting,
            backend: Backend::Engine(self.probe.address.clone()),
            gpus: self.plan.gpus.clone(),
            crashes: 0,
            load: Load::default(),
            pid: None,
        }
    }
}

impl Running {
    /// Signals the group, and asks it nothing more.
    fn end(&mut self, signal: impl FnOnce(&mut Process)) {
        self.questions.drop_all();
        if let Some(process) = &mut self.process {
            signal(process);
        }
    }
}

/// Where the next launch listens. A port is free when this returns, and with luck still when the engine binds it.
pub(crate) fn address(listens: Listens, socket: &Path) -> Result<EngineAddress, SupervisorError> {
    match listens {
        Listens::Unix => Ok(EngineAddress::Unix(socket.to_owned())),
        Listens::Loopback => TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .and_then(|listener| listener.local_addr())
            .map(EngineAddress::Loopback)
            .map_err(SupervisorError::NoPort),
    }
}

async fn next_of_process(process: &mut Option<Process>) -> ProcessEvent {
    match process {
        Some(process) => process.next().await,
        None => std::future::pending().await,
    }
}

/// As it may be gossiped: short, and without a word for each step.
fn terse(phase: EnginePhase) -> EnginePhase {
    let clipped = |reason: String| clip_reason(&reason);
    match phase {
        EnginePhase::Backoff { reason } => EnginePhase::Backoff { reason: clipped(reason) },
        EnginePhase::Failed { class, reason } => EnginePhase::Failed { class, reason: clipped(reason) },
        EnginePhase::Preparing(progress) => EnginePhase::Preparing(progress.map(Progress::coarse)),
        EnginePhase::Loading(progress) => EnginePhase::Loading(progress.map(Progress::coarse)),
        EnginePhase::Starting
        | EnginePhase::Warming
        | EnginePhase::Ready
        | EnginePhase::Asleep
        | EnginePhase::Stopping => phase,
    }
}

#[cfg(test)]
mod tests;
