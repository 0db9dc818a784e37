//! The door of the crate: launches replicas, ends them, and says where they stand.

mod adoption;
mod books;
mod gateway;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use shoal_types::{ClaimId, EndpointSpec, EngineOffer, EngineSpec, GpuId};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::books::{Reins, Replicas, lock};
use crate::{
    EngineStatus, Launch, LaunchPlan, LogReader, StoredModel, SupervisorConfig, SupervisorError,
    adapter::{self, Adapter, Environment},
    directories::{Directories, claim_hash},
    launcher::Launcher,
    lifecycle::{Lifecycle, Profile},
    log::ReplicaLog,
    models::Models,
    probe::Probe,
    process::{Process, ShimConfig},
    record::ProcessRecord,
    replica::{self, Questions, Replica, Wanted},
    replica_record::Stage,
    status::StatusBoard,
};

/// How long a shutdown waits, beside the grace, for processes that SIGKILL has not ended yet.
const KILL_TAKES: Duration = Duration::from_secs(10);

/// Runs this node's engines. Dropped without [`Self::shutdown`], it leaves them to the next one, as a daemon that is
/// killed does.
#[derive(Debug)]
pub struct Supervisor {
    config: SupervisorConfig,
    inherited: Arc<Environment>,
    directories: Directories,
    board: StatusBoard,
    replicas: Arc<Mutex<Replicas>>,
    models: Models,
    adopted: Vec<LaunchPlan>,
    tasks: TaskTracker,
    stop: CancellationToken,
    abandon: CancellationToken,
    _abandon_on_drop: DropGuard,
}

impl Supervisor {
    /// Prepares the state directory and takes over the engines that the daemon before left running ([`Self::adopted`]).
    /// Those that cannot be taken over, or were to end, are killed, which can take 10 s. At most one supervisor may use
    /// a state directory.
    ///
    /// # Errors
    /// If the directory cannot be used, or the configuration cannot be right.
    pub async fn start(config: SupervisorConfig) -> Result<Self, SupervisorError> {
        for (name, command) in &config.commands {
            adapter::check_command(command)
                .map_err(|problem| SupervisorError::Command { name: name.clone(), problem })?;
        }
        let directories = Directories::prepare(&config.state_dir)?;
        let inherited = env::vars_os().filter(|(name, _)| is_inherited(name, &config.inherited_env)).collect();
        let models = Models::open(config.weights.clone(), Arc::clone(&config.gpus)).await?;
        let abandon = CancellationToken::new();
        let mut supervisor = Self {
            config,
            inherited: Arc::new(inherited),
            directories,
            board: StatusBoard::default(),
            replicas: Arc::default(),
            models,
            adopted: Vec::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            _abandon_on_drop: abandon.clone().drop_guard(),
            abandon,
        };
        supervisor.take_over().await?;
        Ok(supervisor)
    }

    /// The replicas that run since the start, because the daemon before left them running.
    pub fn adopted(&self) -> Vec<LaunchPlan> {
        self.adopted.clone()
    }

    /// The engines that this node's configuration allows and whose programs are there.
    pub fn offers(&self) -> Vec<EngineOffer> {
        adapter::offers(&self.config, &self.inherited)
    }

    /// Why this node's configuration would not run `spec`, as a sentence for its author; `None` if it would. Looks at a
    /// few files.
    pub async fn refuse(&self, spec: &EndpointSpec, gpus: &[GpuId]) -> Option<String> {
        let refused = if let EngineSpec::Gateway(engine) = &spec.engine {
            self.service(spec, engine).and_then(|(_, service)| Ok(service.read_key()?)).err()
        } else {
            adapter::adapter(&self.config, &self.inherited, spec).err()
        };
        match refused {
            Some(reason) => Some(reason.to_string()),
            None => self.models.refuse(spec, gpus).await,
        }
    }

    /// The models on this node's disk, where its configuration has a place for them.
    pub fn models(&self) -> Vec<StoredModel> {
        self.models.list()
    }

    /// Starts a replica; its status is there when this returns.
    ///
    /// # Errors
    /// If it is refused, runs already, or nothing is started any more.
    pub fn launch(&self, plan: LaunchPlan) -> Result<(), SupervisorError> {
        if self.tasks.is_closed() {
            return Err(SupervisorError::ShuttingDown);
        }
        let mut replicas = lock(&self.replicas);
        if replicas.running.contains_key(&plan.claim) {
            return Err(SupervisorError::AlreadyRunning(plan.claim));
        }
        if let EngineSpec::Gateway(engine) = &plan.spec.engine {
            return self.launch_gateway(&mut replicas, &plan, engine);
        }
        self.begin(&mut replicas, self.replica(plan)?, None);
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

    /// A GPU of a replica reported `fault`, after which its engine is not to be trusted: it is killed and started again.
    /// Nothing happens if there is none, or it has no process.
    pub fn gpu_fault(&self, claim: ClaimId, fault: &str) {
        if let Some(replica) = lock(&self.replicas).running.get(&claim) {
            replica.faults.send_replace(Some(fault.to_owned()));
        }
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

    /// The log of a replica, or of one of the last that are gone; `None` if there is none of that launch.
    pub fn logs(&self, claim: ClaimId, launch: Launch) -> Option<LogReader> {
        let replicas = lock(&self.replicas);
        let running = replicas.running.get(&claim).map(|replica| &replica.log);
        let ended = || replicas.ended.iter().find(|(ended, _)| *ended == claim).map(|(_, log)| log);
        let log = running.or_else(ended)?;
        match launch {
            Launch::Current => Some(LogReader::new(log.clone())),
            Launch::Previous => log.previous().map(LogReader::new),
        }
    }

    /// Stops watching the replicas and leaves their engines running, for the next daemon to take over. One that was
    /// told to stop and has not yet is killed by that daemon, or once its shim has waited long enough for one.
    pub async fn detach(&self) {
        self.tasks.close();
        self.abandon.cancel();
        self.tasks.wait().await;
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

    /// Puts `replica` on the books and runs it, from `process` on if it has one.
    fn begin(&self, replicas: &mut Replicas, replica: Replica, process: Option<Process>) {
        self.board.set(replica.initial_status());
        let reins = Reins::new(replica.stop.clone(), replica.log.clone());
        // Before anybody can say anything: the task may run for the first time only after that.
        let questions = reins.questions();
        replicas.running.insert(replica.plan.claim, reins);
        self.tasks.spawn(supervise(replica, process, questions, self.replicas.clone()));
    }

    fn profile(&self, plan: &LaunchPlan, adapter: &dyn Adapter) -> Profile {
        Profile {
            start: adapter.start(&self.config),
            prepares: self.models.preparation(plan).is_some(),
            sleeps: adapter.sleep().map(|sleep| sleep.keep.0),
            seed: claim_hash(plan.claim),
        }
    }

    fn replica(&self, plan: LaunchPlan) -> Result<Replica, SupervisorError> {
        let adapter = adapter::adapter(&self.config, &self.inherited, &plan.spec)?;
        let directory = self.directories.of_replica(plan.claim)?;
        let socket = self.directories.engine_socket(plan.claim);
        let probe = Probe {
            address: replica::address(adapter.listens(), &socket)?,
            health_path: adapter.health_path().to_owned(),
            names: adapter.listed_names(&plan),
            metrics: adapter.metrics(),
            canary: adapter.canary(),
            timings: self.config.timings.clone(),
        };
        let profile = self.profile(&plan, &*adapter);
        let shim = ShimConfig {
            launcher: self.config.shim_launcher.clone().map_or(Launcher::Daemon, Launcher::Socket),
            shoal: self.config.shoal_binary.clone(),
            directory,
            socket: self.directories.shim_socket(plan.claim),
            orphan_grace: self.config.orphan_grace,
            term_grace: self.config.timings.grace,
        };
        Ok(Replica {
            lifecycle: Lifecycle::new(Instant::now(), profile, self.config.timings.clone()),
            preparation: self.models.preparation(&plan),
            models: self.models.clone(),
            gpus: self.config.gpus.clone(),
            log: ReplicaLog::new(),
            inherited: self.inherited.clone(),
            board: self.board.clone(),
            stop: self.stop.child_token(),
            abandon: self.abandon.clone(),
            plan,
            adapter,
            shim,
            stage: Stage::Starting,
            socket,
            probe,
        })
    }
}

/// Runs `replica` to its end, and takes it off the books.
async fn supervise(replica: Replica, process: Option<Process>, questions: Questions, replicas: Arc<Mutex<Replicas>>) {
    let (claim, log, board) = (replica.plan.claim, replica.log.clone(), replica.board.clone());
    let (models, abandon) = (replica.models.clone(), replica.abandon.clone());
    let (directory, socket) = (replica.shim.directory.clone(), replica.socket.clone());
    replica.run(process, questions).await;
    log.close();
    if abandon.is_cancelled() {
        // It is the next daemon's: to say that it is gone would be wrong.
        return;
    }
    models.release(claim);
    // While it is recorded, processes may be left of it, and be somebody else's soon.
    if !ProcessRecord::exists(&directory) {
        // There is none where it listens on a port, or has removed it.
        let _ = tokio::fs::remove_file(&socket).await;
        remove_directory(&directory).await;
    }
    lock(&replicas).end(claim);
    board.remove(claim);
}

async fn remove_directory(directory: &Path) {
    if let Err(error) = tokio::fs::remove_dir_all(directory).await {
        tracing::warn!(directory = %directory.display(), %error, "cannot remove the directory of a replica");
    }
}

/// Whether `name` matches one of `patterns`, which may end in `*`.
fn is_inherited(name: &OsStr, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
        None => name == OsStr::new(pattern),
    })
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
}
