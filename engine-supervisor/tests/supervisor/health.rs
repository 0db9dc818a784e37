//! Whether engines live, sleep, and may begin; and how they tell what they died of.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{Mutex, PoisonError},
};

use shoal_engine_supervisor::{FailureClass, GpuWatch};
use shoal_types::{ProcessEngine, Progress, ProgressUnit, Sleep};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::*;

/// A node that watches its engines closely.
fn quick(config: &mut SupervisorConfig) {
    config.sim = true;
    config.timings.idle = Duration::from_millis(100);
    config.timings.canary = Duration::from_millis(500);
    config.timings.gpu_poll = Duration::from_millis(20);
}

/// A simulated engine that sleeps for `keep` at most.
fn sleeper(keep: HumanDuration) -> EngineSpec {
    let EngineSpec::Sim(engine) = sim() else { unreachable!() };
    EngineSpec::Sim(SimEngine { sleep: Some(Sleep { level: 1, keep }), ..engine })
}

fn is(phase: EnginePhase) -> impl Fn(&EngineStatus) -> bool {
    move |status| status.phase == phase
}

/// `POST path` to the socket of an engine, past the supervisor.
async fn post(status: &EngineStatus, path: &str) -> String {
    let Backend::Engine(EngineAddress::Unix(socket)) = &status.backend else { panic!("{}", status.backend) };
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_replica_sleeps_and_wakes_as_the_same_process() {
    let node = Node::start(quick).await;
    let claim = node.launch(sleeper(HumanDuration::from_secs(600)));
    let awake = node.ready(claim).await;
    for _ in 0..2 {
        node.supervisor.sleep(claim);
        let asleep = node.until(claim, is(EnginePhase::Asleep)).await;
        assert_eq!(asleep.load.running, None, "it serves nobody");
        node.supervisor.wake(claim);
        let again = node.ready(claim).await;
        assert_eq!((again.pid, again.crashes), (awake.pid, 0));
    }
    node.supervisor.sleep(claim);
    node.until(claim, is(EnginePhase::Asleep)).await;
    node.supervisor.stop(claim);
    node.gone(claim).await;
}

#[tokio::test]
async fn a_sleeper_is_ended_when_its_time_is_over() {
    let node = Node::start(quick).await;
    let claim = node.launch(sleeper(HumanDuration::from_millis(100)));
    let pid = node.ready(claim).await.pid.unwrap().to_string();
    node.supervisor.sleep(claim);
    node.gone(claim).await;
    assert!(!is_running(&pid));
}

#[tokio::test]
async fn what_cannot_sleep_is_stopped_instead() {
    let node = Node::start(quick).await;
    let claim = node.launch(sim());
    let ready = node.ready(claim).await;
    assert!(post(&ready, "/sleep?level=1").await.starts_with("HTTP/1.1 404"), "it must not be put to sleep");
    node.supervisor.sleep(claim);
    node.gone(claim).await;
}

#[tokio::test]
async fn an_engine_that_answers_health_and_no_request_is_started_again() {
    let node = Node::start(quick).await;
    let claim = node.launch(sleeper(HumanDuration::from_secs(600)));
    let before = node.ready(claim).await;
    // Its health stays at 200, and its requests wait for ever: so does a hung worker's.
    assert!(post(&before, "/sleep?level=1").await.contains("sleeping"));
    let crashed = node.until(claim, |status| matches!(status.phase, EnginePhase::Backoff { .. })).await;
    assert!(crashed.phase.to_string().contains("it hangs: no token for"), "{}", crashed.phase);
    let after = node.ready(claim).await;
    assert_ne!(after.pid, before.pid);
}

#[tokio::test]
async fn an_idle_engine_that_answers_its_canaries_serves_on() {
    let node = Node::start(quick).await;
    let claim = node.launch(sim());
    let ready = node.ready(claim).await;
    let asked = async {
        let mut canaries = 0;
        while canaries < 5 {
            let metrics = get(&ready, "/metrics").await;
            let done = metrics.lines().find(|line| line.contains("finished_reason=\"length\"")).unwrap();
            canaries = done.rsplit_once(' ').unwrap().1.parse().unwrap();
        }
    };
    timeout(DEADLINE, asked).await.unwrap();
    let status = node.until(claim, is(EnginePhase::Ready)).await;
    assert_eq!((status.pid, status.crashes), (ready.pid, 0));
}

async fn get(status: &EngineStatus, path: &str) -> String {
    let Backend::Engine(EngineAddress::Unix(socket)) = &status.backend else { panic!("{}", status.backend) };
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// GPUs of which a test says who holds them.
#[derive(Debug, Default)]
struct Gpus {
    holders: Mutex<Option<Vec<u32>>>,
    fault: Mutex<Option<String>>,
}

impl Gpus {
    fn held(holders: Option<Vec<u32>>) -> Arc<Self> {
        Arc::new(Self { holders: Mutex::new(holders), ..Self::default() })
    }

    fn set(&self, holders: Option<Vec<u32>>) {
        *self.holders.lock().unwrap_or_else(PoisonError::into_inner) = holders;
    }
}

impl GpuWatch for Gpus {
    fn memory(&self, _: &[GpuId]) -> Option<shoal_types::MemorySize> {
        None
    }

    fn holders(&self, gpus: &[GpuId]) -> Option<Vec<u32>> {
        assert_eq!(gpus, [GpuId("SIM-0".to_owned())]);
        self.holders.lock().unwrap().clone()
    }

    fn recent_fault(&self, _gpus: &[GpuId]) -> Option<String> {
        self.fault.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn nothing_is_launched_while_somebody_holds_the_gpus() {
    let gpus = Gpus::held(None);
    let node = Node::start(|config| {
        quick(config);
        config.gpus = gpus.clone();
    })
    .await;
    let claim = node.launch(sim());
    let says = |text: &'static str| move |status: &EngineStatus| status.phase.to_string().contains(text);
    let unknown = node.until(claim, says("the driver does not say")).await;
    assert_eq!(unknown.pid, None);
    gpus.set(Some(vec![4711]));
    node.until(claim, says("its GPUs are held by process 4711")).await;
    gpus.set(Some(vec![]));
    let ready = node.ready(claim).await;
    assert_eq!(ready.crashes, 0);

    gpus.set(Some(vec![4711]));
    kill_process(pid(ready.pid.unwrap()), Signal::KILL).unwrap();
    node.until(claim, says("its GPUs are held by process 4711")).await;
    gpus.set(Some(vec![]));
    assert_eq!(node.ready(claim).await.crashes, 1);
}

#[tokio::test]
async fn gpus_that_stay_held_are_a_failure_and_a_fault_of_theirs_is_named() {
    let failed = |status: &EngineStatus| matches!(status.phase, EnginePhase::Failed { class: FailureClass::Gpu, .. });
    let held = Node::start(|config| {
        quick(config);
        config.timings.gpus_free = Duration::from_millis(100);
        config.gpus = Gpus::held(Some(vec![4711]));
    })
    .await;
    let status = held.until(held.launch(sim()), failed).await;
    assert!(
        status.phase.to_string().starts_with("failed (gpu): its GPUs are held by process 4711"),
        "{}",
        status.phase
    );

    let gpus = Gpus::held(Some(vec![]));
    *gpus.fault.lock().unwrap() = Some("Xid 79 (the GPU has fallen off the bus)".to_owned());
    let faulty = Node::with_script("exit 1", |config| config.gpus = gpus).await;
    let status = faulty.until(faulty.launch_script(), failed).await;
    let expected =
        "failed (gpu): 3 crashes in a row, the last: its GPU failed: Xid 79 (the GPU has fallen off the bus)";
    assert!(status.phase.to_string().starts_with(expected), "{}", status.phase);
}

/// A node whose vLLM is `script`.
async fn vllm_is(script: &str) -> (Node, ClaimId) {
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("vllm");
    fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let node = Node::start(|config| config.vllm = Some(ProgramConfig { binary, ..ProgramConfig::default() })).await;
    let claim = node.launch(EngineSpec::Vllm(VllmEngine::default()));
    // It is executed by then, and the kernel keeps it.
    node.until(claim, |status| status.pid.is_some() || !matches!(status.phase, EnginePhase::Starting)).await;
    node.line(claim, "started as").await;
    node.line(claim, "up").await;
    (node, claim)
}

#[tokio::test]
async fn a_start_shows_how_many_shards_are_loaded() {
    let bar = "Loading safetensors checkpoint shards:  45% Completed | 5/11 [00:02<00:03,  1.99it/s]";
    let (node, claim) = vllm_is(&format!("echo up; printf '{}\\r' >&2; exec sleep 300", bar.replace('%', "%%"))).await;
    let loading = Progress { done: 5, total: 11, unit: ProgressUnit::Shards };
    node.until(claim, is(EnginePhase::Loading(Some(loading)))).await;

    let (node, claim) = vllm_is("echo up; echo 'GPU KV cache size: 131,072 tokens'; exec sleep 300").await;
    node.until(claim, is(EnginePhase::Warming)).await;
}

#[tokio::test]
async fn each_bad_end_has_its_own_reason_within_seconds() {
    for (last, reason) in [
        ("OSError: [Errno 98] Address already in use", "backoff: its port is in use: OSError: [Errno 98]"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "failed (config): out of GPU memory while loading: torch.Out"),
        ("OSError: [Errno 28] No space left on device", "backoff: the disk is full: OSError: [Errno 28] No space"),
        ("HFValidationError: Repo id must be in the form", "failed (config): it cannot find its model: HFValidation"),
    ] {
        let (node, claim) = vllm_is(&format!("echo up; echo '{last}' >&2; exit 1")).await;
        let ended = Instant::now();
        let over =
            |status: &EngineStatus| matches!(status.phase, EnginePhase::Backoff { .. } | EnginePhase::Failed { .. });
        let phase = node.until(claim, over).await.phase.to_string();
        assert!(ended.elapsed() < Duration::from_secs(5), "{reason} after {:?}", ended.elapsed());
        assert!(phase.starts_with(reason), "{phase}");
    }
}

#[tokio::test]
async fn what_can_be_known_before_the_launch_is_refused() {
    let node = Node::start(|config| {
        config.llamacpp = Some(ProgramConfig { binary: "sh".into(), ..ProgramConfig::default() });
        config.trtllm = Some(ProgramConfig { binary: "/no/such/trtllm-serve".into(), ..ProgramConfig::default() });
    })
    .await;
    let refusal = async |model: &str, engine| {
        let mut spec = plan(1, engine).spec;
        model.clone_into(&mut spec.model);
        node.supervisor.refuse(&spec, &[]).await.unwrap()
    };
    let process = ProcessEngine::default;
    for (model, engine, reason) in [
        ("m", EngineSpec::Sglang(process()), "this node does not offer the engine kind `sglang`"),
        ("m", EngineSpec::Trtllm(process()), "`/no/such/trtllm-serve` is not an executable file on this node"),
        ("/none.gguf", EngineSpec::Llamacpp(process()), "the model path `/none.gguf` does not exist on this node"),
    ] {
        assert!(refusal(model, engine.clone()).await.contains(reason), "{}", refusal(model, engine).await);
    }
}
