use shoal_types::{Backend, EngineAddress, Hlc, Load, ProgressUnit, parse_endpoints};

use super::*;

const NOW: UnixMillis = UnixMillis::from_millis(1_000);
const LATER: UnixMillis = UnixMillis::from_millis(2_000);

fn book_with_claim() -> (Book, ClaimId) {
    book_with_claim_on("{kind: sim}")
}

fn book_with_claim_on(engine: &str) -> (Book, ClaimId) {
    let node = NodeId::from_bytes([1; 16]);
    let mut book = Book::new(node, NOW);
    let text = "{apiVersion: shoal/v1, kind: Endpoint, metadata: {name: a}, spec: {model: m, engine: ENGINE}}";
    let endpoint = parse_endpoints(&text.replace("ENGINE", engine)).unwrap().remove(0);
    let id = book.next_id();
    let revision = Revision(Hlc { time: NOW, counter: 0, node });
    book.open(id, endpoint.metadata.name, revision, endpoint.spec, Vec::new(), NOW);
    (book, id)
}

fn engine(claim: ClaimId, phase: EnginePhase) -> BTreeMap<ClaimId, EngineStatus> {
    let status = EngineStatus {
        claim,
        endpoint: "a".parse().unwrap(),
        phase,
        backend: Backend::Engine(EngineAddress::Unix("/x".into())),
        gpus: Vec::new(),
        crashes: 0,
        load: Load::default(),
        pid: None,
    };
    BTreeMap::from([(claim, status)])
}

fn ready() -> (Book, ClaimId) {
    serving(book_with_claim())
}

fn serving((mut book, id): (Book, ClaimId)) -> (Book, ClaimId) {
    assert!(book.start(id, NOW).is_some());
    assert_eq!(book.follow(&engine(id, EnginePhase::Ready), LATER), vec![Change::Publish(id)]);
    (book, id)
}

#[test]
fn a_claim_follows_its_engine() {
    let (mut book, id) = ready();
    assert_eq!(book.claim(id).unwrap().since, LATER);
    assert_eq!(book.follow(&engine(id, EnginePhase::Ready), LATER), vec![]);
    let crashed = engine(id, EnginePhase::Backoff { reason: "exit 1".to_owned() });
    assert_eq!(book.follow(&crashed, LATER), vec![Change::Publish(id)]);
    assert_eq!(book.claim(id).unwrap().reason.as_deref(), Some("exit 1"));
    assert_eq!(book.follow(&BTreeMap::new(), LATER), vec![Change::Close(id)]);
}

#[test]
fn a_claim_is_started_once() {
    let (mut book, id) = book_with_claim();
    assert!(book.start(id, NOW).is_some());
    assert!(book.start(id, NOW).is_none());
}

#[test]
fn what_was_not_started_goes_at_once_and_what_was_when_its_engine_has_stopped() {
    let (mut book, id) = book_with_claim();
    assert_eq!(book.withdraw(id, "surplus", NOW), Some(Change::Close(id)));
    book.start(id, NOW);
    assert_eq!(book.withdraw(id, "surplus", NOW), Some(Change::Publish(id)));
    assert_eq!(book.withdraw(id, "again", NOW), None);
    assert_eq!(book.follow(&engine(id, EnginePhase::Stopping), NOW), vec![]);
    assert_eq!(book.follow(&BTreeMap::new(), NOW), vec![Change::Close(id)]);
}

/// Rule 4: of two replicas that ask each other whether they may drain, neither hears yes.
#[test]
fn rule_4_one_that_asks_is_not_one_that_stays() {
    let (mut book, id) = ready();
    assert!(book.stays(id));
    assert!(book.ask(id, &DrainReason::Surplus));
    assert!(!book.ask(id, &DrainReason::Surplus));
    assert!(!book.stays(id));
    book.unask(id, &BTreeSet::from([id]), NOW);
    assert!(book.stays(id));
}

/// Whoever wonders why a replica does not go finds there what it waits for.
#[test]
fn a_replica_that_may_not_go_says_because_of_whom() {
    let (mut book, id) = ready();
    let other = book.next_id();
    let serves = engine(id, EnginePhase::Ready);
    book.ask(id, &DrainReason::Surplus);
    book.unask(id, &BTreeSet::from([other]), NOW);
    assert_eq!(book.follow(&serves, NOW), vec![Change::Publish(id)]);
    let reason = book.claim(id).unwrap().reason.clone().unwrap();
    assert!(reason.starts_with("enough other replicas serve; it stays"), "{reason}");
    assert!(reason.contains(&other.replica_name(&"a".parse().unwrap())), "{reason}");
    book.ask(id, &DrainReason::Surplus);
    book.unask(id, &BTreeSet::from([other]), LATER);
    assert_eq!(book.follow(&serves, LATER), vec![], "it is said once");
    assert_eq!(book.follow(&serves, LATER.plus(HELD_BACK_SHOWN)), vec![Change::Publish(id)]);
    assert_eq!(book.claim(id).unwrap().reason, None, "it is not to go any more");
}

/// Rule 4: a deadline that cannot be moved waits for nobody's answer.
#[test]
fn rule_4_a_deadline_does_not_wait_for_those_that_are_asked() {
    let (mut book, id) = ready();
    book.ask(id, &DrainReason::Departing);
    assert!(book.resolve(id, &DrainReason::Deadline));
    assert!(book.drain(id, NOW).is_some());
    assert_eq!(book.claim(id).unwrap().reason.as_deref(), Some("its node leaves now"));
    assert!(!book.resolve(id, &DrainReason::Deadline), "it drains");
    assert_eq!(book.drain(id, NOW), None, "the answers that come late");
}

#[test]
fn what_may_be_wanted_again_sleeps_if_it_can() {
    let rests = |engine: &str, reason| {
        let (mut book, id) = serving(book_with_claim_on(engine));
        book.ask(id, &reason);
        book.rests(id)
    };
    for (reason, expected) in [(DrainReason::Surplus, true), (DrainReason::Idle, true), (DrainReason::Unwanted, false)]
    {
        assert_eq!(rests("{kind: sim, sleep: {}}", reason.clone()), expected, "{reason}");
        assert!(!rests("{kind: sim}", reason), "it cannot");
    }
}

#[test]
fn a_draining_replica_never_serves_again() {
    let (mut book, id) = ready();
    book.ask(id, &DrainReason::Surplus);
    assert!(book.drain(id, NOW).is_some());
    assert!(book.drain(id, NOW).is_none());
    assert_eq!(book.claim(id).unwrap().reason.as_deref(), Some("enough other replicas serve"));
    assert_eq!(book.follow(&engine(id, EnginePhase::Ready), NOW), vec![]);
    assert_eq!(book.claim(id).unwrap().state, ReplicaState::Draining);
}

#[test]
fn failures_are_kept_away_from_for_longer_and_longer() {
    assert_eq!(retry_after(1), Duration::from_secs(30));
    assert_eq!(retry_after(3), Duration::from_secs(120));
    assert_eq!(retry_after(u32::MAX), Duration::from_secs(900));
}

#[test]
fn a_failed_claim_holds_nothing_and_is_shown_for_a_while() {
    let (mut book, id) = ready();
    book.fail(id, "out of GPU memory", LATER);
    let claim = book.claim(id).unwrap();
    assert_eq!(
        (claim.state, claim.gpus, claim.reason.as_deref()),
        (ReplicaState::Failed, 0, Some("out of GPU memory"))
    );
    assert!(book.is_empty() && book.holdings().next().is_none());
    assert_eq!(book.follow(&BTreeMap::new(), LATER), vec![], "its engine may be gone");
    assert_eq!(book.outdated(|_| true, LATER), vec![]);
    assert_eq!(book.outdated(|_| false, LATER), vec![id], "nobody wants the endpoint any longer");
    assert_eq!(book.outdated(|_| true, LATER.plus(FAILED_SHOWN)), vec![id]);
}

#[test]
fn the_oldest_of_too_many_failed_claims_are_forgotten() {
    let (mut book, first) = ready();
    let claim = book.claim(first).unwrap().clone();
    book.fail(first, "first", NOW);
    for _ in 0..FAILED_MAX {
        let id = book.next_id();
        let spec = book.entries[&first].spec.clone();
        book.open(id, claim.endpoint.clone(), claim.revision, spec, Vec::new(), LATER);
        book.fail(id, "later", LATER);
    }
    assert_eq!(book.outdated(|_| true, LATER), vec![first]);
}

#[test]
fn what_must_leave_is_said_once_and_taken_back() {
    let (mut book, id) = ready();
    let leaving = BTreeMap::from([(id, "Xid 48".to_owned())]);
    assert_eq!(book.set_leaving(&leaving), vec![id]);
    assert_eq!(book.set_leaving(&leaving), vec![]);
    assert_eq!(book.claim(id).unwrap().leaving.as_deref(), Some("Xid 48"));
    assert_eq!(book.set_leaving(&BTreeMap::new()), vec![id]);
}

#[test]
fn an_adopted_claim_is_as_old_as_it_was_and_follows_its_engine() {
    let (mut book, id) = book_with_claim();
    let plan = book.start(id, NOW).unwrap();
    let mut next = Book::new(id.node, LATER);
    next.adopt(plan, LATER);
    assert_eq!(next.claim(id).unwrap().claimed, NOW);
    assert_eq!(next.follow(&engine(id, EnginePhase::Ready), LATER), vec![Change::Publish(id)]);
    assert!(next.stays(id));
}

#[test]
fn progress_is_news_only_in_steps() {
    let (mut book, id) = book_with_claim();
    book.start(id, NOW);
    let loading = |done| {
        let progress = Progress { done, total: 1000, unit: ProgressUnit::Bytes };
        engine(id, EnginePhase::Loading(Some(progress)))
    };
    assert_eq!(book.follow(&loading(100), NOW), vec![Change::Publish(id)]);
    assert_eq!(book.follow(&loading(149), LATER), vec![]);
    assert_eq!(book.follow(&loading(150), LATER), vec![Change::Publish(id)]);
    assert_eq!(book.claim(id).unwrap().since, NOW, "it is in the same state");
}

/// Gossip names a claim of its node by the counter alone.
#[test]
fn a_new_claim_is_not_named_as_one_that_outlived_the_daemon() {
    let (mut book, id) = book_with_claim();
    let plan = book.start(id, NOW).unwrap();
    let mut next = Book::new(id.node, LATER);
    next.adopt(plan, LATER);
    assert!(next.next_id().counter > id.counter);
}

#[test]
fn what_was_taken_over_is_not_given_up_before_it_could_say_that_it_serves() {
    let (mut book, id) = book_with_claim();
    let plan = book.start(id, NOW).unwrap();
    let mut next = Book::new(id.node, LATER);
    next.adopt(plan.clone(), LATER);
    next.follow(&engine(id, EnginePhase::Warming), LATER);
    assert_eq!(next.withdraw(id, "its node is leaving", LATER), None);
    next.follow(&engine(id, EnginePhase::Ready), LATER);
    assert_eq!(next.claim(id).unwrap().state, ReplicaState::Ready, "now it is replaced first");

    let mut late = Book::new(id.node, LATER);
    late.adopt(plan.clone(), LATER);
    assert_eq!(late.withdraw(id, "surplus", LATER.plus(ADOPTION)), Some(Change::Publish(id)), "it never said so");
    let mut crashed = Book::new(id.node, LATER);
    crashed.adopt(plan, LATER);
    crashed.follow(&engine(id, EnginePhase::Backoff { reason: "exit 1".to_owned() }), LATER);
    assert_eq!(crashed.withdraw(id, "surplus", LATER), Some(Change::Publish(id)));
}

#[test]
fn a_sleeper_that_is_given_up_does_not_fall_asleep_again() {
    let (mut book, id) = serving(book_with_claim_on("{kind: sim, sleep: {}}"));
    book.ask(id, &DrainReason::Surplus);
    book.drain(id, NOW);
    assert_eq!(book.follow(&engine(id, EnginePhase::Asleep), NOW), vec![Change::Publish(id)]);
    assert_eq!(book.asleep(), BTreeSet::from([id]));
    assert_eq!(book.withdraw(id, "its GPUs are needed", NOW), Some(Change::Publish(id)));
    assert_eq!(book.follow(&engine(id, EnginePhase::Asleep), NOW), vec![], "its engine has not heard yet");
    assert!(book.asleep().is_empty());
}

#[test]
fn what_failed_or_crashed_while_it_asked_does_not_drain() {
    let (mut book, failed) = ready();
    book.ask(failed, &DrainReason::Superseded);
    book.fail(failed, "exit 1", NOW);
    assert_eq!(book.drain(failed, NOW), None);
    assert_eq!(book.claim(failed).unwrap().state, ReplicaState::Failed);
    let (mut book, crashed) = ready();
    book.ask(crashed, &DrainReason::Superseded);
    book.follow(&engine(crashed, EnginePhase::Backoff { reason: "exit 1".to_owned() }), NOW);
    assert_eq!(book.drain(crashed, NOW), None, "placement may give it up at once");
    book.follow(&engine(crashed, EnginePhase::Ready), NOW);
    assert!(book.ask(crashed, &DrainReason::Superseded), "and asks again if it serves again");
}

#[test]
fn a_replica_that_serves_again_says_why_it_was_started_again() {
    let (mut book, id) = ready();
    book.follow(&engine(id, EnginePhase::Backoff { reason: "it hangs".to_owned() }), NOW);
    book.follow(&engine(id, EnginePhase::Ready), LATER);
    assert_eq!(book.claim(id).unwrap().reason.as_deref(), Some("started again after: it hangs"));
}
