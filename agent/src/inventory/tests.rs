//! GPUs as they are found through the real wrapper of NVML, with the stand-in for the driver's library below it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use shoal_types::{FaultAction, GpuId, GpuSource, GpuUse, MemorySize};
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    driver::{Driver, Finding},
    fault::GpuEvent,
    operator::{ClearError, GpuFaults, XidCounts},
    reading::{NvLinks, PcieLink, RecoveryAction, RemappedRows},
    *,
};
use crate::{
    config::{FaultVerdict, GpuConfig, SimulatedGpus},
    ledger::GpuLedger,
};

/// Longer than anything here takes on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// The stand-in, which cargo puts where it puts the tests or one above.
fn stand_in() -> PathBuf {
    let tests = env::current_exe().unwrap();
    let found = tests.ancestors().skip(1).take(2).map(|dir| dir.join("libmock_nvml.so")).find(|path| path.exists());
    found.expect("cargo builds mock-nvml as a dependency of these tests")
}

/// A copy of the library, with a state of its own.
struct MockHost(tempfile::TempDir);

impl MockHost {
    fn new(state: &Value) -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::copy(stand_in(), host.library()).unwrap();
        host.set(state);
        host
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("libnvidia-ml.so.1")
    }

    fn set(&self, state: &Value) {
        let half = self.0.path().join("new");
        fs::write(&half, state.to_string()).unwrap();
        fs::rename(half, self.0.path().join("libnvidia-ml.so.1.json")).unwrap();
    }

    fn config(&self) -> GpuConfig {
        GpuConfig { library: Some(self.library()), ..GpuConfig::default() }
    }

    async fn watch(self) -> Watched {
        let inventory = GpuInventory::open(&self.config()).await;
        let (sender, readings) = watch::channel(inventory.readings());
        let (events, faults, counts) = (inventory.events().subscribe(), inventory.faults(), inventory.xid_counts());
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(inventory.keep(sender, stop));
        Watched { host: self, readings, events, faults, counts, _tasks: tasks }
    }
}

/// A running inventory.
struct Watched {
    host: MockHost,
    readings: watch::Receiver<Vec<GpuReading>>,
    events: broadcast::Receiver<GpuEvent>,
    faults: GpuFaults,
    counts: XidCounts,
    _tasks: JoinSet<()>,
}

impl Watched {
    async fn until(&mut self, what: &str, wanted: impl Fn(&[GpuReading]) -> bool) -> Vec<GpuReading> {
        let found = timeout(PATIENCE, self.readings.wait_for(|readings| wanted(readings))).await;
        found.unwrap_or_else(|_| panic!("never seen: {what}")).unwrap().clone()
    }

    async fn event(&mut self) -> GpuEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event comes").unwrap()
    }
}

/// Eight GPUs, of which some are not as usual.
fn gpus(unusual: &[(usize, Value)]) -> Value {
    let mut gpus = vec![json!({}); 8];
    for (index, gpu) in unusual {
        gpus[*index] = gpu.clone();
    }
    json!({ "gpus": gpus })
}

fn id(index: usize) -> GpuId {
    GpuId(format!("GPU-00000000-0000-4000-8000-{index:012x}"))
}

fn is_known(reading: &GpuReading) -> bool {
    reading.vitals.processes.is_some()
}

fn action(reading: &GpuReading) -> Option<FaultAction> {
    reading.fault.as_ref().map(|fault| fault.action)
}

#[tokio::test]
async fn without_a_library_there_are_no_gpus() {
    let config = GpuConfig { library: Some("/nonexistent/libnvidia-ml.so.1".into()), ..GpuConfig::default() };
    let inventory = GpuInventory::open(&config).await;
    assert_eq!(inventory.source(), GpuSource::None);
    assert!(inventory.readings().is_empty());
}

#[tokio::test]
async fn simulated_gpus_say_that_they_are() {
    let gpus = SimulatedGpus { count: 2, name: "H100".to_owned(), memory: MemorySize::from_gib(80) };
    let library = Some("/nonexistent/libnvidia-ml.so.1".into());
    let inventory = GpuInventory::open(&GpuConfig { library, simulated: vec![gpus], ..GpuConfig::default() }).await;
    assert_eq!(inventory.source(), GpuSource::Simulated);
    let readings = inventory.readings();
    assert_eq!(readings.len(), 2);
    assert!(readings.iter().all(|reading| reading.id.0.starts_with("SIM-") && is_known(reading)));
}

#[tokio::test]
async fn a_library_without_its_driver_is_no_gpus_until_the_driver_is_there() {
    for (code, why) in [(9, "driver is not loaded"), (18, "different versions")] {
        let host = MockHost::new(&json!({ "init_error": code }));
        let inventory = GpuInventory::open(&host.config()).await;
        assert_eq!((inventory.source(), inventory.readings().len()), (GpuSource::None, 0));

        let mut driver = Driver::start(Some(host.library())).unwrap();
        let report = timeout(PATIENCE, driver.reports.recv()).await.unwrap().unwrap();
        assert!(matches!(&report.finding, Finding::Unusable(said) if said.contains(why)), "{report:?}");
        host.set(&json!({}));
        driver.reopen();
        let report = timeout(PATIENCE, driver.reports.recv()).await.unwrap().unwrap();
        assert!(matches!(report.finding, Finding::Opened(8)), "{report:?}");
    }
}

#[tokio::test]
async fn eight_gpus_are_described() {
    let busy = json!({
        "memory_used": 8_u64 << 30, "utilization": 97, "temperature": 71, "power": 655_000, "throttle": 4,
        "ecc_uncorrected": 2, "remapped": [3, 1, 0, 0], "pcie_gen": 4, "pcie_width": 8, "nvlinks_down": [0, 17],
    });
    let host = MockHost::new(&gpus(&[(5, busy)]));
    let inventory = GpuInventory::open(&host.config()).await;
    assert_eq!(inventory.source(), GpuSource::Nvml);
    let readings = inventory.readings();
    assert_eq!(
        readings.iter().map(|reading| reading.id.clone()).collect::<Vec<_>>(),
        (0..8).map(id).collect::<Vec<_>>()
    );
    assert!(readings.iter().all(|reading| is_known(reading) && reading.fault.is_none() && reading.mig.is_none()));
    assert_eq!(readings.iter().filter(|reading| reading.links.numa == Some(0)).count(), 4);
    let GpuReading { name, memory, links, vitals, .. } = &readings[5];
    assert_eq!((name.as_str(), memory.as_bytes()), ("NVIDIA H100 80GB HBM3", 85_520_809_984));
    assert_eq!(links.numa, Some(1));
    assert_eq!(links.nvlink, Some(NvLinks { active: 16, total: 18 }));
    assert_eq!(links.pcie, Some(PcieLink { generation: 4, width: 8 }));
    assert_eq!(vitals.memory_used, Some(MemorySize::from_gib(8)));
    assert_eq!((vitals.utilization, vitals.temperature), (Some(97), Some(71)));
    assert_eq!((vitals.power, vitals.power_limit), (Some(655_000), Some(700_000)));
    assert_eq!(vitals.throttle.map(|reasons| reasons.bits()), Some(4));
    assert_eq!(vitals.ecc_uncorrected, Some(2));
    assert_eq!(vitals.remapped, Some(RemappedRows { correctable: 3, uncorrectable: 1, pending: false, failed: false }));
    assert_eq!(vitals.recovery, Some(RecoveryAction::None));
}

#[tokio::test]
async fn a_driver_that_knows_less_leaves_unknown_what_it_does_not_say() {
    let host = MockHost::new(&gpus(&[(0, json!({ "recovery_action": null }))]));
    let readings = GpuInventory::open(&host.config()).await.readings();
    assert_eq!(readings[0].vitals.recovery, None);
    assert!(readings[0].vitals.remapped.is_some() && readings[0].fault.is_none());
}

#[tokio::test]
async fn a_gpu_that_falls_off_the_bus_is_lost_alone_and_found_again() {
    let mut watched = MockHost::new(&gpus(&[])).watch().await;
    watched.host.set(&gpus(&[(3, json!({ "error": 15, "handle_error": 15 }))]));
    let readings = watched.until("a lost GPU", |readings| readings.iter().any(|r| r.fault.is_some())).await;
    assert_eq!((readings[3].id.clone(), action(&readings[3])), (id(3), Some(FaultAction::DrainNode)));
    assert!(!is_known(&readings[3]), "not free");
    assert!(readings.iter().filter(|reading| reading.id != id(3)).all(|r| is_known(r) && r.fault.is_none()));
    let event = watched.event().await;
    assert_eq!((event.gpu, event.xid, event.verdict), (id(3), None, FaultVerdict::DrainNode));

    watched.host.set(&gpus(&[]));
    watched.until("all well again", |readings| readings.iter().all(|r| is_known(r) && r.fault.is_none())).await;
}

#[tokio::test]
async fn a_driver_that_is_opened_anew_tells_what_is_new_and_nothing_twice() {
    let mut state = gpus(&[]);
    state["events"] = json!([{ "gpu": 1, "xid": 31 }]);
    let host = MockHost::new(&state);
    let mut driver = Driver::start(Some(host.library())).unwrap();
    let (mut opened, mut alarms) = (0, Vec::new());
    while alarms.len() < 2 {
        let report = timeout(PATIENCE, driver.reports.recv()).await.unwrap().unwrap();
        match report.finding {
            Finding::Opened(gpus) => {
                assert_eq!(gpus, 8);
                opened += 1;
            }
            Finding::Alarm(gpu, alarm) => {
                alarms.push((report.session, gpu, alarm.xid()));
                if alarms.len() == 1 {
                    state["events"] = json!([{ "gpu": 1, "xid": 31 }, { "gpu": 2, "kind": 2 }]);
                    driver.reopen();
                }
            }
            Finding::Sampled(..) if report.session == 2 => host.set(&state),
            Finding::Sampled(..) => {}
            Finding::Unusable(_) | Finding::Troubled(..) => panic!("{report:?}"),
        }
    }
    assert_eq!((opened, alarms), (2, vec![(1, id(1), 31), (2, id(2), 48)]));
}

#[tokio::test]
async fn xids_are_heard_as_they_come() {
    let mut watched = MockHost::new(&gpus(&[])).watch().await;
    let mut state = gpus(&[]);
    state["events"] = json!([{ "gpu": 4, "xid": 94 }]);
    watched.host.set(&state);
    let event = watched.event().await;
    assert_eq!((event.gpu, event.xid, event.verdict), (id(4), Some(94), FaultVerdict::RestartEngine));
    assert_eq!(event.reason, "Xid 94: contained ECC error");
    let readings = watched.until("an incident", |readings| readings.iter().any(|r| r.incident.is_some())).await;
    assert_eq!((readings[4].incident.is_some(), action(&readings[4])), (true, None), "over at once");
    let told = ReadingsWatch::new(watched.readings.clone());
    let recent = shoal_engine_supervisor::GpuWatch::recent_fault(&told, &[id(4)]);
    assert_eq!(recent.as_deref(), Some("Xid 94: contained ECC error"));

    state["events"] = json!([{ "gpu": 4, "xid": 94 }, { "gpu": 6, "xid": 79 }, { "gpu": 6, "xid": 4_711 }]);
    watched.host.set(&state);
    let event = watched.event().await;
    assert_eq!((event.gpu, event.xid, event.verdict), (id(6), Some(79), FaultVerdict::DrainNode));
    let readings = watched.until("a fault", |readings| readings.iter().any(|r| r.fault.is_some())).await;
    let fault = readings[6].fault.as_ref().unwrap();
    assert_eq!(fault.reason, "Xid 79: the GPU has fallen off the bus");
    assert_eq!(watched.event().await.verdict, FaultVerdict::Cordon, "unknown, and less grave");
    assert_eq!(watched.counts.by_xid(), [(None, 1), (Some(79), 1), (Some(94), 1)].into());
}

#[tokio::test]
async fn a_process_that_is_not_ours_is_named() {
    let own = std::process::id();
    let mut watched = MockHost::new(&gpus(&[])).watch().await;
    watched.host.set(&gpus(&[(0, json!({ "processes": [{ "pid": own, "memory": 1 << 30 }] }))]));
    let readings = watched.until("a process", |readings| readings[0].vitals.processes != Some(vec![])).await;
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let described = GpuLedger::open(dir.path()).describe(&readings, |_| false);
    assert_eq!(described[0].used_by, GpuUse::Foreign(format!("{} (pid {own})", name.trim())));
    assert!(described[1..].iter().all(shoal_types::Gpu::is_free));
}

#[tokio::test]
async fn a_call_that_hangs_makes_one_gpu_unknown_and_blocks_nobody() {
    let hanging = |index, temperature| {
        gpus(&[(index, json!({ "delay_ms": 3_600_000 })), (0, json!({ "temperature": temperature }))])
    };
    let host = MockHost::new(&hanging(2, 40));
    let begin = Instant::now();
    // It hangs from the start: the others are there, and the daemon comes up.
    let mut watched = host.watch().await;
    assert!(begin.elapsed() < PATIENCE);
    let readings = watched.until("seven GPUs", |readings| readings.len() == 7).await;
    assert!(readings.iter().all(|reading| reading.id != id(2) && is_known(reading)));
    // The call returns, and another hangs.
    watched.host.set(&hanging(5, 50));
    let one_unknown = |readings: &[GpuReading]| {
        readings.len() == 8 && readings.iter().all(|reading| is_known(reading) == (reading.id != id(5)))
    };
    let readings = watched.until("the eighth, and one unknown", one_unknown).await;
    assert_eq!(readings[5].vitals, Vitals::default());
    assert_eq!(readings[5].fault, None, "nobody knows whether it is ill");
    watched.host.set(&hanging(5, 60));
    let hot = |readings: &[GpuReading]| readings[0].vitals.temperature == Some(60) && !is_known(&readings[5]);
    watched.until("the others go on", hot).await;
    watched.host.set(&gpus(&[]));
    watched.until("all known again", |readings| readings.iter().all(is_known)).await;
}

#[tokio::test]
async fn slices_are_gpus_of_their_own_and_their_gpu_is_not() {
    let slice = |profile: &str, memory: u64, pids: &[u32]| {
        let processes: Vec<Value> = pids.iter().map(|pid| json!({ "pid": pid })).collect();
        json!({ "profile": profile, "memory_total": memory << 30, "processes": processes })
    };
    let divided = json!({ "mig": true, "slices": [slice("3g.40gb", 40, &[]), slice("1g.10gb", 10, &[u32::MAX])] });
    let mut watched = MockHost::new(&gpus(&[(1, divided.clone())])).watch().await;
    let readings = watched.until("all GPUs and slices", |readings| readings.len() == 10).await;
    let dir = tempfile::tempdir().unwrap();
    let described = GpuLedger::open(dir.path()).describe(&readings, |_| false);
    assert_eq!((&described[1].id, &described[1].used_by), (&id(1), &GpuUse::Partitioned));
    let (whole, used) = (&described[2], &described[3]);
    assert!(whole.id.0.starts_with("MIG-") && whole.name == described[1].name);
    assert_eq!((whole.mig.as_deref(), whole.memory, whole.numa), (Some("3g.40gb"), MemorySize::from_gib(40), Some(0)));
    assert!(whole.is_free());
    assert_eq!(used.used_by, GpuUse::Foreign(format!("pid {}", u32::MAX)));

    let mut state = gpus(&[(1, divided)]);
    state["events"] = json!([{ "gpu": 1, "xid": 48 }]);
    watched.host.set(&state);
    let readings = watched.until("a fault", |readings| readings.iter().any(|r| r.fault.is_some())).await;
    let ill: Vec<usize> = (0..10).filter(|&index| readings[index].fault.is_some()).collect();
    assert_eq!(ill, [1, 2, 3]);
}

#[tokio::test]
async fn a_fault_is_over_when_the_gpu_says_so_or_an_operator_does() {
    let mut watched = MockHost::new(&gpus(&[(7, json!({ "recovery_action": 3 }))])).watch().await;
    let readings = watched.until("a fault", |readings| readings[7].fault.is_some()).await;
    assert_eq!(action(&readings[7]), Some(FaultAction::DrainGroup));
    assert!(matches!(watched.faults.clear(id(7)).await, Err(ClearError::Standing { .. })));
    let mut state = gpus(&[]);
    watched.host.set(&state);
    watched.until("no fault", |readings| readings[7].fault.is_none()).await;

    state["events"] = json!([{ "gpu": 7, "xid": 62 }]);
    watched.host.set(&state);
    let readings = watched.until("another fault", |readings| readings[7].fault.is_some()).await;
    assert_eq!(action(&readings[7]), Some(FaultAction::DrainGpu));
    watched.faults.clear(id(7)).await.unwrap();
    watched.until("no fault", |readings| readings[7].fault.is_none()).await;
    assert_eq!(watched.faults.clear(id(7)).await, Err(ClearError::Sound(id(7))));
}

#[tokio::test]
async fn what_is_configured_is_done() {
    let host = MockHost::new(&gpus(&[]));
    let mut config = host.config();
    config.faults.xid = [(48, FaultVerdict::Cordon)].into();
    let inventory = GpuInventory::open(&config).await;
    let (mut events, (sender, readings)) = (inventory.events().subscribe(), watch::channel(Vec::new()));
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    tasks.spawn(inventory.keep(sender, stop.clone()));
    let mut state = gpus(&[]);
    state["events"] = json!([{ "gpu": 0, "xid": 48 }]);
    host.set(&state);
    assert_eq!(timeout(PATIENCE, events.recv()).await.unwrap().unwrap().verdict, FaultVerdict::Cordon);
    drop(readings);
    stop.cancel();
    timeout(PATIENCE, tasks.join_all()).await.expect("it ends when told to");
}

#[test]
fn the_stand_in_is_found() {
    assert!(stand_in().is_file() && Path::new("/proc/self/stat").exists());
}
