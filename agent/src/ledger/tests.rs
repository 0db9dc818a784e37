use proptest::prelude::*;
use shoal_types::{FaultAction, GpuFault, MemorySize, NodeId, UnixMillis};

use super::*;
use crate::inventory::{GpuProcess, GpuReading, Links, Vitals};

fn claim(counter: u32) -> ClaimId {
    ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter }
}

/// The processes by name and pid; `None` if the driver does not say.
fn reading(index: usize, processes: Option<&[(&str, u32)]>) -> GpuReading {
    let process = |&(name, pid): &(&str, u32)| GpuProcess { pid, name: Some(name.to_owned()) };
    GpuReading {
        id: GpuId(format!("GPU-{index}")),
        name: "NVIDIA H100 80GB HBM3".to_owned(),
        memory: MemorySize::from_gib(80),
        mig: None,
        partitioned: false,
        links: Links { numa: Some(if index < 4 { 0 } else { 1 }), ..Links::default() },
        vitals: Vitals {
            memory_used: Some(MemorySize::from_gib(1)),
            utilization: Some(47),
            temperature: Some(33),
            processes: processes.map(|processes| processes.iter().map(process).collect()),
            ..Vitals::default()
        },
        fault: None,
        incident: None,
    }
}

fn idle(count: usize) -> Vec<GpuReading> {
    (0..count).map(|index| reading(index, Some(&[]))).collect()
}

fn need(gpus: u32) -> Resources {
    Resources { gpus, gpu_model: Some("h100".to_owned()), gpu_memory: Some(MemorySize::from_gib(80)), mig: None }
}

/// A ledger and the GPUs that it sees.
struct Host {
    ledger: GpuLedger,
    readings: Vec<GpuReading>,
    dir: tempfile::TempDir,
}

impl Host {
    fn new(readings: Vec<GpuReading>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { ledger: GpuLedger::open(dir.path()), readings, dir }
    }

    fn gpus(&self) -> Vec<Gpu> {
        self.ledger.describe(&self.readings, |pid| pid == 8)
    }

    /// Indexes of the GPUs that the claim got.
    fn reserve(&mut self, counter: u32, gpus: u32) -> Option<Vec<usize>> {
        self.reserve_from(counter, gpus, &[]).map(|(gpus, _)| gpus)
    }

    fn reserve_from(&mut self, counter: u32, gpus: u32, asleep: &[u32]) -> Option<(Vec<usize>, Vec<ClaimId>)> {
        let (described, asleep) = (self.gpus(), asleep.iter().map(|&counter| claim(counter)).collect());
        let Reservation { gpus, evicted } =
            self.ledger.reserve(claim(counter), &need(gpus), &described, &asleep).ok()?;
        Some((gpus.iter().map(|gpu| gpu.0.strip_prefix("GPU-").unwrap().parse().unwrap()).collect(), evicted))
    }

    fn restart(&mut self) {
        self.ledger = GpuLedger::open(self.dir.path());
    }
}

#[test]
fn rule_3_no_gpu_is_given_twice() {
    let mut host = Host::new(idle(3));
    // All three reservations see the same description, as if it had not been refreshed in between.
    let gpus = host.gpus();
    let mut reserve = |counter, count| host.ledger.reserve(claim(counter), &need(count), &gpus, &BTreeSet::new());
    assert_eq!(reserve(1, 2).unwrap().gpus.len(), 2);
    assert!(matches!(reserve(2, 2), Err(ReserveError::NotFree)));
    assert_eq!(reserve(3, 1).unwrap().gpus.len(), 1);
    assert_eq!(host.ledger.holders(), BTreeSet::from([claim(1), claim(3)]));
    host.ledger.release(claim(1));
    assert!(host.reserve(4, 2).is_some());
}

#[test]
fn unknown_foreign_and_faulty_gpus_are_not_free() {
    let mut readings = vec![
        reading(0, None),
        reading(1, Some(&[("VLLM::Worker", 8), ("python3", 4_711)])),
        reading(2, Some(&[("VLLM::Worker", 8)])),
        reading(3, Some(&[])),
        GpuReading { partitioned: true, ..reading(4, Some(&[])) },
    ];
    readings[3].fault =
        Some(GpuFault { action: FaultAction::Cordon, reason: "Xid 63".to_owned(), since: UnixMillis::from_millis(1) });
    let mut host = Host::new(readings);
    let gpus = host.gpus();
    assert_eq!(gpus[0].used_by, GpuUse::Unknown);
    assert_eq!(gpus[1].used_by, GpuUse::Foreign("python3 (pid 4711)".to_owned()));
    assert_eq!(gpus[2].used_by, GpuUse::Free, "what is there is ours");
    assert!(gpus[3].used_by == GpuUse::Free && gpus[3].fault.is_some());
    assert_eq!(gpus[4].used_by, GpuUse::Partitioned);
    assert_eq!(host.reserve(1, 2), None);
    assert_eq!(host.reserve(1, 1), Some(vec![2]));
}

#[test]
fn memory_that_nobody_seems_to_hold_is_held_outside_the_container() {
    let mut host = Host::new(idle(1));
    host.readings[0].vitals.memory_used = Some(MemorySize::from_gib(41));
    let GpuUse::Foreign(who) = &host.gpus()[0].used_by else { panic!("it is not free") };
    assert_eq!(who, "a process that cannot be seen from here (44GiB)");
    assert_eq!(host.reserve(1, 1), None);
}

#[test]
fn what_does_not_fit_is_not_given() {
    let mut host = Host::new(idle(1));
    let gpus = host.gpus();
    let too_much = Resources { gpu_memory: Some(MemorySize::from_gib(141)), ..need(1) };
    assert!(host.ledger.reserve(claim(1), &too_much, &gpus, &BTreeSet::new()).is_err());
    let slice = Resources { mig: Some("1g.10gb".to_owned()), ..need(1) };
    assert!(host.ledger.reserve(claim(1), &slice, &gpus, &BTreeSet::new()).is_err());
    assert_eq!(gpus[0].utilization, Some(40));
    assert_eq!(gpus[0].memory_used, Some(MemorySize::from_gib(4)));
}

#[test]
fn gpus_of_one_numa_node_are_preferred_and_then_neighbours() {
    let mut host = Host::new(idle(8));
    assert_eq!(host.reserve(1, 2), Some(vec![0, 1]));
    assert_eq!(host.reserve(2, 1), Some(vec![2]), "the node that is begun is filled");
    assert_eq!(host.reserve(3, 4), Some(vec![4, 5, 6, 7]), "the whole one has stayed whole");
    host.ledger.release(claim(3));
    assert_eq!(host.reserve(4, 5), Some(vec![3, 4, 5, 6, 7]), "no node has as many");
    host.ledger.release(claim(4));
    host.ledger.release(claim(1));
    // 0, 1 and 3 are free on the first node.
    assert_eq!(host.reserve(5, 2), Some(vec![0, 1]));
}

#[test]
fn gpus_of_which_nobody_knows_where_they_are_go_by_index() {
    let mut host = Host::new(idle(6));
    host.readings.iter_mut().for_each(|reading| reading.links.numa = None);
    for (counter, index) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
        assert_eq!(host.reserve(counter, 1), Some(vec![index]));
    }
    host.ledger.release(claim(1));
    host.ledger.release(claim(3));
    // 0, 2, 4 and 5 are free.
    assert_eq!(host.reserve(5, 2), Some(vec![4, 5]));
}

#[test]
fn sleepers_make_room_and_as_few_as_possible() {
    let mut host = Host::new(idle(8));
    for (counter, gpus) in [(1, 1), (2, 2), (3, 3), (4, 1)] {
        host.reserve(counter, gpus).unwrap();
    }
    // One GPU is free.
    assert_eq!(host.reserve_from(5, 1, &[1, 2]).unwrap().1, vec![], "what is free comes first");
    host.ledger.release(claim(5));
    assert_eq!(host.reserve_from(6, 3, &[1, 2, 4]).unwrap().1, vec![claim(2)], "one that is enough");
    host.ledger.release(claim(6));
    // Now 2's GPUs and the free one: three.
    assert_eq!(host.reserve_from(7, 6, &[3]).unwrap().1, vec![claim(3)]);
    assert_eq!(host.reserve_from(8, 3, &[1]), None, "those that are awake keep theirs");
    let (gpus, evicted) = host.reserve_from(8, 2, &[1, 4]).unwrap();
    assert_eq!((gpus.len(), evicted), (2, vec![claim(1), claim(4)]));
    // What was taken stays taken when the one that it was taken from goes.
    host.ledger.release(claim(1));
    assert_eq!(host.reserve(9, 1), None);
}

#[test]
fn replicas_of_before_get_their_gpus_back_unless_somebody_has_them() {
    let mut host = Host::new(idle(4));
    host.reserve(1, 2).unwrap();
    host.reserve(2, 1).unwrap();
    std::fs::write(host.dir.path().join("gpus.json"), "{").unwrap();
    host.restart();
    assert_eq!(host.ledger.holders(), BTreeSet::new(), "what cannot be read is begun anew");
    let id = |index: usize| GpuId(format!("GPU-{index}"));
    assert_eq!(host.ledger.restore(claim(1), &[id(0), id(1)]), vec![]);
    assert_eq!(host.ledger.restore(claim(2), &[id(1), id(2)]), vec![(id(1), claim(1))]);
    host.restart();
    host.ledger.retain(&BTreeSet::from([claim(2)]));
    assert_eq!(host.gpus()[2].used_by, GpuUse::Replica(claim(2)));
    assert!(host.gpus()[..2].iter().all(Gpu::is_free));
}

#[test]
fn what_is_not_on_disk_is_not_given() {
    let mut host = Host::new(idle(2));
    host.reserve(1, 1).unwrap();
    // Nothing can be put where a directory is.
    std::fs::create_dir(host.dir.path().join("gpus.json.new")).unwrap();
    let gpus = host.gpus();
    let refused = host.ledger.reserve(claim(2), &need(1), &gpus, &BTreeSet::new());
    assert!(matches!(refused, Err(ReserveError::NotWritten(_))));
    assert_eq!(host.ledger.holders(), BTreeSet::from([claim(1)]));
    std::fs::remove_dir(host.dir.path().join("gpus.json.new")).unwrap();
    assert!(host.reserve(2, 1).is_some());
}

/// What may happen to a node.
#[derive(Debug, Clone)]
enum Step {
    /// A claim for so many GPUs; if set, the oldest claim sleeps.
    Claim(u32, bool),
    /// One of the claims goes.
    Withdraw(prop::sample::Index),
    /// The daemon dies and comes back to all of its replicas.
    Crash,
    /// It dies while it writes, and comes back to one of its replicas.
    CrashWriting(prop::sample::Index),
    /// A GPU becomes ill, or well again.
    Fault(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u32, any::<bool>()).prop_map(|(gpus, asleep)| Step::Claim(gpus, asleep)),
        3 => any::<prop::sample::Index>().prop_map(Step::Withdraw),
        1 => Just(Step::Crash),
        1 => any::<prop::sample::Index>().prop_map(Step::CrashWriting),
        1 => any::<prop::sample::Index>().prop_map(Step::Fault),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Rule 3: whatever happens, what each claim was given is its own until it goes, and is not given to another.
    #[test]
    fn rule_3_no_gpu_is_given_twice_whatever_happens(steps in prop::collection::vec(step(), 1..40)) {
        let mut host = Host::new(idle(8));
        let mut given: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        for (counter, step) in (1..).zip(steps) {
            match step {
                Step::Claim(gpus, asleep) => {
                    let sleeper: Vec<u32> = given.keys().copied().take(usize::from(asleep)).collect();
                    if let Some((gpus, evicted)) = host.reserve_from(counter, gpus, &sleeper) {
                        let gpus: BTreeSet<usize> = gpus.into_iter().collect();
                        prop_assert!(gpus.iter().all(|&gpu| host.readings[gpu].fault.is_none()));
                        for (&other, held) in &mut given {
                            if evicted.contains(&claim(other)) {
                                held.retain(|gpu| !gpus.contains(gpu));
                            }
                            prop_assert!(held.is_disjoint(&gpus), "{gpus:?} were given to {other} and {counter}");
                        }
                        given.insert(counter, gpus);
                    }
                }
                Step::Withdraw(which) if !given.is_empty() => {
                    let counter = *which.get(&given.keys().copied().collect::<Vec<_>>());
                    given.remove(&counter);
                    host.ledger.release(claim(counter));
                }
                Step::Crash => host.restart(),
                Step::CrashWriting(which) if !given.is_empty() => {
                    std::fs::write(host.dir.path().join("gpus.json.new"), "{\"held\":").unwrap();
                    let back = *which.get(&given.keys().copied().collect::<Vec<_>>());
                    given.retain(|&counter, _| counter == back);
                    host.restart();
                    host.ledger.retain(&BTreeSet::from([claim(back)]));
                    let gpus: Vec<GpuId> = given[&back].iter().map(|gpu| GpuId(format!("GPU-{gpu}"))).collect();
                    prop_assert_eq!(host.ledger.restore(claim(back), &gpus), vec![]);
                }
                Step::Fault(which) => {
                    let fault = &mut host.readings[which.index(8)].fault;
                    *fault = match fault {
                        Some(_) => None,
                        None => Some(GpuFault {
                            action: FaultAction::Cordon,
                            reason: String::new(),
                            since: UnixMillis::from_millis(1),
                        }),
                    };
                }
                Step::Withdraw(_) | Step::CrashWriting(_) => {}
            }
            for (&counter, held) in &given {
                for &gpu in held {
                    prop_assert_eq!(&host.gpus()[gpu].used_by, &GpuUse::Replica(claim(counter)));
                }
            }
        }
    }
}
