use std::{os::unix::fs::symlink, time::Duration};

use futures_util::future::BoxFuture;
use shoal_types::{
    ClaimId, CommandEngine, EndpointSpec, EngineSpec, Hlc, NodeId, Placement, ProgressUnit, Replicas, Resources,
    Revision, Rollout, Routing, Scaling, UnixMillis,
};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use super::*;
use crate::{CommandConfig, NoGpuWatch, SupervisorConfig, Timings, adapter, launcher::Launcher, lifecycle::Profile};

/// Fetches one of two shards, and waits for the test.
#[derive(Debug)]
struct Fetch(std::sync::Mutex<Option<oneshot::Receiver<Result<(), Crash>>>>);

impl Prepare for Fetch {
    fn prepare(&self, progress: watch::Sender<Option<Progress>>) -> BoxFuture<'static, Result<(), Crash>> {
        let result = self.0.lock().unwrap().take();
        Box::pin(async move {
            progress.send_replace(Some(Progress { done: 1, total: 2, unit: ProgressUnit::Shards }));
            result.unwrap().await.unwrap()
        })
    }
}

/// A replica of a command that would live long, and the way to end its preparation.
fn replica(directory: &Path) -> (Replica, oneshot::Sender<Result<(), Crash>>) {
    let claim = ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(5), counter: 1 };
    let spec = EndpointSpec {
        model: "org/model".to_owned(),
        model_revision: None,
        aliases: [].into(),
        adapters: Default::default(),
        engine: EngineSpec::Command(CommandEngine { name: "sleep".to_owned() }),
        resources: Resources::default(),
        replicas: Replicas::default(),
        scaling: Scaling::default(),
        placement: Placement::default(),
        rollout: Rollout::default(),
        routing: Routing::default(),
    };
    let mut config = SupervisorConfig::new(directory.to_owned(), "/bin/sh".into());
    config.commands.insert("sleep".to_owned(), CommandConfig::new("/bin/sh", ["-c", "exec sleep 300", "{socket}"]));
    let inherited: Arc<Environment> = Arc::default();
    let adapter = adapter::adapter(&config, &inherited, &spec).unwrap();
    let (done, result) = oneshot::channel();
    let socket = directory.join("sock");
    let shoal = directory.join("shoal");
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bin/shoal"), &shoal).unwrap();
    symlink(std::env::current_exe().unwrap(), directory.join("test-program")).unwrap();
    let profile = Profile { start: Duration::from_secs(60), prepares: true, sleeps: None, seed: 1 };
    let timings = Timings { grace: Duration::from_secs(5), ..Timings::default() };
    let replica = Replica {
        probe: Probe {
            address: EngineAddress::Unix(socket.clone()),
            health_path: "/health".to_owned(),
            names: vec![],
            metrics: adapter.metrics(),
            canary: adapter.canary(),
            timings: timings.clone(),
        },
        lifecycle: Lifecycle::new(Instant::now(), profile, timings),
        preparation: Some(Arc::new(Fetch(std::sync::Mutex::new(Some(result))))),
        models: Models::none(),
        gpus: Arc::new(NoGpuWatch),
        log: ReplicaLog::new(),
        board: StatusBoard::default(),
        stop: CancellationToken::new(),
        abandon: CancellationToken::new(),
        plan: LaunchPlan {
            claim,
            endpoint: "demo".parse().unwrap(),
            revision: Revision(Hlc { time: claim.generation, counter: 0, node: claim.node }),
            claimed: claim.generation,
            spec,
            gpus: vec![],
        },
        adapter,
        inherited,
        shim: ShimConfig {
            launcher: Launcher::Daemon,
            shoal,
            directory: directory.to_owned(),
            socket: directory.join("shim"),
            orphan_grace: Duration::from_secs(20),
            term_grace: Duration::from_secs(1),
        },
        stage: Stage::Starting,
        socket,
    };
    (replica, done)
}

/// Runs a replica while `check` looks at its phases; then stops it.
async fn run(replica: Replica, check: impl AsyncFnOnce(&mut dyn FnMut(&str) -> BoxFuture<'static, ()>)) {
    let (board, stop) = (replica.board.clone(), replica.stop.clone());
    let mut until = move |phase: &str| -> BoxFuture<'static, ()> {
        let (mut statuses, phase) = (board.watch(), phase.to_owned());
        Box::pin(async move {
            let reached = statuses.wait_for(|all| all.values().any(|status| status.phase.to_string() == phase));
            let reached = timeout(Duration::from_secs(20), reached).await.map(drop);
            assert!(reached.is_ok(), "{phase} is not reached: {:?}", statuses.borrow());
        })
    };
    let checked = async move {
        check(&mut until).await;
        stop.cancel();
    };
    let (wanted, faults) = (watch::Sender::new(Wanted::Awake), watch::Sender::new(None));
    let questions = Questions::new(wanted.subscribe(), faults.subscribe());
    tokio::join!(replica.run(None, questions), checked);
}

#[tokio::test]
async fn nothing_is_launched_before_it_is_prepared() {
    let directory = tempfile::tempdir().unwrap();
    let (replica, done) = replica(directory.path());
    let log = replica.log.clone();
    run(replica, async |until| {
        until("preparing: 1 of 2 shards").await;
        assert!(log.since(0).is_empty(), "nothing runs");
        done.send(Ok(())).unwrap();
        until("starting").await;
    })
    .await;
    assert!(log.since(0).iter().any(|line| line.text.starts_with("started as")));
}

#[tokio::test]
async fn what_cannot_be_prepared_is_not_launched() {
    let directory = tempfile::tempdir().unwrap();
    let (replica, done) = replica(directory.path());
    let log = replica.log.clone();
    run(replica, async |until| {
        done.send(Err(Crash::config("no such model at the hub".to_owned()))).unwrap();
        until("failed (config): no such model at the hub").await;
    })
    .await;
    assert!(log.since(0).is_empty());
}

#[tokio::test]
async fn a_preparation_ends_with_its_replica() {
    let directory = tempfile::tempdir().unwrap();
    let (replica, done) = replica(directory.path());
    run(replica, async |until| until("preparing: 1 of 2 shards").await).await;
    assert!(done.is_closed(), "nobody fetches any more");
}
