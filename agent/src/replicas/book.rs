//! This node's claims, and what the phase of an engine means for each: pure.

use std::{collections::BTreeMap, time::Duration};

use rustix::process::{Pid, getpgid};
use shoal_engine_supervisor::{EnginePhase, EngineStatus, LaunchPlan};
use shoal_types::{
    Claim, ClaimId, EndpointName, EndpointSpec, GpuId, NodeId, ReplicaState, Revision, UnixMillis, clip_reason,
};

/// First and longest wait before a node tries again what failed on it.
const RETRY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15 * 60));

/// What has to be told to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The claim is not as it was.
    Publish(ClaimId),
    /// The replica is gone.
    Close(ClaimId),
    /// The replica cannot run here.
    Fail(ClaimId, String),
}

#[derive(Debug)]
struct Entry {
    claim: Claim,
    spec: EndpointSpec,
    gpus: Vec<GpuId>,
    /// Set once the supervisor has it: the claim can only go when the supervisor no longer does.
    launched: bool,
    /// Set while others are asked whether they serve in its place.
    asking: Option<String>,
}

/// All claims of this node.
#[derive(Debug)]
pub(super) struct Book {
    node: NodeId,
    generation: UnixMillis,
    counter: u32,
    entries: BTreeMap<ClaimId, Entry>,
}

impl Book {
    pub(super) const fn new(node: NodeId, generation: UnixMillis) -> Self {
        Self { node, generation, counter: 0, entries: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An id that was never used.
    pub(super) const fn next_id(&mut self) -> ClaimId {
        self.counter += 1;
        ClaimId { node: self.node, generation: self.generation, counter: self.counter }
    }

    pub(super) fn claim(&self, claim: ClaimId) -> Option<&Claim> {
        self.entries.get(&claim).map(|entry| &entry.claim)
    }

    /// A new claim in state `Claimed`.
    pub(super) fn open(
        &mut self,
        id: ClaimId,
        endpoint: EndpointName,
        revision: Revision,
        spec: EndpointSpec,
        gpus: Vec<GpuId>,
        now: UnixMillis,
    ) -> Claim {
        let claim = Claim {
            id,
            endpoint,
            revision,
            gpus: spec.resources.gpus,
            claimed: now,
            state: ReplicaState::Claimed,
            since: now,
            reason: None,
            progress: None,
            leaving: None,
        };
        self.entries.insert(id, Entry { claim: claim.clone(), spec, gpus, launched: false, asking: None });
        claim
    }

    /// The claim of a replica that the daemon before this one launched, and that still runs.
    pub(super) fn adopt(&mut self, plan: LaunchPlan, now: UnixMillis) {
        let LaunchPlan { claim: id, endpoint, revision, claimed, spec, gpus } = plan;
        let claim = Claim {
            id,
            endpoint,
            revision,
            gpus: spec.resources.gpus,
            claimed,
            state: ReplicaState::Starting,
            since: now,
            reason: None,
            progress: None,
            leaving: None,
        };
        self.entries.insert(id, Entry { claim, spec, gpus, launched: true, asking: None });
    }

    /// The plan for a settled claim; `None` if it was started before or is gone.
    pub(super) fn start(&mut self, claim: ClaimId, now: UnixMillis) -> Option<LaunchPlan> {
        let entry = self.entries.get_mut(&claim).filter(|entry| !entry.launched)?;
        entry.launched = true;
        entry.enter(ReplicaState::Starting, None, now);
        Some(LaunchPlan {
            claim,
            endpoint: entry.claim.endpoint.clone(),
            revision: entry.claim.revision,
            claimed: entry.claim.claimed,
            spec: entry.spec.clone(),
            gpus: entry.gpus.clone(),
        })
    }

    /// Gives up a claim that does not serve: `Close` if nothing was started, else `Publish` and its engine must be
    /// stopped. `None` if that has been done.
    pub(super) fn withdraw(&mut self, claim: ClaimId, reason: &str, now: UnixMillis) -> Option<Change> {
        let entry = self.entries.get_mut(&claim)?;
        if !entry.launched {
            return Some(Change::Close(claim));
        }
        let changed = entry.enter(ReplicaState::Draining, Some(reason.to_owned()), now);
        changed.then_some(Change::Publish(claim))
    }

    /// Marks a serving claim as asking whether others serve in its place; `false` if it already is, or does not serve.
    pub(super) fn ask(&mut self, claim: ClaimId, reason: &str) -> bool {
        let Some(entry) = self.entries.get_mut(&claim) else { return false };
        if entry.asking.is_some() || entry.claim.state != ReplicaState::Ready {
            return false;
        }
        entry.asking = Some(reason.to_owned());
        true
    }

    /// Somebody did not answer yes: it stays.
    pub(super) fn unask(&mut self, claim: ClaimId) {
        if let Some(entry) = self.entries.get_mut(&claim) {
            entry.asking = None;
        }
    }

    /// All answered yes: from now on it only finishes. Returns how long that may take.
    pub(super) fn drain(&mut self, claim: ClaimId, now: UnixMillis) -> Option<Duration> {
        let entry = self.entries.get_mut(&claim)?;
        let reason = entry.asking.take();
        entry.enter(ReplicaState::Draining, reason, now).then_some(entry.spec.routing.timeout.0)
    }

    /// Claims that only finish what they have.
    pub(super) fn draining(&self) -> Vec<ClaimId> {
        let draining = self.entries.values().filter(|entry| entry.claim.state == ReplicaState::Draining);
        draining.map(|entry| entry.claim.id).collect()
    }

    /// Whether `claim` serves and means to go on: what others may rely on when they drain.
    pub(super) fn stays(&self, claim: ClaimId) -> bool {
        self.entries.get(&claim).is_some_and(|entry| entry.claim.state.serves() && entry.asking.is_none())
    }

    pub(super) fn close(&mut self, claim: ClaimId) {
        self.entries.remove(&claim);
    }

    /// Brings the claims in line with the engines.
    pub(super) fn follow(&mut self, engines: &BTreeMap<ClaimId, EngineStatus>, now: UnixMillis) -> Vec<Change> {
        let launched = self.entries.iter_mut().filter(|(_, entry)| entry.launched);
        launched.filter_map(|(&claim, entry)| entry.follow(claim, engines.get(&claim), now)).collect()
    }
}

impl Entry {
    fn follow(&mut self, claim: ClaimId, engine: Option<&EngineStatus>, now: UnixMillis) -> Option<Change> {
        let Some(engine) = engine else { return Some(Change::Close(claim)) };
        let (state, reason) = match &engine.phase {
            EnginePhase::Preparing(_) => (ReplicaState::Preparing, None),
            EnginePhase::Starting => (ReplicaState::Starting, None),
            EnginePhase::Loading(_) => (ReplicaState::Loading, None),
            EnginePhase::Warming => (ReplicaState::Warming, None),
            EnginePhase::Ready => (ReplicaState::Ready, None),
            EnginePhase::Backoff { reason } => (ReplicaState::Backoff, Some(reason.clone())),
            EnginePhase::Asleep => (ReplicaState::Asleep, None),
            EnginePhase::Failed { reason, .. } if self.claim.state != ReplicaState::Draining => {
                return Some(Change::Fail(claim, reason.clone()));
            }
            EnginePhase::Failed { .. } | EnginePhase::Stopping => return None,
        };
        // A draining claim never serves again, whatever its engine could.
        (self.claim.state != ReplicaState::Draining && self.enter(state, reason, now)).then_some(Change::Publish(claim))
    }

    /// Returns whether anything changed.
    fn enter(&mut self, state: ReplicaState, reason: Option<String>, now: UnixMillis) -> bool {
        let reason = reason.map(|reason| clip_reason(&reason));
        if self.claim.state == state && (self.claim.reason == reason || state == ReplicaState::Draining) {
            return false;
        }
        if self.claim.state != state {
            self.claim.since = now;
        }
        self.claim.state = state;
        self.claim.reason = reason;
        true
    }
}

/// How long to stay away from what failed `failures` times here.
pub(super) fn retry_after(failures: u32) -> Duration {
    RETRY.0.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(RETRY.1)
}

/// Whether `process` is of one of the process groups that engines run in.
pub(super) fn in_groups(process: u32, groups: &[u32]) -> bool {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let group = pid.and_then(|pid| getpgid(Some(pid)).ok()).map(Pid::as_raw_nonzero);
    group.and_then(|group| u32::try_from(group.get()).ok()).is_some_and(|group| groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use shoal_types::{Backend, EngineAddress, Hlc, Load, parse_endpoints};

    use super::*;

    const NOW: UnixMillis = UnixMillis::from_millis(1_000);
    const LATER: UnixMillis = UnixMillis::from_millis(2_000);

    fn book_with_claim() -> (Book, ClaimId) {
        let node = NodeId::from_bytes([1; 16]);
        let mut book = Book::new(node, NOW);
        let text = "{apiVersion: shoal/v1, kind: Endpoint, metadata: {name: a}, spec: {model: m, engine: {kind: sim}}}";
        let endpoint = parse_endpoints(text).unwrap().remove(0);
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
        let (mut book, id) = book_with_claim();
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
        assert!(book.ask(id, "surplus"));
        assert!(!book.ask(id, "surplus"));
        assert!(!book.stays(id));
        book.unask(id);
        assert!(book.stays(id));
    }

    #[test]
    fn a_draining_replica_never_serves_again() {
        let (mut book, id) = ready();
        book.ask(id, "surplus");
        assert!(book.drain(id, NOW).is_some());
        assert!(book.drain(id, NOW).is_none());
        assert_eq!(book.claim(id).unwrap().reason.as_deref(), Some("surplus"));
        assert_eq!(book.follow(&engine(id, EnginePhase::Ready), NOW), vec![]);
        assert_eq!(book.claim(id).unwrap().state, ReplicaState::Draining);
    }

    #[test]
    fn failures_are_kept_away_from_for_longer_and_longer() {
        assert_eq!(retry_after(1), Duration::from_secs(30));
        assert_eq!(retry_after(3), Duration::from_secs(120));
        assert_eq!(retry_after(u32::MAX), Duration::from_secs(900));
    }
}
