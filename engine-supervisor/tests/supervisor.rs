//! Real processes from launch to ready and back. Engines are `sh` scripts where they only have to live or die, and the
//! simulated engine, which this test program runs as a child of itself, where they have to answer.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use shoal_engine_supervisor::{
    CommandConfig, EnginePhase, EngineStatus, ExecOptions, Launch, LaunchPlan, LogSource, ProgramConfig, ShimOptions,
    SimOptions, Supervisor, SupervisorConfig, SupervisorError, Timings, engine_exec, engine_shim, sim_engine,
};
use shoal_types::{
    Backend, ClaimId, CommandEngine, EndpointSpec, EngineAddress, EngineSpec, GpuId, Hlc, HumanDuration, NodeId,
    Placement, Replicas, Resources, Revision, Rollout, Routing, Scaling, SimEngine, UnixMillis, VllmEngine,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

#[path = "supervisor/health.rs"]
mod health;

const DEADLINE: Duration = Duration::from_secs(60);

/// A supervisor in a state directory of its own, and those after it.
struct Node {
    state: tempfile::TempDir,
    config: SupervisorConfig,
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
        // A test that fails leaves no engine behind.
        config.orphan_grace = Duration::from_secs(10);
        change(&mut config);
        let supervisor = Supervisor::start(config.clone()).await.unwrap();
        Self { statuses: supervisor.statuses(), state, config, supervisor }
    }

    /// Another daemon in the place of this one, as if this one had been killed.
    async fn restart(&mut self, change: impl FnOnce(&mut SupervisorConfig)) {
        self.supervisor.detach().await;
        change(&mut self.config);
        self.supervisor = Supervisor::start(self.config.clone()).await.unwrap();
        self.statuses = self.supervisor.statuses();
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
        let mut log = self.supervisor.logs(claim, Launch::Current).unwrap();
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
        let mut log = self.supervisor.logs(claim, Launch::Current).unwrap();
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
        adapters: Default::default(),
        engine,
        resources: Resources::default(),
        replicas: Replicas::default(),
        scaling: Scaling::default(),
        placement: Placement::default(),
        rollout: Rollout::default(),
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

/// Not a test: the `shoal` of the others, as `tests/bin/shoal` runs it.
#[test]
#[ignore = "runs as a child of the other tests"]
fn as_shoal() {
    let mut args = std::env::args_os().skip_while(|arg| arg != "--").skip(1);
    match args.next().expect("a verb").to_str() {
        Some("engine-shim") => {
            let directory = args.nth(1).map(Into::into);
            engine_shim(ShimOptions { directory }).unwrap_or_else(|error| panic!("Error: {error}"));
        }
        Some("engine-exec") => {
            let parent = args.nth(1).and_then(|pid| pid.to_str()?.parse().ok()).expect("--parent PID");
            panic!("Error: {}", engine_exec(ExecOptions { parent, command: args.skip(1).collect() }));
        }
        Some("sim-engine") => run_sim_engine(sim_options(args.map(|arg| arg.into_string().unwrap()))),
        verb => panic!("unknown verb {verb:?}"),
    }
}

fn run_sim_engine(options: SimOptions) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            ended = sim_engine(options, stop.clone()) => ended.unwrap_or_else(|error| panic!("Error: {error}")),
            _ = terminate.recv() => {}
        }
    });
}

/// The flags of `shoal sim-engine`, as the command line of another crate reads them.
fn sim_options(mut words: impl Iterator<Item = String>) -> SimOptions {
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
        match flag.as_str() {
            "--uds" => options.listen = EngineAddress::Unix(value.into()),
            "--listen" => options.listen = EngineAddress::Loopback(value.parse().unwrap()),
            "--load-time" => options.load_time = duration(),
            "--time-to-first-token" => options.time_to_first_token = duration(),
            "--inter-token-latency" => options.inter_token_latency = duration(),
            "--max-num-seqs" => options.max_num_seqs = value.parse().unwrap(),
            "--max-model-len" => options.max_model_len = value.parse().unwrap(),
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

    let mut log = node.supervisor.logs(claim, Launch::Current).unwrap();
    let first = log.next().await.unwrap();
    assert_eq!(first.source, LogSource::Supervisor);
    assert!(first.text.contains("sim-engine --uds"), "{}", first.text);
    node.supervisor.stop(claim);
    node.gone(claim).await;
    assert!(!is_running(&ready.pid.unwrap().to_string()));
    assert!(!socket.exists() && !node.directory(claim).exists());
    while log.next().await.is_some() {}
    assert!(node.supervisor.logs(claim, Launch::Current).is_some(), "one can still read why");
}

#[tokio::test]
async fn a_command_on_a_port_that_is_killed_becomes_ready_again() {
    let node = Node::start(|config| {
        let flags = "sim-engine --listen 127.0.0.1:{port} --load-time 0s --model={name} --model={model} --model=alias";
        let command = CommandConfig::new(config.shoal_binary.clone(), flags.split(' '));
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
async fn the_next_daemon_takes_a_serving_engine_over_within_two_seconds() {
    let mut node = Node::start(|config| config.sim = true).await;
    let claim = node.launch(sim());
    let before = node.ready(claim).await;
    node.supervisor.detach().await;
    assert!(matches!(node.supervisor.launch(plan(2, sim())), Err(SupervisorError::ShuttingDown)));
    assert!(is_running(&before.pid.unwrap().to_string()));

    let begun = Instant::now();
    node.restart(|_| {}).await;
    assert_eq!(node.supervisor.adopted(), [plan(1, sim())]);
    let after = node.ready(claim).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!((after.pid, &after.backend, after.crashes), (before.pid, &before.backend, 0));
    assert!(node.log(claim).iter().any(|line| line.starts_with("taken over as process ")), "{:?}", node.log(claim));

    // And it is supervised again: a crash is one, and its log is kept.
    kill_process(pid(after.pid.unwrap()), Signal::KILL).unwrap();
    node.until(claim, |status| status.phase == EnginePhase::Ready && status.pid != before.pid).await;
    let mut previous = node.supervisor.logs(claim, Launch::Previous).unwrap();
    let previous: Vec<_> = std::iter::from_fn(|| previous.available()).map(|line| line.text.to_string()).collect();
    assert!(previous.iter().any(|line| line.contains("signal: 9")), "{previous:?}");
    node.supervisor.stop(claim);
    node.gone(claim).await;
}

#[tokio::test]
async fn a_dropped_supervisor_is_one_that_was_killed() {
    let mut node = Node::with_script("echo pid $$; exec sleep 300", |_| {}).await;
    let claim = node.launch_script();
    let leader = node.line(claim, "pid ").await;
    node.restart(|_| {}).await;
    assert!(is_running(&leader), "it outlives its daemon");
    assert_eq!(node.line(claim, "pid ").await, leader, "what it wrote before is still there");
    node.supervisor.stop(claim);
    node.gone(claim).await;
    assert!(!is_running(&leader));
}

#[tokio::test]
async fn what_is_said_right_after_a_launch_is_heard() {
    let node = Node::with_script("exec sleep 300", |_| {}).await;
    let claim = node.launch_script();
    // Nothing was awaited: the replica's task has not run yet. It cannot sleep, so it ends.
    node.supervisor.sleep(claim);
    node.gone(claim).await;
}

#[tokio::test]
async fn the_next_daemon_sees_how_far_a_starting_engine_comes() {
    let vllm = |config: &mut SupervisorConfig| {
        let binary = config.state_dir.parent().unwrap().join("vllm");
        let script = "#!/bin/sh\necho Starting to load model org/model...\nexec sleep 300\n";
        fs::write(&binary, script).unwrap();
        fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        config.vllm = Some(ProgramConfig { binary, ..ProgramConfig::default() });
    };
    let mut node = Node::start(vllm).await;
    let engine = VllmEngine { args: vec![], env: BTreeMap::new(), sleep: None };
    let claim = node.launch(EngineSpec::Vllm(engine));
    node.until(claim, |status| status.phase == EnginePhase::Loading(None)).await;
    node.restart(|_| {}).await;
    node.until(claim, |status| status.phase == EnginePhase::Loading(None)).await;
    node.supervisor.shutdown().await;
}

#[tokio::test]
async fn what_was_to_end_does_not_come_back() {
    let script = "trap '' TERM; setsid sleep 300 & echo pids $$ $!; while :; do sleep 300; done";
    let mut node = Node::with_script(script, |_| {}).await;
    let claim = node.launch_script();
    let pids = node.line(claim, "pids ").await;
    node.supervisor.stop(claim);
    node.until(claim, |status| status.phase == EnginePhase::Stopping).await;
    node.restart(|_| {}).await;
    assert_eq!(node.supervisor.adopted(), []);
    assert!(!pids.split(' ').any(is_alive) && !node.directory(claim).exists());
}

#[tokio::test]
async fn what_this_node_offers_no_longer_is_not_taken_over() {
    let mut node = Node::with_script("echo pid $$; exec sleep 300", |_| {}).await;
    let claim = node.launch_script();
    let leader = node.line(claim, "pid ").await;
    node.restart(|config| config.commands.clear()).await;
    assert_eq!(node.supervisor.adopted(), []);
    assert!(!is_alive(&leader) && !node.directory(claim).exists());
}

#[tokio::test]
async fn an_engine_that_crashed_while_no_daemon_was_there_is_started_again() {
    let mut node = Node::with_script("echo pid $$; exec sleep 300", |_| {}).await;
    let claim = node.launch_script();
    let leader = node.line(claim, "pid ").await;
    node.supervisor.detach().await;
    kill_process(pid(leader.parse().unwrap()), Signal::KILL).unwrap();
    node.restart(|_| {}).await;
    let crashed = node.until(claim, |status| status.crashes == 1).await;
    assert!(crashed.phase == EnginePhase::Starting || crashed.phase.to_string().contains("signal: 9"), "{crashed:?}");
    node.until(claim, |status| status.pid.is_some_and(|pid| pid.to_string() != leader)).await;
    node.supervisor.shutdown().await;
}

#[tokio::test]
async fn an_engine_that_ended_with_its_shim_is_said_to_have() {
    let slow = |config: &mut SupervisorConfig| config.timings.backoff = DEADLINE;
    let node = Node::with_script("echo pid $$; exec sleep 300", slow).await;
    let claim = node.launch_script();
    let leader = node.line(claim, "pid ").await;
    let stat = fs::read_to_string(format!("/proc/{leader}/stat")).unwrap();
    let shim = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    kill_process(pid(shim.parse().unwrap()), Signal::KILL).unwrap();
    let crashed = node.until(claim, |status| status.crashes == 1).await;
    assert_eq!(crashed.phase.to_string(), "backoff: its shim, without which it cannot run, is lost: it has ended");
    node.supervisor.shutdown().await;
}

#[tokio::test]
async fn what_the_launch_before_wrote_is_there_for_the_next_daemon_too() {
    let script = "echo launch $$; if [ -e again ]; then exec sleep 300; fi; touch again; echo last words; exit 1";
    let mut node = Node::with_script(script, |_| {}).await;
    let claim = node.launch_script();
    let first = node.line(claim, "launch ").await;
    node.until(claim, |status| status.crashes == 1 && status.phase == EnginePhase::Starting).await;
    node.restart(|_| {}).await;
    let mut previous = node.supervisor.logs(claim, Launch::Previous).unwrap();
    let lines: Vec<_> = std::iter::from_fn(|| previous.available()).map(|line| line.text.to_string()).collect();
    assert!(lines.contains(&format!("launch {first}")) && lines.contains(&"last words".to_owned()), "{lines:?}");
    assert!(!node.log(claim).contains(&"last words".to_owned()));
    node.supervisor.shutdown().await;
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
async fn what_is_refused_is_not_launched() {
    let node = Node::start(|_| {}).await;
    assert_eq!(node.supervisor.offers(), []);
    let plan = plan(1, sim());
    let refusal = node.supervisor.refuse(&plan.spec, &[]).await.unwrap();
    assert_eq!(refusal, "this node does not offer the engine kind `sim`");
    assert!(matches!(node.supervisor.launch(plan), Err(SupervisorError::Refused(_))));
    assert!(node.statuses.borrow().is_empty());
}
