//! The shim's loop, between one engine and the daemon of the moment.

use std::{
    fs, io,
    os::{
        fd::AsFd as _,
        unix::{fs::PermissionsExt as _, net::UnixStream as StdUnixStream, process::ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{getpid, set_child_subreaper, setsid},
    stdio::dup2_stdin,
};
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Frames, LaunchOrder, Report, Request, ShimError, ShimOptions,
    daemon::{Attached, Daemon, FIRST_WORD, Fate, greet, send},
    engine::{Engine, EngineEvent},
    log::EngineLog,
};
use crate::{record::ProcessRecord, stat::ProcessStat};

/// Requests that may wait for the loop.
const REQUESTS: usize = 8;
/// Connections of which it may not be known yet whether a daemon has made them.
const GUESTS: usize = 4;

/// Runs a shim until its engine is over and a daemon has taken note of it, or none has come to do so.
///
/// To be called from the main thread of a process that does nothing else: it takes over standard input, and reaps all
/// children.
///
/// # Errors
/// If it cannot start an engine.
pub fn engine_shim(options: ShimOptions) -> Result<(), ShimError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ShimError::Process { doing: "start the async runtime", source })?;
    runtime.block_on(serve(options.directory))
}

async fn serve(directory: Option<PathBuf>) -> Result<(), ShimError> {
    let (reader, mut writer) = daemon_on_stdin().map_err(ShimError::NoDaemon)?.into_split();
    let mut requests = Frames::new(reader);
    if directory.is_none() {
        send(&mut writer, &Report::Here { pid: std::process::id() }).await.map_err(ShimError::NoDaemon)?;
    }
    let order = match timeout(FIRST_WORD, requests.next()).await {
        Ok(Ok(Some(Request::Launch(order)))) => order,
        Ok(Err(error)) => return Err(ShimError::NoDaemon(error)),
        // The daemon has died, or does not know what it wants.
        Ok(Ok(_)) | Err(_) => return Ok(()),
    };
    match Shim::start(directory, order).await {
        Ok(shim) => {
            shim.run((requests, writer)).await;
            Ok(())
        }
        Err(error) => {
            let report = Report::NotStarted { errno: error.errno(), reason: error.to_string() };
            // If the daemon is gone, nobody asks for the reason.
            let _ = send(&mut writer, &report).await;
            Err(error)
        }
    }
}

/// The socket that is our standard input, which then is none any more: it has to close when we close it.
fn daemon_on_stdin() -> io::Result<UnixStream> {
    let stream = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    dup2_stdin(fs::File::open("/dev/null")?)?;
    UnixStream::from_std(stream)
}

/// A running shim.
struct Shim {
    engine: Engine,
    log: Arc<EngineLog>,
    fate: watch::Sender<Fate>,
    listener: UnixListener,
    socket: PathBuf,
    terminated: Signal,
    orphan_grace: Duration,
    term_grace: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A daemon says what happens.
    Attached,
    /// There is none; if none comes until then, the engine ends.
    Orphaned(Instant),
    /// The shim has told the engine to end, and kills it then.
    Ending(Instant),
    /// It has killed it.
    Killed,
    /// The daemon knows that the engine is over.
    Released,
}

impl Shim {
    async fn start(told: Option<PathBuf>, order: LaunchOrder) -> Result<Self, ShimError> {
        let process = |doing| move |source: io::Error| ShimError::Process { doing, source };
        let file = |doing, path: &Path, source| ShimError::File { doing, path: path.to_owned(), source };
        lead_session().map_err(process("lead a session of its own"))?;
        set_child_subreaper(Some(getpid())).map_err(io::Error::from).map_err(process("become a reaper of orphans"))?;
        let terminated = signal(SignalKind::terminate()).map_err(process("listen to SIGTERM"))?;
        let LaunchOrder { shoal, command, directory, socket, orphan_grace, term_grace } = order;
        let directory = told.or(directory).ok_or_else(|| io::Error::other("the daemon does not say where"));
        let directory = directory.map_err(process("tell where the replica lives"))?;
        let listener = listen(&socket).map_err(|source| file("listen on", &socket, source))?;
        let log = EngineLog::new(&directory);
        log.note(&format!("executing {}", command.describe())).await;
        let engine = Engine::start(&shoal, command, &directory, &log).await?;
        // Without it nobody would find what is left of an engine whose shim was killed.
        ProcessRecord::of_shim(std::process::id())
            .and_then(|record| record.with_engine(engine.pid())?.write(&directory))
            .map_err(|source| file("record the engine in", &directory, source))?;
        let (fate, state) = (watch::Sender::default(), State::Attached);
        Ok(Self { engine, log, fate, listener, socket, terminated, orphan_grace, term_grace, state })
    }

    /// Until the engine is over and nobody is to be told of it any more.
    async fn run(mut self, first: Attached) {
        let (inbox, mut asked) = mpsc::channel(REQUESTS);
        // One, and those that it has taken the place of.
        let mut daemons = JoinSet::new();
        daemons.spawn(self.daemon(&inbox).attend(first));
        let mut guests = JoinSet::new();
        while !self.is_over(daemons.is_empty() && guests.is_empty()) {
            let deadline = self.deadline();
            tokio::select! {
                event = self.engine.next() => self.note(event).await,
                Ok((stream, _)) = self.listener.accept(), if guests.len() < GUESTS => { guests.spawn(greet(stream)); }
                // Only now: a daemon whose connection closes kills the engine, and a stranger must not bring that about.
                Some(guest) = guests.join_next() => if let Ok(Some(daemon)) = guest {
                    daemons.abort_all();
                    daemons.spawn(self.daemon(&inbox).attend(daemon));
                    self.attached();
                },
                Some(_) = daemons.join_next() => if daemons.is_empty() { self.detached() },
                Some(request) = asked.recv() => self.obey(&request),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.end(),
                _ = self.terminated.recv() => self.end(),
            }
        }
        // Before the connection closes: the daemon may then start the next shim at once.
        let _ = fs::remove_file(&self.socket);
    }

    fn daemon(&self, inbox: &mpsc::Sender<Request>) -> Daemon {
        let (log, fate) = (self.log.reader(), self.fate.subscribe());
        Daemon { pid: self.engine.pid(), log, fate, inbox: inbox.clone() }
    }

    fn is_over(&self, alone: bool) -> bool {
        self.fate.borrow().empty
            && match self.state {
                State::Released => true,
                State::Ending(_) | State::Killed => alone,
                State::Attached | State::Orphaned(_) => false,
            }
    }

    const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Orphaned(until) | State::Ending(until) => Some(until),
            State::Attached | State::Killed | State::Released => None,
        }
    }

    async fn note(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::Exited(status) => {
                self.log.note(&format!("ended with {}", ExitStatus::from_raw(status))).await;
                self.fate.send_modify(|fate| fate.exit = Some(status));
            }
            EngineEvent::Empty => self.fate.send_modify(|fate| fate.empty = true),
        }
    }

    fn attached(&mut self) {
        if matches!(self.state, State::Orphaned(_)) {
            self.state = State::Attached;
        }
    }

    fn detached(&mut self) {
        if matches!(self.state, State::Attached) {
            self.state = State::Orphaned(Instant::now() + self.orphan_grace);
        }
    }

    fn obey(&mut self, request: &Request) {
        match request {
            Request::Terminate => self.engine.terminate(),
            Request::Kill => self.engine.kill(),
            // A daemon that went with an engine still running would leave it to nobody.
            Request::Release if self.fate.borrow().empty => self.state = State::Released,
            Request::Release | Request::Launch(_) | Request::Attach { .. } => {}
        }
    }

    /// No daemon has come in time, or somebody wants the shim to end.
    fn end(&mut self) {
        match self.state {
            State::Attached | State::Orphaned(_) => {
                self.engine.terminate();
                self.state = State::Ending(Instant::now() + self.term_grace);
            }
            State::Ending(_) => {
                self.engine.kill();
                self.state = State::Killed;
            }
            State::Killed | State::Released => {}
        }
    }
}

/// A shim that a service manager has started leads one already, and cannot ask for another.
fn lead_session() -> io::Result<()> {
    let own = std::process::id();
    match setsid() {
        // From /proc: getsid(2) of a session that is led from outside our namespace is 0, which is no `Pid`.
        Err(Errno::PERM) if ProcessStat::of(own)?.session == own => Ok(()),
        led => led.map(drop).map_err(io::Error::from),
    }
}

/// Listens for the daemons to come, and for nobody of another user.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
