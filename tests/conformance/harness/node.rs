//! A supervisor with one engine, and waits for what becomes of it.

use std::{
    collections::BTreeMap,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use shoal_engine_supervisor::{
    EnginePhase, EngineStatus, FailureClass, Launch, LaunchPlan, Supervisor, SupervisorConfig, SupervisorError, Timings,
};
use shoal_types::{
    ClaimId, EndpointSpec, GpuId, Hlc, NodeId, Placement, Replicas, Resources, Revision, Rollout, Routing, Scaling,
    UnixMillis,
};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{EngineUnderTest, Group};

/// The endpoint's name, by which clients ask.
pub(crate) const NAME: &str = "demo";

/// A supervisor whose one replica is the engine under test.
pub(crate) struct Node {
    pub(crate) engine: EngineUnderTest,
    pub(crate) claim: ClaimId,
    supervisor: Supervisor,
    statuses: watch::Receiver<Arc<BTreeMap<ClaimId, EngineStatus>>>,
    _state: TempDir,
}

impl Node {
    /// Launches `engine`.
    pub(crate) async fn launch(engine: EngineUnderTest) -> Self {
        let node = Self::idle(engine).await;
        node.try_launch().unwrap();
        node
    }

    /// Launches nothing yet.
    pub(crate) async fn idle(engine: EngineUnderTest) -> Self {
        let state = TempDir::with_prefix("shoal-").unwrap();
        let mut config = SupervisorConfig::new(state.path().to_owned(), shoal_binary(state.path()));
        // A suite that is broken off leaves no engine behind.
        config.orphan_grace = Duration::from_secs(10);
        config.timings = timings(&engine);
        engine.configure(&mut config);
        let supervisor = Supervisor::start(config).await.unwrap();
        let claim = ClaimId { node: NodeId::from_bytes([7; 16]), generation: UnixMillis::from_millis(1), counter: 1 };
        Self { engine, claim, statuses: supervisor.statuses(), supervisor, _state: state }
    }

    pub(crate) fn try_launch(&self) -> Result<(), SupervisorError> {
        self.supervisor.launch(plan(self.claim, &self.engine))
    }

    /// Launches it and waits until it serves.
    pub(crate) async fn serving(engine: EngineUnderTest) -> (Self, EngineStatus) {
        let node = Self::launch(engine).await;
        let status = node.ready().await;
        (node, status)
    }

    pub(crate) async fn ready(&self) -> EngineStatus {
        self.until("it is ready", |status| status.phase == EnginePhase::Ready).await
    }

    /// The status, as soon as it is like that.
    pub(crate) async fn until(&self, what: &str, like: impl Fn(&EngineStatus) -> bool) -> EngineStatus {
        let mut statuses = self.statuses.clone();
        let wait = statuses.wait_for(|all| all.get(&self.claim).is_some_and(&like));
        let reached = timeout(self.engine.patience(), wait).await;
        let status = reached.ok().map(|all| all.unwrap()[&self.claim].clone());
        status.unwrap_or_else(|| panic!("waited until {what}: {:?}; log: {:#?}", self.statuses.borrow(), self.log()))
    }

    /// Waits until another process serves in the place of `before`, of whose group nobody is left by then.
    pub(crate) async fn replaced(&self, before: &EngineStatus) -> EngineStatus {
        let group = Group::of(before);
        let launched = |status: &EngineStatus| status.pid.is_some() && status.pid != before.pid;
        self.until("another is launched", launched).await;
        assert_eq!(group.members(), [], "the GPUs were not free at the next launch");
        let serves = |status: &EngineStatus| launched(status) && status.phase == EnginePhase::Ready;
        let after = self.until("another serves", serves).await;
        assert!(after.crashes > before.crashes, "a crash is counted");
        after
    }

    /// Why it has failed for good.
    pub(crate) async fn failed(&self) -> (FailureClass, String) {
        let status = self.until("it has failed", |status| matches!(status.phase, EnginePhase::Failed { .. })).await;
        let EnginePhase::Failed { class, reason } = status.phase else { unreachable!() };
        (class, reason)
    }

    /// Tells it to stop and waits until it is gone; how long that took.
    pub(crate) async fn stop(&self) -> Duration {
        let asked = Instant::now();
        self.supervisor.stop(self.claim);
        let mut statuses = self.statuses.clone();
        let gone = statuses.wait_for(|all| !all.contains_key(&self.claim));
        timeout(self.engine.patience(), gone).await.expect("it is gone").unwrap();
        asked.elapsed()
    }

    /// Waits for a line of the log that contains `part`.
    pub(crate) async fn logged(&self, part: &str) {
        let mut log = self.supervisor.logs(self.claim, Launch::Current).unwrap();
        let found = async {
            while let Some(line) = log.next().await {
                if line.text.contains(part) {
                    return;
                }
            }
            panic!("the log ends without `{part}`");
        };
        timeout(self.engine.patience(), found).await.unwrap_or_else(|_| panic!("no `{part}` in {:#?}", self.log()));
    }

    pub(crate) fn log(&self) -> Vec<String> {
        let Some(mut log) = self.supervisor.logs(self.claim, Launch::Current) else { return Vec::new() };
        std::iter::from_fn(|| log.available()).map(|line| line.text.to_string()).collect()
    }

    /// Times that it was started.
    pub(crate) fn launches(&self) -> usize {
        self.log().iter().filter(|line| line.starts_with("started as")).count()
    }
}

/// Stands for the real program, which another crate builds: a script beside a link to this test program, whose test
/// `as_shoal` takes the verbs that shims are.
fn shoal_binary(directory: &Path) -> PathBuf {
    let shoal = directory.join("shoal");
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine-supervisor/tests/bin/shoal"), &shoal).unwrap();
    symlink(std::env::current_exe().unwrap(), directory.join("test-program")).unwrap();
    shoal
}

fn timings(engine: &EngineUnderTest) -> Timings {
    Timings {
        start: engine.patience(),
        start_poll: Duration::from_millis(20),
        // Longer than the last lines of an engine that ended are waited for, so that its end is what is told.
        watch: Duration::from_millis(250),
        backoff: Duration::from_millis(50),
        idle: Duration::from_secs(3),
        canary: Duration::from_secs(5),
        grace: engine.grace(),
        ..Timings::default()
    }
}

fn plan(claim: ClaimId, engine: &EngineUnderTest) -> LaunchPlan {
    let spec = EndpointSpec {
        model: engine.model().display().to_string(),
        model_revision: None,
        aliases: ["alias".to_owned()].into(),
        adapters: Default::default(),
        engine: engine.spec(),
        resources: Resources::default(),
        replicas: Replicas::default(),
        scaling: Scaling::default(),
        placement: Placement::default(),
        rollout: Rollout::default(),
        routing: Routing::default(),
    };
    LaunchPlan {
        claim,
        endpoint: NAME.parse().unwrap(),
        revision: Revision(Hlc { time: claim.generation, counter: 0, node: claim.node }),
        claimed: claim.generation,
        spec,
        gpus: vec![GpuId("GPU-0".to_owned())],
    }
}
