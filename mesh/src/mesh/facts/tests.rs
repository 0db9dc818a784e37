use std::time::Duration;

use shoal_types::{
    ClaimId, Demand, DepartureReason, EndpointName, Hlc, Latencies, NodeId, OUTCOMES_MAX, Outcome, Progress,
    ProgressUnit, REASON_MAX, ReplicaState, Revision, RolloutPhase, SHARES_MAX, Share, UnixMillis,
};

use super::*;
use crate::gossip::Key;

fn failed(reason: &str) -> Claim {
    let version = Hlc { time: UnixMillis::default(), counter: 0, node: NodeId::from_bytes([1; 16]) };
    Claim {
        id: ClaimId { node: version.node, generation: version.time, counter: u32::MAX },
        endpoint: "e".repeat(63).parse().unwrap(),
        revision: Revision(version),
        gpus: 8,
        claimed: version.time,
        state: ReplicaState::Backoff,
        since: version.time,
        reason: Some(reason.to_owned()),
        progress: None,
        crashes: 0,
        leaving: None,
    }
}

#[test]
fn rule_1_a_claim_is_said_whatever_its_reason() {
    let sayable = |reason: &str| sayable(&failed(reason), 1024);
    let length = |claim: &Claim| serde_json::to_string(claim).unwrap().len();
    assert_eq!(sayable("exit 1\n\u{1b}[31mred").reason.as_deref(), Some("exit 1  [31mred"));
    let garbage = sayable(&"\u{1}".repeat(300));
    assert!(garbage.reason.is_some() && length(&garbage) <= 1024);
    let long = super::sayable(&failed(&"\"".repeat(300)), 700);
    assert_eq!((long.reason.as_deref(), long.state), (None, ReplicaState::Backoff));
    assert!(length(&long) <= 700, "all but the reason fits");
}

/// Neither can a fault of a GPU be left out: it is why others replace the claim.
#[test]
fn rule_1_a_claim_that_must_go_is_said_with_its_fault() {
    let progress = Progress { done: u64::MAX, total: u64::MAX, unit: ProgressUnit::Percent };
    let leaving = Some("\"".repeat(REASON_MAX));
    let longest = Claim { leaving: leaving.clone(), progress: Some(progress), ..failed(&"\"".repeat(REASON_MAX)) };
    let said = sayable(&longest, Key::Claim(u32::MAX).value_max());
    assert_eq!((&said.leaving, said.reason.as_ref()), (&leaving, None));
    assert!(serde_json::to_string(&said).unwrap().len() <= 1024, "{}", serde_json::to_string(&said).unwrap().len());
}

#[test]
fn refusals_that_last_longest_are_said() {
    let version = Hlc { time: UnixMillis::default(), counter: 0, node: NodeId::from_bytes([1; 16]) };
    let refusal = |until| Refusal {
        cause: shoal_types::RefusalCause::Unfit,
        endpoint: "e".parse().unwrap(),
        revision: Revision(version),
        until: UnixMillis::from_millis(until),
        reason: "r".repeat(300),
    };
    let refusals: Vec<_> = (0..30).map(refusal).collect();
    let fitting = super::refusals(&refusals, 4096);
    assert!(serde_json::to_string(&fitting).unwrap().len() <= 4096);
    assert!((5..30).contains(&fitting.len()));
    assert_eq!(fitting[0].until.as_millis(), 29);
}

/// The longest that there are: a name, a version.
fn longest() -> (EndpointName, Hlc) {
    let time = UnixMillis::from_millis(u64::MAX);
    ("e".repeat(63).parse().unwrap(), Hlc { time, counter: u32::MAX, node: NodeId::from_bytes([0xff; 16]) })
}

fn length(value: &impl Serialize) -> usize {
    serde_json::to_string(value).unwrap().len()
}

#[test]
fn a_mandate_is_said_whatever_its_reason() {
    let (endpoint, version) = longest();
    let share = Share { revision: Revision(version), replicas: u32::MAX, weight: u8::MAX };
    let because = |reason: String| Mandate {
        endpoint: endpoint.clone(),
        epoch: u64::MAX,
        version,
        shares: vec![share; SHARES_MAX],
        rollout: RolloutPhase::Progressing { step: u8::MAX, ready: Some(version.time) },
        reason,
        since: version.time,
    };
    let max = Key::mandate(&endpoint).value_max();
    for garbage in ["x", "\"", "\u{1}", "\u{10ffff}"] {
        let said = mandate(&because(garbage.repeat(2_000)), max);
        assert!(length(&said) <= max && said.reason.len() > 100, "{} {}", length(&said), said.reason.len());
    }
    assert_eq!(mandate(&because("two\nlines".to_owned()), max), because("two lines".to_owned()));
}

/// It cannot be said in part.
#[test]
fn the_longest_demand_is_said() {
    let (endpoint, version) = longest();
    let mut ttft = Latencies::default();
    (0..40).for_each(|step| ttft.record(Duration::from_millis(5).mul_f64(2_f64.powf(f64::from(step) / 2.0))));
    let ttft = ttft.map(|_| u32::MAX);
    let outcome = Outcome { revision: Revision(version), requests: u32::MAX, failed: u32::MAX, ttft };
    let count = u32::MAX;
    let max = Key::demand(&endpoint).value_max();
    let demand = Demand {
        endpoint,
        inflight: count,
        held: count,
        arrivals: count,
        tokens: count,
        hourly: count,
        outcomes: vec![outcome; OUTCOMES_MAX],
    };
    assert!(length(&demand) <= max, "{}", length(&demand));
}

#[test]
fn the_newest_departures_are_said_the_oldest_first() {
    let at = |millis| PastDeparture { at: UnixMillis::from_millis(millis), reason: DepartureReason::GpuFault };
    let all: Vec<PastDeparture> = (0..20).rev().map(|back| at(u64::MAX - back)).collect();
    let mut shuffled = all.clone();
    shuffled.rotate_left(7);
    let said = departures(&shuffled);
    assert_eq!(said, all[4..]);
    assert!(length(&said) <= Key::Departures.value_max(), "{}", length(&said));
    assert_eq!(departures(&all[..2]), all[..2]);
}

#[test]
fn the_nearest_clusters_are_said() {
    let all: BTreeMap<String, u32> = (0..40).map(|place| (format!("cluster-{place}"), 1_000 - place * 10)).collect();
    let said = distances(&all, Key::Distances.value_max());
    assert_eq!((said.len(), said.values().max()), (DISTANCES_MAX, Some(&920)));
    let long: BTreeMap<String, u32> = (0..40).map(|place| ("x".repeat(300) + &place.to_string(), place)).collect();
    let said = distances(&long, Key::Distances.value_max());
    assert!(length(&said) <= Key::Distances.value_max() && said.len() > 10);
    assert_eq!(said.values().min(), Some(&0));
}

#[test]
fn as_many_models_are_said_as_fit() {
    let all: BTreeSet<String> = (0..200).map(|number| format!("organisation/model-{number:03}-instruct")).collect();
    let said = models(&all, Key::Models.value_max());
    assert!(length(&said) <= Key::Models.value_max() && said.len() > 100);
    assert_eq!(said.first().map(|name| name.as_str()), Some("organisation/model-000-instruct"));
    let few = BTreeSet::from(["a".to_owned()]);
    assert_eq!(models(&few, Key::Models.value_max()), few.iter().collect());
}
