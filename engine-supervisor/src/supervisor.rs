//! The door of the crate: launches replicas, ends them, and says where they stand.

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    ffi::OsStr,
    fs::{self, DirBuilder},
    io,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shoal_types::{ClaimId, EndpointSpec, EngineOffer, stable_hash};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    EngineStatus, LaunchPlan, LogReader, SupervisorConfig, SupervisorError,
    adapter::{self, Environment},
    lifecycle::{Lifecycle, Profile},
    log::ReplicaLog,
    probe::Probe,
    record::{ProcessRecord, clear_leftovers},
    replica::{self, Replica, Wanted},
    status::StatusBoard,
};

/// `sun_path` of Linux, without its final NUL.
const SOCKET_PATH_MAX: usize = 107;
/// Logs of replicas that are gone, kept so that one can still read why.
const ENDED_MAX: usize = 8;
/// How long a shutdown waits, beside the grace, for processes that SIGKILL has not ended yet.
const KILL_TAKES: Duration = Duration::from_secs(10);

/// Runs this node's engines. Dropped without [`Self::shutdown`], it kills them.
#[derive(Debug)]
pub struct Supervisor {
    config: SupervisorConfig,
    inherited: Arc<Environment>,
    directories: Directories,
    board: StatusBoard,
    replicas: Arc<Mutex<Replicas>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    abandon: CancellationToken,
    _abandon_on_drop: DropGuard,
}

/// Whom to tell, and what was said.
#[derive(Debug, Default)]
struct Replicas {
    running: BTreeMap<ClaimId, Reins>,
    ended: VecDeque<(ClaimId, Arc<ReplicaLog>)>,
}

/// The other ends of a replica's task.
#[derive(Debug)]
struct Reins {
    stop: CancellationToken,
    wanted: watch::Sender<Wanted>,
    log: Arc<ReplicaLog>,
}

impl Supervisor {
    /// Prepares the state directory and kills the engines that a previous daemon left behind, which can take 10 s for
    /// each. At most one supervisor may use a state directory.
    ///
    /// # Errors
    /// If the directory cannot be used, or the configuration cannot be right.
    pub async fn start(config: SupervisorConfig) -> Result<Self, SupervisorError> {
        for (name, command) in &config.commands {
            adapter::check_command(command)
                .map_err(|problem| SupervisorError::Command { name: name.clone(), problem })?;
        }
        let directories = Directories::prepare(&config.state_dir)?;
        clear_leftovers(&directories.replicas).await.map_err(|source| error("clear", &directories.replicas, source))?;
        let inherited = env::vars_os().filter(|(name, _)| is_inherited(name, &config.inherited_env)).collect();
        let abandon = CancellationToken::new();
        Ok(Self {
            config,
            inherited: Arc::new(inherited),
            directories,
            board: StatusBoard::default(),
            replicas: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            _abandon_on_drop: abandon.clone().drop_guard(),
            abandon,
        })
    }

    /// The engines that this node's configuration allows and whose programs are there.
    pub fn offers(&self) -> Vec<EngineOffer> {
        adapter::offers(&self.config, &self.inherited)
    }

    /// Why this node's configuration would not run `spec`, as a sentence for its author; `None` if it would. Looks at a
    /// few files.
    pub fn refuse(&self, spec: &EndpointSpec) -> Option<String> {
        adapter::adapter(&self.config, &self.inherited, spec).err().map(|reason| reason.to_string())
    }

    /// Starts a replica; its status is there when this returns.
    ///
    /// # Errors
    /// If it is refused, runs already, or nothing is started any more.
    pub fn launch(&self, plan: LaunchPlan) -> Result<(), SupervisorError> {
        if self.stop.is_cancelled() {
            return Err(SupervisorError::ShuttingDown);
        }
        let claim = plan.claim;
        let mut replicas = lock(&self.replicas);
        if replicas.running.contains_key(&claim) {
            return Err(SupervisorError::AlreadyRunning(claim));
        }
        let (wanted, changes) = watch::channel(Wanted::Awake);
        let replica = self.replica(plan, changes)?;
        self.board.set(replica.initial_status());
        replicas.running.insert(claim, Reins { stop: replica.stop.clone(), wanted, log: replica.log.clone() });
        self.tasks.spawn(supervise(replica, self.replicas.clone()));
        Ok(())
    }

    /// Ends a replica: SIGTERM, and SIGKILL of the whole group after the grace. Its status disappears when its group is
    /// empty. Nothing happens if there is none, or it is ending already.
    pub fn stop(&self, claim: ClaimId) {
        if let Some(replica) = lock(&self.replicas).running.get(&claim) {
            replica.stop.cancel();
        }
    }

    /// Puts a ready replica to sleep, which cuts off what it answers: drain it first. One that cannot sleep, is not
    /// ready, or does not fall asleep is stopped instead, and so is one that has slept for as long as its spec allows.
    /// Nothing happens if there is none, or it sleeps already.
    pub fn sleep(&self, claim: ClaimId) {
        self.want(claim, Wanted::Asleep);
    }

    /// Wakes a sleeping replica: it is warming, then ready; one that does not wake up is started again. Nothing happens
    /// if there is none, or it is awake.
    pub fn wake(&self, claim: ClaimId) {
        self.want(claim, Wanted::Awake);
    }

    fn want(&self, claim: ClaimId, wanted: Wanted) {
        if let Some(replica) = lock(&self.replicas).running.get(&claim) {
            replica.wanted.send_replace(wanted);
        }
    }

    /// Where each replica stands, from now on.
    pub fn statuses(&self) -> watch::Receiver<Arc<BTreeMap<ClaimId, EngineStatus>>> {
        self.board.watch()
    }

    /// The log of a replica, or of one of the last that are gone.
    pub fn logs(&self, claim: ClaimId) -> Option<LogReader> {
        let replicas = lock(&self.replicas);
        let running = replicas.running.get(&claim).map(|replica| &replica.log);
        let ended = || replicas.ended.iter().find(|(ended, _)| *ended == claim).map(|(_, log)| log);
        running.or_else(ended).cloned().map(LogReader::new)
    }

    /// Ends all replicas and waits for their last processes, at most the grace and 10 s more. What cannot be ended even
    /// then stays recorded, and the next start tries again.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(self.config.timings.grace + KILL_TAKES, self.tasks.wait()).await.is_err() {
            let left: Vec<_> = self.board.watch().borrow().values().map(|status| status.pid).collect();
            tracing::error!(pids = ?left, "some engines do not end, even killed; leaving them behind");
            self.abandon.cancel();
            self.tasks.wait().await;
        }
    }

    fn replica(&self, plan: LaunchPlan, wanted: watch::Receiver<Wanted>) -> Result<Replica, SupervisorError> {
        let adapter = adapter::adapter(&self.config, &self.inherited, &plan.spec)?;
        let directory = self.directories.of_replica(plan.claim)?;
        let socket = self.directories.socket(plan.claim);
        let probe = Probe {
            address: replica::address(adapter.listens(), &socket)?,
            health_path: adapter.health_path().to_owned(),
            names: adapter.listed_names(&plan),
            metrics: adapter.metrics(),
            canary: adapter.canary(),
            timings: self.config.timings.clone(),
        };
        let profile = Profile {
            start: adapter.start(&self.config),
            prepares: false,
            sleeps: adapter.sleep().map(|sleep| sleep.keep.0),
            seed: claim_hash(plan.claim),
        };
        Ok(Replica {
            lifecycle: Lifecycle::new(Instant::now(), profile, self.config.timings.clone()),
            preparation: None,
            gpus: self.config.gpus.clone(),
            wanted,
            log: ReplicaLog::new(directory.join("engine.log")),
            inherited: self.inherited.clone(),
            board: self.board.clone(),
            stop: self.stop.child_token(),
            abandon: self.abandon.clone(),
            plan,
            adapter,
            directory,
            socket,
            probe,
        })
    }
}

/// Runs `replica` to its end, and takes it off the books.
async fn supervise(replica: Replica, replicas: Arc<Mutex<Replicas>>) {
    let (claim, log, board, directory) =
        (replica.plan.claim, replica.log.clone(), replica.board.clone(), replica.directory.clone());
    replica.run().await;
    log.close();
    // While it is recorded, processes may be left of it.
    if !ProcessRecord::exists(&directory)
        && let Err(error) = tokio::fs::remove_dir_all(&directory).await
    {
        tracing::warn!(directory = %directory.display(), %error, "cannot remove the directory of a replica");
    }
    lock(&replicas).end(claim);
    board.remove(claim);
}

impl Replicas {
    fn end(&mut self, claim: ClaimId) {
        if let Some(replica) = self.running.remove(&claim) {
            self.ended.truncate(ENDED_MAX - 1);
            self.ended.push_front((claim, replica.log));
        }
    }
}

/// What is below the state directory.
#[derive(Debug)]
struct Directories {
    replicas: PathBuf,
    run: PathBuf,
}

impl Directories {
    fn prepare(state_dir: &Path) -> Result<Self, SupervisorError> {
        make(state_dir)?;
        // Engines run in directories of their own: the path of a socket must mean the same there.
        let state_dir = fs::canonicalize(state_dir).map_err(|source| error("resolve", state_dir, source))?;
        let directories = Self { replicas: state_dir.join("replicas"), run: state_dir.join("run") };
        make(&directories.replicas)?;
        make(&directories.run)?;
        directories.check_socket_path()?;
        directories.remove_sockets().map_err(|source| error("clear", &directories.run, source))?;
        Ok(directories)
    }

    fn of_replica(&self, claim: ClaimId) -> Result<PathBuf, SupervisorError> {
        let directory = self.replicas.join(claim.to_string());
        make(&directory)?;
        Ok(directory)
    }

    fn socket(&self, claim: ClaimId) -> PathBuf {
        self.run.join(socket_name(claim_hash(claim)))
    }

    fn check_socket_path(&self) -> Result<(), SupervisorError> {
        let path = self.run.join(socket_name(0));
        let len = path.as_os_str().len();
        if len > SOCKET_PATH_MAX {
            return Err(SupervisorError::SocketPathTooLong { path, len, max: SOCKET_PATH_MAX });
        }
        Ok(())
    }

    fn remove_sockets(&self) -> io::Result<()> {
        let is_socket = |path: &Path| path.extension().is_some_and(|extension| extension == "sock");
        let sockets = fs::read_dir(&self.run)?.flatten().map(|entry| entry.path()).filter(|path| is_socket(path));
        sockets.into_iter().try_for_each(fs::remove_file)
    }
}

/// Makes `directory`, for this user only: whoever reaches a socket in it can use the engine.
fn make(directory: &Path) -> Result<(), SupervisorError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| error("create", directory, source))
}

fn error(doing: &'static str, path: &Path, source: io::Error) -> SupervisorError {
    SupervisorError::Directory { doing, path: path.to_owned(), source }
}

fn socket_name(hash: u64) -> String {
    format!("{hash:016x}.sock")
}

fn claim_hash(claim: ClaimId) -> u64 {
    stable_hash(&[b"engine", claim.to_string().as_bytes()])
}

/// Whether `name` matches one of `patterns`, which may end in `*`.
fn is_inherited(name: &OsStr, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
        None => name == OsStr::new(pattern),
    })
}

fn lock(replicas: &Mutex<Replicas>) -> MutexGuard<'_, Replicas> {
    replicas.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_state_directory_too_deep_for_sockets_is_an_error_at_start() {
        let state = tempfile::tempdir().unwrap();
        let deep = state.path().join("d".repeat(100));
        let error = Supervisor::start(SupervisorConfig::new(deep, "/bin/sh".into())).await.unwrap_err();
        assert!(matches!(error, SupervisorError::SocketPathTooLong { len, max: 107, .. } if len > 107), "{error}");
    }

    #[test]
    fn only_what_is_configured_is_inherited() {
        let config = SupervisorConfig::new("/state".into(), "/bin/sh".into());
        let inherited = |name: &str| is_inherited(OsStr::new(name), &config.inherited_env);
        for name in ["PATH", "HOME", "LANG", "HF_TOKEN", "LC_ALL"] {
            assert!(inherited(name), "{name}");
        }
        for name in ["VLLM_PLUGINS", "PYTHONPATH", "LD_PRELOAD", "PATHS", "SHOAL_TOKEN"] {
            assert!(!inherited(name), "{name}");
        }
    }

    #[test]
    fn the_logs_of_the_last_ended_replicas_are_kept() {
        let mut replicas = Replicas::default();
        let claim = |counter| ClaimId {
            node: shoal_types::NodeId::from_bytes([1; 16]),
            generation: shoal_types::UnixMillis::from_millis(1),
            counter,
        };
        for counter in 0..20 {
            let log = ReplicaLog::new(PathBuf::from("/none"));
            let (wanted, _) = watch::channel(Wanted::Awake);
            replicas.running.insert(claim(counter), Reins { stop: CancellationToken::new(), wanted, log });
            replicas.end(claim(counter));
        }
        let kept: Vec<u32> = replicas.ended.iter().map(|(claim, _)| claim.counter).collect();
        assert_eq!(kept, [19, 18, 17, 16, 15, 14, 13, 12]);
    }
}
