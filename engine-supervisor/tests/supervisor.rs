//! Real processes from launch to ready and back. Engines are `sh` scripts where they only have to live or die, and the
//! simulated engine, which this test program runs as a child of itself, where they have to answer.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use shoal_engine_supervisor::{
    CommandConfig, EnginePhase, EngineStatus, LaunchPlan, LogSource, ProgramConfig, SimOptions, Supervisor,
    SupervisorConfig, SupervisorError, Timings, sim_engine,
};
use shoal_types::{
    Backend, ClaimId, CommandEngine, EndpointSpec, EngineAddress, EngineSpec, GpuId, Hlc, HumanDuration, NodeId,
    Placement, Replicas, Resources, Revision, Routing, SimEngine, UnixMillis, VllmEngine,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

#[path = "supervisor/health.rs"]
mod health;

const DEADLINE: Duration = Duration::from_secs(60);

/// A supervisor in a state directory of its own.
struct Node {
    state: tempfile::TempDir,
    supervisor: Supervisor,
    statuses: watch::Receiver<Arc<BTreeMap<ClaimId, EngineStatus>>>,
}

impl Node {
    async fn start(change: impl FnOnce(&mut SupervisorConfig)) -> Self {
        let state = tempfile::tempdir().unwrap();
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bin/shoal"), state.path().join("shoal")).unwrap();
        symlink(std::env::current_exe().unwrap(), state.path().join("test-program")).unwrap();
        let mut config = SupervisorConfig::new(state.path().join("state"), state.path().join("shoal"));
        config.timings = Timings {
            start_poll: Duration::from_millis(20),
            watch: Duration::from_millis(50),
            health: Duration::from_secs(5),
            backoff: Duration::from_millis(20),
            grace: Duration::from_secs(20),
            ..Timings::default()
        };
        change(&mut config);
        let supervisor = Supervisor::start(config).await.unwrap();
        Self { statuses: supervisor.statuses(), state, supervisor }
    }

    /// A node whose only engine is `script`. `{socket}` must occur in a command, so it is the script's `$0`.
    async fn with_script(script: &str, change: impl FnOnce(&mut SupervisorConfig)) -> Self {
        Self::start(|config| {
            config.commands.insert("script".to_owned(), CommandConfig::new("sh", ["-c", script, "{socket}"]));
            change(config);
        })
        .await
    }

    fn launch(&self, engine: EngineSpec) -> ClaimId {
        self.supervisor.launch(plan(1, engine)).unwrap();
        claim(1)
    }

    fn launch_script(&self) -> ClaimId {
        self.launch(EngineSpec::Command(CommandEngine { name: "script".to_owned() }))
    }

    /// The status, as soon as it is like that.
    async fn until(&self, claim: ClaimId, like: impl Fn(&EngineStatus) -> bool) -> EngineStatus {
        let mut statuses = self.statuses.clone();
        let reached = timeout(DEADLINE, statuses.wait_for(|all| all.get(&claim).is_some_and(&like))).await;
        let status = reached.ok().map(|all| all.unwrap()[&claim].clone());
        status.unwrap_or_else(|| panic!("not reached; {:?}; log: {:#?}", self.statuses.borrow(), self.log(claim)))
    }

    async fn ready(&self, claim: ClaimId) -> EngineStatus {
        self.until(claim, |status| status.phase == EnginePhase::Ready).await
    }

    async fn failed(&self, claim: ClaimId) -> String {
        let status = self.until(claim, |status| matches!(status.phase, EnginePhase::Failed { .. })).await;
        let EnginePhase::Failed { reason, .. } = status.phase else { unreachable!() };
        reason
    }

    async fn gone(&self, claim: ClaimId) {
        timeout(DEADLINE, self.statuses.clone().wait_for(|all| !all.contains_key(&claim))).await.unwrap().unwrap();
    }

    /// Waits for a line that starts with `prefix`, and returns the rest of it.
    async fn line(&self, claim: ClaimId, prefix: &str) -> String {
        let mut log = self.supervisor.logs(claim).unwrap();
        let found = async {
            loop {
                let line = log.next().await.expect("the log has such a line");
                if let Some(rest) = line.text.strip_prefix(prefix) {
                    return rest.to_owned();
                }
            }
        };
        timeout(DEADLINE, found).await.unwrap()
    }

    fn log(&self, claim: ClaimId) -> Vec<String> {
        let mut log = self.supervisor.logs(claim).unwrap();
        std::iter::from_fn(|| log.available()).map(|line| line.text.to_string()).collect()
    }

    fn directory(&self, claim: ClaimId) -> PathBuf {
        self.state.path().join("state/replicas").join(claim.to_string())
    }
}

fn claim(counter: u32) -> ClaimId {
    ClaimId { node: NodeId::from_bytes([7; 16]), generation: UnixMillis::from_millis(1), counter }
}

fn plan(counter: u32, engine: EngineSpec) -> LaunchPlan {
    let spec = EndpointSpec {
        model: "org/model".to_owned(),
        model_revision: None,
        aliases: ["alias".to_owned()].into(),
        engine,
        resources: Resources::default(),
        replicas: Replicas::default(),
        placement: Placement::default(),
        routing: Routing::default(),
    };
    let claim = claim(counter);
    let version = Hlc { time: claim.generation, counter: 0, node: claim.node };
    LaunchPlan {
        claim,
        endpoint: "demo".parse().unwrap(),
        revision: Revision(version),
        claimed: claim.generation,
        spec,
        gpus: vec![GpuId("SIM-0".to_owned())],
    }
}

fn sim() -> EngineSpec {
    let zero = HumanDuration::from_millis(0);
    EngineSpec::Sim(SimEngine {
        load_time: zero,
        time_to_first_token: zero,
        inter_token_latency: zero,
        max_num_seqs: 4,
        sleep: None,
    })
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

fn is_running(process: &str) -> bool {
    test_kill_process(pid(process.parse().unwrap())).is_ok()
}

/// Not a test: the program of the engines of the others.
#[test]
#[ignore = "runs as a child of the other tests"]
fn sim_engine_process() {
    let line = std::env::var("SHOAL_TEST_SIM_ENGINE").expect("started by another test");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            ended = sim_engine(parse(&line), stop.clone()) => ended.unwrap_or_else(|error| panic!("Error: {error}")),
            _ = terminate.recv() => {}
        }
    });
}

/// The flags of `shoal sim-engine`, as the command line of another crate reads them.
fn parse(line: &str) -> SimOptions {
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("sim-engine"));
    let mut options = SimOptions::new(EngineAddress::Unix(PathBuf::new()));
    while let Some(flag) = words.next() {
        if let Some(model) = flag.strip_prefix("--model=") {
            options.models.push(model.to_owned());
            continue;
        }
        if flag == "--enable-sleep-mode" {
            options.sleep_mode = true;
            continue;
        }
        let value = words.next().unwrap();
        let duration = || value.parse::<HumanDuration>().unwrap().0;
        match flag {
            "--uds" => options.listen = EngineAddress::Unix(value.into()),
            "--listen" => options.listen = EngineAddress::Loopback(value.parse().unwrap()),
            "--load-time" => options.load_time = duration(),
            "--time-to-first-token" => options.time_to_first_token = duration(),
            "--inter-token-latency" => options.inter_token_latency = duration(),
            "--max-num-seqs" => options.max_num_seqs = value.parse().unwrap(),
            "--max-model-len" => options.max_model_len = value.parse().unwrap(),
            "--parent" => options.parent = Some(value.parse().unwrap()),
            other => panic!("unknown flag {other}"),
        }
    }
    assert_eq!(options.models, ["demo", "org/model", "alias"]);
    options
}

#[tokio::test]
async fn a_simulated_engine_becomes_ready_and_goes_without_a_trace() {
    let node = Node::start(|config| config.sim = true).await;
    let claim = node.launch(sim());
    assert!(node.statuses.borrow().contains_key(&claim), "it has a status at once");
    assert!(matches!(node.supervisor.launch(plan(1, sim())), Err(SupervisorError::AlreadyRunning(_))));

    let ready = node.ready(claim).await;
    let Backend::Engine(EngineAddress::Unix(socket)) = &ready.backend else { panic!("{}", ready.backend) };
    assert!(socket.exists());
    assert!(node.directory(claim).join("process.json").exists());
    let loaded = node.until(claim, |status| status.load.running == Some(0)).await;
    assert_eq!((loaded.load.waiting, loaded.load.kv_cache, loaded.crashes), (Some(0), Some(0), 0));
    assert_eq!(loaded.gpus, [GpuId("SIM-0".to_owned())]);

    let mut log = node.supervisor.logs(claim).unwrap();
    let first = log.next().await.unwrap();
    assert_eq!(first.source, LogSource::Supervisor);
    assert!(first.text.contains("sim-engine --uds"), "{}", first.text);
    node.supervisor.stop(claim);
    node.gone(claim).await;
    assert!(!is_running(&ready.pid.unwrap().to_string()));
    assert!(!socket.exists() && !node.directory(claim).exists());
    while log.next().await.is_some() {}
    assert!(node.supervisor.logs(claim).is_some(), "one can still read why");
}

#[tokio::test]
async fn a_command_on_a_port_that_is_killed_becomes_ready_again() {
    let program = std::env::current_exe().unwrap();
    let node = Node::start(|config| {
        let args = ["--ignored", "--exact", "--nocapture", "sim_engine_process"];
        let mut command = CommandConfig::new(program, args);
        let flags = "sim-engine --listen 127.0.0.1:{port} --load-time 0s --model={name} --model={model} --model=alias";
        command.env.insert("SHOAL_TEST_SIM_ENGINE".to_owned(), flags.to_owned());
        config.commands.insert("program".to_owned(), command);
    })
    .await;
    let claim = node.launch(EngineSpec::Command(CommandEngine { name: "program".to_owned() }));
    let before = node.ready(claim).await;
    assert!(matches!(before.backend, Backend::Engine(EngineAddress::Loopback(address)) if address.ip().is_loopback()));

    kill_process(pid(before.pid.unwrap()), Signal::KILL).unwrap();
    let crashed = node.until(claim, |status| matches!(status.phase, EnginePhase::Backoff { .. })).await;
    assert!(crashed.phase.to_string().contains("signal: 9"), "{}", crashed.phase);
    assert_eq!(crashed.load.running, None, "unknown is not zero");
    let after = node.ready(claim).await;
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.crashes, 1);
    node.supervisor.shutdown().await;
    assert!(node.statuses.borrow().is_empty());
    assert!(!is_running(&after.pid.unwrap().to_string()));
}

#[tokio::test]
async fn an_engine_that_hangs_is_killed_and_started_again() {
    let node = Node::start(|config| {
        config.sim = true;
        config.timings.health = Duration::from_millis(300);
    })
    .await;
    let claim = node.launch(sim());
    let before = node.ready(claim).await.pid.unwrap();
    kill_process(pid(before), Signal::STOP).unwrap();
    let crashed = node.until(claim, |status| matches!(status.phase, EnginePhase::Backoff { .. })).await;
    assert!(crashed.phase.to_string().contains("missed 3 health checks"), "{}", crashed.phase);
    let after = node.until(claim, |status| status.phase == EnginePhase::Ready && status.pid != Some(before)).await;
    assert_eq!(after.crashes, 1);
}

#[tokio::test]
async fn a_crash_loop_ends_in_a_failure_that_quotes_the_engine() {
    let node = Node::with_script("echo 'ValueError: no such weights' >&2; exit 3", |_| {}).await;
    let claim = node.launch_script();
    let reason = node.failed(claim).await;
    for part in ["3 crashes in a row", "exit status: 3", "ValueError: no such weights"] {
        assert!(reason.contains(part), "{reason}");
    }
    let launches = node.log(claim).iter().filter(|line| line.starts_with("started as")).count();
    assert_eq!(launches, 3);
    node.supervisor.stop(claim);
    node.gone(claim).await;
}

#[tokio::test]
async fn an_exit_with_0_is_a_crash_too() {
    let node = Node::with_script("exit 0", |_| {}).await;
    let claim = node.launch_script();
    assert!(node.failed(claim).await.contains("exit status: 0"));
}

#[tokio::test]
async fn an_engine_that_never_answers_is_a_crash_at_its_deadline() {
    let node = Node::with_script("exec sleep 300", |config| {
        config.timings.start = Duration::from_millis(100);
        config.timings.crashes = 1;
    })
    .await;
    let claim = node.launch_script();
    let reason = node.failed(claim).await;
    assert!(reason.contains("did not serve within 100ms") && reason.contains("cannot connect"), "{reason}");
}

#[tokio::test]
async fn a_flag_that_vllm_does_not_know_is_not_tried_again() {
    let node = Node::start(|config| {
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bin/vllm");
        config.vllm = Some(ProgramConfig { binary, ..ProgramConfig::default() });
    })
    .await;
    let claim = node.launch(EngineSpec::Vllm(VllmEngine::default()));
    let reason = node.failed(claim).await;
    let expected = "it does not take its arguments: vllm: error: unrecognized arguments: --seed (exit status: 2)";
    assert_eq!(reason, expected);
}

#[tokio::test]
async fn sigterm_is_enough_for_an_engine_that_listens_to_it() {
    let node = Node::with_script("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", |_| {}).await;
    let claim = node.launch_script();
    node.line(claim, "up").await;
    let asked = Instant::now();
    node.supervisor.stop(claim);
    node.gone(claim).await;
    assert!(asked.elapsed() < Duration::from_secs(20), "the grace did not have to pass");
    assert!(node.log(claim).contains(&"bye".to_owned()));
}

#[tokio::test]
async fn sigkill_ends_a_group_that_ignores_sigterm_with_all_its_children() {
    let script = "trap '' TERM; sleep 300 & echo child $!; echo self $$; while :; do sleep 300; done";
    let node = Node::with_script(script, |config| config.timings.grace = Duration::from_millis(200)).await;
    let claim = node.launch_script();
    let (child, leader) = (node.line(claim, "child ").await, node.line(claim, "self ").await);
    assert!(is_running(&child) && is_running(&leader));
    let asked = Instant::now();
    node.supervisor.stop(claim);
    node.until(claim, |status| status.phase == EnginePhase::Stopping).await;
    node.gone(claim).await;
    assert!(asked.elapsed() >= Duration::from_millis(200), "it had its grace");
    assert!(!is_running(&leader));
    assert!(!is_alive(&child));
}

#[tokio::test]
async fn children_of_a_crashed_leader_are_killed_before_the_next_launch() {
    let script = "trap '' HUP TERM; sleep 300 & echo child $!; exit 1";
    let node = Node::with_script(script, |_| {}).await;
    let claim = node.launch_script();
    node.failed(claim).await;
    node.supervisor.stop(claim);
    node.gone(claim).await;
    let log = node.log(claim);
    let children: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("child ")).collect();
    assert_eq!(children.len(), 3);
    assert!(children.iter().all(|child| !is_alive(child)), "{log:?}");
}

/// Whether a process runs that is not ours to reap: one that has ended may stay as a zombie for ever.
fn is_alive(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_new_daemon_kills_what_the_one_before_left_behind() {
    let before = Node::with_script("echo up; exec sleep 300", |config| config.timings.crashes = 1).await;
    let claim = before.launch_script();
    before.line(claim, "up").await;
    let after = tempfile::tempdir().unwrap();
    let directory = after.path().join("replicas").join(claim.to_string());
    fs::create_dir_all(&directory).unwrap();
    fs::copy(before.directory(claim).join("process.json"), directory.join("process.json")).unwrap();

    let config = SupervisorConfig::new(after.path().to_owned(), "/bin/sh".into());
    let (supervisor, reason) = tokio::join!(Supervisor::start(config), before.failed(claim));
    assert!(supervisor.is_ok() && reason.contains("signal: 9"), "{reason}");
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_dropped_supervisor_kills_its_engines() {
    let node = Node::with_script("echo pid $$; exec sleep 300", |_| {}).await;
    let claim = node.launch_script();
    let leader = node.line(claim, "pid ").await;
    let Node { supervisor, mut statuses, state: _state } = node;
    drop(supervisor);
    let killed = async {
        while statuses.changed().await.is_ok() {}
        while is_alive(&leader) {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, killed).await.unwrap();
}

#[tokio::test]
async fn shutdown_ends_everything_and_nothing_starts_after_it() {
    let node = Node::with_script("echo up; exec sleep 300", |_| {}).await;
    let script = || EngineSpec::Command(CommandEngine { name: "script".to_owned() });
    for counter in 1..=4 {
        node.supervisor.launch(plan(counter, script())).unwrap();
        node.line(claim(counter), "up").await;
    }
    timeout(DEADLINE, node.supervisor.shutdown()).await.unwrap();
    assert!(node.statuses.borrow().is_empty());
    assert!(fs::read_dir(node.state.path().join("state/replicas")).unwrap().next().is_none());
    assert!(matches!(node.supervisor.launch(plan(5, script())), Err(SupervisorError::ShuttingDown)));
}

#[tokio::test]
async fn a_simulated_engine_dies_with_its_parent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sim.sock");
    let script = "export SHOAL_TEST_SIM_ENGINE=\"sim-engine --uds $1 $2 --parent $$\"\n\
                  \"$0\" --ignored --exact --nocapture sim_engine_process >&2 & echo $!; wait";
    let mut parent = tokio::process::Command::new("sh")
        .args(["-c", script])
        .args([&std::env::current_exe().unwrap(), &socket])
        .arg("--model=demo --model=org/model --model=alias")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let child = BufReader::new(parent.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let up = async {
        while !socket.exists() {
            tokio::task::yield_now().await
        }
    };
    timeout(DEADLINE, up).await.unwrap();
    parent.kill().await.unwrap();
    let down = async {
        while is_alive(&child) {
            tokio::task::yield_now().await
        }
    };
    timeout(DEADLINE, down).await.unwrap();
}

#[tokio::test]
async fn a_simulated_engine_whose_parent_is_gone_does_not_start() {
    let program = std::env::current_exe().unwrap();
    let node = Node::start(|config| {
        let mut command = CommandConfig::new(program, ["--ignored", "--exact", "--nocapture", "sim_engine_process"]);
        let flags = "sim-engine --uds {socket} --model={name} --model={model} --model=alias --parent 2147483647";
        command.env.insert("SHOAL_TEST_SIM_ENGINE".to_owned(), flags.to_owned());
        config.commands.insert("script".to_owned(), command);
    })
    .await;
    let reason = node.failed(node.launch_script()).await;
    assert!(reason.contains("process 2147483647, which started this simulated engine, is gone"), "{reason}");
}

#[tokio::test]
async fn what_is_refused_is_not_launched() {
    let node = Node::start(|_| {}).await;
    assert_eq!(node.supervisor.offers(), []);
    let plan = plan(1, sim());
    let refusal = node.supervisor.refuse(&plan.spec).unwrap();
    assert_eq!(refusal, "this node does not offer the engine kind `sim`");
    assert!(matches!(node.supervisor.launch(plan), Err(SupervisorError::Refused(_))));
    assert!(node.statuses.borrow().is_empty());
}
