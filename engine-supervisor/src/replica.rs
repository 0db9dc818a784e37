//! One replica: the task that drives its lifecycle, does what that says, and publishes where it stands.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use shoal_types::{Backend, EngineAddress, Load, clip_reason};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    EnginePhase, EngineStatus, LaunchPlan, LogSource,
    adapter::{Adapter, Environment, Listens},
    error::SupervisorError,
    lifecycle::{Action, Crash, Event, Lifecycle},
    log::ReplicaLog,
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
    pub(crate) log: Arc<ReplicaLog>,
    pub(crate) board: StatusBoard,
    /// It is wanted no longer.
    pub(crate) stop: CancellationToken,
    /// Nobody waits any longer for it to end.
    pub(crate) abandon: CancellationToken,
}

/// A running replica's open ends.
#[derive(Default)]
struct Running {
    process: Option<Process>,
    /// The question that is open.
    question: Option<BoxFuture<'static, (Event, Option<Load>)>>,
    load: Load,
    /// The number of the log's first line of this launch.
    first_line: u64,
    stopping: bool,
}

impl Replica {
    /// Until no process of it is left, or it is abandoned, to the next daemon. Starts with `process` if it runs already.
    pub(crate) async fn run(mut self, process: Option<Process>) {
        let mut running = Running { process, ..Running::default() };
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
            Some(EnginePhase::Ready | EnginePhase::Asleep) => Stage::Served,
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
                ProcessEvent::GroupGone => {
                    running.process = None;
                    Event::GroupGone
                }
            },
            (event, load) = answer(&mut running.question) => {
                running.load = load.unwrap_or_default();
                event
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => Event::Tick,
        }
    }

    async fn execute(&mut self, action: Action, running: &mut Running) -> Option<Event> {
        match action {
            Action::Launch => return Some(self.launch(running).await),
            Action::Check => {
                let probe = self.probe.clone();
                running.question = Some(async move { (Event::Checked(probe.check().await), None) }.boxed());
            }
            Action::Warm => {
                let probe = self.probe.clone();
                running.question = Some(async move { (Event::Warmed(probe.first_token().await), None) }.boxed());
            }
            Action::Watch => {
                let probe = self.probe.clone();
                let watch = async move {
                    let (health, load) = probe.watch().await;
                    (Event::Checked(health), load)
                };
                running.question = Some(watch.boxed());
            }
            Action::Terminate => running.end(Process::terminate),
            Action::Kill => running.end(Process::kill),
        }
        None
    }

    async fn launch(&mut self, running: &mut Running) -> Event {
        running.first_line = self.log.begin_launch();
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
        let transient = |reason: String| Crash { reason, permanent: false };
        self.probe.address =
            address(self.adapter.listens(), &self.socket).map_err(|error| transient(error.to_string()))?;
        // A stale one makes vLLM fail, after a minute.
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(transient(format!("cannot remove {}: {error}", self.socket.display())));
            }
            _ => {}
        }
        let command = self.adapter.command_line(&self.plan, &self.probe.address, &self.inherited);
        self.say(&format!("executing {}", command.describe()));
        self.remember(Stage::Starting).map_err(|error| transient(format!("cannot record the replica: {error}")))?;
        Process::spawn(&self.shim, &command, &self.log).await.map_err(|error| {
            let program = command.program.display();
            Crash { reason: format!("cannot execute {program}: {error}"), permanent: reason::is_permanent(&error) }
        })
    }

    /// What an exit means, from its status and the last lines.
    fn crash(&self, status: ExitStatus, first_line: u64) -> Crash {
        let lines: Vec<String> = self.log.since(first_line).into_iter().filter_map(reason::of_engine).collect();
        let permanent = match lines.iter().map(String::as_str).rev().find(|line| self.adapter.is_permanent(None, line))
        {
            Some(line) => Some(line.to_owned()),
            None => self.adapter.is_permanent(status.code(), "").then(|| reason::last_words(&lines)),
        };
        let words = permanent.clone().unwrap_or_else(|| reason::last_words(&lines));
        let reason = if words.is_empty() { status.to_string() } else { format!("{status}: {words}") };
        self.say(&format!("ended with {status}"));
        Crash { reason, permanent: permanent.is_some() }
    }

    pub(crate) fn say(&self, line: &str) {
        tracing::info!(claim = %self.plan.claim, endpoint = %self.plan.endpoint, "engine: {line}");
        self.log.append(LogSource::Supervisor, line);
    }

    fn publish(&self, phase: EnginePhase, running: &Running) {
        self.board.set(EngineStatus {
            load: if phase == EnginePhase::Ready { running.load } else { Load::default() },
            phase: clipped(phase),
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
        self.question = None;
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

/// The answer to the open question, which is then no longer open.
async fn answer(question: &mut Option<BoxFuture<'static, (Event, Option<Load>)>>) -> (Event, Option<Load>) {
    match question {
        Some(open) => {
            let answer = open.await;
            *question = None;
            answer
        }
        None => std::future::pending().await,
    }
}

fn clipped(phase: EnginePhase) -> EnginePhase {
    let clipped = |reason: String| clip_reason(&reason);
    match phase {
        EnginePhase::Backoff { reason } => EnginePhase::Backoff { reason: clipped(reason) },
        EnginePhase::Failed { class, reason } => EnginePhase::Failed { class, reason: clipped(reason) },
        EnginePhase::Preparing(_)
        | EnginePhase::Starting
        | EnginePhase::Loading(_)
        | EnginePhase::Warming
        | EnginePhase::Ready
        | EnginePhase::Asleep
        | EnginePhase::Stopping => phase,
    }
}
