//! This node's claims, and what the phase of an engine means for each: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shoal_engine_supervisor::{EnginePhase, EngineStatus, FailureClass, LaunchPlan};
use shoal_placement::DrainReason;
use shoal_types::{
    Claim, ClaimId, EndpointName, EndpointSpec, GpuId, NodeId, Progress, ReplicaState, Revision, UnixMillis,
    clip_reason,
};

/// How long a replica that failed is shown, and how many of them.
const FAILED_SHOWN: Duration = Duration::from_secs(10 * 60);
const FAILED_MAX: usize = 16;
/// How long an engine that was taken over may take to say that it serves, before it counts as one that never did: more
/// than the checks that the supervisor lets it miss.
const ADOPTION: Duration = Duration::from_secs(15);
/// How long a replica says why it did not go: several times the settle time, after which placement has it ask again.
const HELD_BACK_SHOWN: Duration = Duration::from_secs(15);
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
    Fail(ClaimId, FailureClass, String),
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
    /// Set once somebody did not say that it serves in its place: why it stays, and until when that is shown.
    held_back: Option<(String, UnixMillis)>,
    /// Set if it sleeps once it is drained, instead of ending.
    rests: bool,
    /// Set if it was taken over: until then it may serve although it has not said so yet.
    unheard_until: Option<UnixMillis>,
    /// Set once it has failed: until then it is shown.
    shown_until: Option<UnixMillis>,
    /// Why its engine was last started again.
    crash: Option<String>,
    /// Crashes in a row that the engine last told of.
    in_a_row: u32,
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

    /// Whether nothing is left but what has failed.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.values().all(|entry| entry.shown_until.is_some())
    }

    /// All claims that hold something, each with its GPUs.
    pub(super) fn holdings(&self) -> impl Iterator<Item = (ClaimId, &[GpuId])> {
        let holding = self.entries.values().filter(|entry| entry.shown_until.is_none());
        holding.map(|entry| (entry.claim.id, entry.gpus.as_slice()))
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
            crashes: 0,
            leaving: None,
        };
        self.entries.insert(id, Entry::new(claim.clone(), spec, gpus));
        claim
    }

    /// The claim of a replica that the daemon before this one launched, and that still runs. Claims that are made after
    /// it count on from its counter, by which alone gossip tells the claims of a node apart.
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
            crashes: 0,
            leaving: None,
        };
        self.counter = self.counter.max(id.counter);
        let unheard_until = Some(now.plus(ADOPTION));
        self.entries.insert(id, Entry { launched: true, unheard_until, ..Entry::new(claim, spec, gpus) });
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
    /// stopped. `None` if that has been done, or if its engine was taken over and may well serve: then it is to be
    /// replaced first.
    pub(super) fn withdraw(&mut self, claim: ClaimId, reason: &str, now: UnixMillis) -> Option<Change> {
        let entry = self.entries.get_mut(&claim)?;
        if !entry.launched {
            return Some(Change::Close(claim));
        }
        if entry.may_serve(now) {
            return None;
        }
        // Given up, it does not fall asleep again.
        entry.rests = false;
        let changed = entry.enter(ReplicaState::Draining, Some(reason.to_owned()), now);
        changed.then_some(Change::Publish(claim))
    }

    /// Marks a serving claim as asking whether others serve in its place; `false` if it already is, or does not serve.
    pub(super) fn ask(&mut self, claim: ClaimId, reason: &DrainReason) -> bool {
        self.entries.get(&claim).is_some_and(|entry| entry.asking.is_none()) && self.resolve(claim, reason)
    }

    /// Marks a serving claim as one that nobody has to be asked about, whoever is being asked; `false` if it does not
    /// serve.
    pub(super) fn resolve(&mut self, claim: ClaimId, reason: &DrainReason) -> bool {
        let Some(entry) = self.entries.get_mut(&claim) else { return false };
        if entry.claim.state != ReplicaState::Ready {
            return false;
        }
        entry.asking = Some(reason.to_string());
        entry.rests = may_be_wanted_again(reason) && entry.spec.engine.sleep().is_some();
        true
    }

    /// Claims that sleep: whoever is wanted may have their GPUs.
    pub(super) fn asleep(&self) -> BTreeSet<ClaimId> {
        let asleep = self.entries.values().filter(|entry| entry.claim.state == ReplicaState::Asleep);
        asleep.map(|entry| entry.claim.id).collect()
    }

    /// Whether a drained claim sleeps, rather than ends.
    pub(super) fn rests(&self, claim: ClaimId) -> bool {
        self.entries.get(&claim).is_some_and(|entry| entry.rests && entry.claim.leaving.is_none())
    }

    /// Marks a sleeping claim as one that is on its way again; `false` if it does not sleep.
    pub(super) fn wake(&mut self, claim: ClaimId, now: UnixMillis) -> bool {
        let Some(entry) = self.entries.get_mut(&claim) else { return false };
        if entry.claim.state != ReplicaState::Asleep {
            return false;
        }
        entry.rests = false;
        entry.enter(ReplicaState::Warming, None, now)
    }

    /// Says of the claims in `leaving` that they must go, and of all others that they need not. Returns those of which
    /// that is news.
    pub(super) fn set_leaving(&mut self, leaving: &BTreeMap<ClaimId, String>) -> Vec<ClaimId> {
        let mut news = Vec::new();
        for (claim, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.shown_until.is_none()) {
            let reason = leaving.get(claim).map(|reason| clip_reason(reason));
            if entry.claim.leaving != reason {
                entry.claim.leaving = reason;
                news.push(*claim);
            }
        }
        news
    }

    /// The claim has failed: it gives up what it holds, and is shown for a while.
    pub(super) fn fail(&mut self, claim: ClaimId, reason: &str, now: UnixMillis) {
        let Some(entry) = self.entries.get_mut(&claim) else { return };
        entry.enter(ReplicaState::Failed, Some(reason.to_owned()), now);
        entry.claim.gpus = 0;
        // What never came to run has crashed, too.
        entry.claim.crashes = entry.claim.crashes.max(1);
        entry.shown_until = Some(now.plus(FAILED_SHOWN));
    }

    /// Failed claims that need not be shown any longer: of endpoints that are not `wanted`, old ones, and the oldest of
    /// too many.
    pub(super) fn outdated(&self, wanted: impl Fn(&Claim) -> bool, now: UnixMillis) -> Vec<ClaimId> {
        let mut failed: Vec<(UnixMillis, &Claim)> =
            self.entries.values().filter_map(|entry| Some((entry.shown_until?, &entry.claim))).collect();
        failed.sort_by_key(|(until, _)| std::cmp::Reverse(*until));
        let outdated = failed
            .iter()
            .enumerate()
            .filter(|(index, (until, claim))| *index >= FAILED_MAX || *until <= now || !wanted(claim));
        outdated.map(|(_, (_, claim))| claim.id).collect()
    }

    /// These did not say that they serve in its place: it stays, and shows why.
    pub(super) fn unask(&mut self, claim: ClaimId, doubtful: &BTreeSet<ClaimId>, now: UnixMillis) {
        let Some(entry) = self.entries.get_mut(&claim) else { return };
        let Some(reason) = entry.asking.take() else { return };
        let names: Vec<String> = doubtful.iter().map(|other| other.replica_name(&entry.claim.endpoint)).collect();
        let stays = format!("{reason}; it stays as long as these do not say that they serve: {}", names.join(", "));
        entry.held_back = Some((stays, now.plus(HELD_BACK_SHOWN)));
    }

    /// All answered yes: from now on it only finishes. Returns how long that may take; `None` if it serves no longer, as
    /// it has crashed since it asked, or drains already.
    pub(super) fn drain(&mut self, claim: ClaimId, now: UnixMillis) -> Option<Duration> {
        let entry = self.entries.get_mut(&claim)?;
        let reason = entry.asking.take()?;
        if !entry.claim.state.serves() {
            return None;
        }
        entry.held_back = None;
        entry.enter(ReplicaState::Draining, Some(reason), now).then_some(entry.spec.routing.timeout.0)
    }

    /// Claims that only finish what they have.
    pub(super) fn draining(&self) -> Vec<ClaimId> {
        let draining = self.entries.values().filter(|entry| entry.claim.state == ReplicaState::Draining);
        draining.map(|entry| entry.claim.id).collect()
    }

    pub(super) fn is_draining(&self, claim: ClaimId) -> bool {
        self.claim(claim).is_some_and(|claim| claim.state == ReplicaState::Draining)
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
        let launched = self.entries.iter_mut().filter(|(_, entry)| entry.launched && entry.shown_until.is_none());
        launched.filter_map(|(&claim, entry)| entry.follow(claim, engines.get(&claim), now)).collect()
    }
}

impl Entry {
    const fn new(claim: Claim, spec: EndpointSpec, gpus: Vec<GpuId>) -> Self {
        Self {
            claim,
            spec,
            gpus,
            launched: false,
            asking: None,
            held_back: None,
            rests: false,
            unheard_until: None,
            shown_until: None,
            crash: None,
            in_a_row: 0,
        }
    }

    /// Whether its engine was taken over and has not said yet how it is.
    fn may_serve(&self, now: UnixMillis) -> bool {
        let silent = matches!(
            self.claim.state,
            ReplicaState::Preparing | ReplicaState::Starting | ReplicaState::Loading | ReplicaState::Warming
        );
        silent && self.unheard_until.is_some_and(|until| now < until)
    }

    fn follow(&mut self, claim: ClaimId, engine: Option<&EngineStatus>, now: UnixMillis) -> Option<Change> {
        let Some(engine) = engine else { return Some(Change::Close(claim)) };
        let progress = if let EnginePhase::Preparing(progress) | EnginePhase::Loading(progress) = &engine.phase {
            progress.map(Progress::coarse)
        } else {
            None
        };
        self.remember_crash(engine);
        let before = self.crash.as_ref().map(|crash| format!("started again after: {crash}"));
        let (state, reason) = match &engine.phase {
            EnginePhase::Preparing(_) => (ReplicaState::Preparing, before),
            EnginePhase::Starting => (ReplicaState::Starting, before),
            EnginePhase::Loading(_) => (ReplicaState::Loading, before),
            EnginePhase::Warming => (ReplicaState::Warming, before),
            EnginePhase::Ready => (ReplicaState::Ready, self.why_it_stays(now).or(before)),
            EnginePhase::Backoff { reason } => (ReplicaState::Backoff, Some(reason.clone())),
            EnginePhase::Asleep => (ReplicaState::Asleep, before),
            EnginePhase::Failed { class, reason } if self.claim.state != ReplicaState::Draining => {
                return Some(Change::Fail(claim, *class, reason.clone()));
            }
            EnginePhase::Failed { .. } | EnginePhase::Stopping => return None,
        };
        // A draining claim never serves again, whatever its engine could, unless it sleeps and is woken.
        if self.claim.state == ReplicaState::Draining && !(self.rests && state == ReplicaState::Asleep) {
            return None;
        }
        let moved = std::mem::replace(&mut self.claim.progress, progress) != progress;
        (self.enter(state, reason, now) || moved).then_some(Change::Publish(claim))
    }

    /// Why it serves although it was to go.
    fn why_it_stays(&mut self, now: UnixMillis) -> Option<String> {
        self.held_back.take_if(|(_, until)| *until <= now);
        self.held_back.as_ref().map(|(why, _)| why.clone())
    }

    /// That an engine was started again, and why, is still worth knowing when it serves.
    fn remember_crash(&mut self, engine: &EngineStatus) {
        if let EnginePhase::Backoff { reason } = &engine.phase {
            self.crash = Some(reason.clone());
        }
        // The engine's own count begins anew after a long service; the claim's does not.
        let more = engine.crashes.saturating_sub(self.in_a_row);
        self.claim.crashes = self.claim.crashes.saturating_add(more);
        self.in_a_row = engine.crashes;
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

/// Whether a replica that goes for `reason` may soon be wanted again, just as it is.
const fn may_be_wanted_again(reason: &DrainReason) -> bool {
    match reason {
        DrainReason::Surplus | DrainReason::Idle => true,
        DrainReason::Superseded
        | DrainReason::Departing
        | DrainReason::Leaving
        | DrainReason::Deadline
        | DrainReason::Unwanted
        | DrainReason::Preempted { .. } => false,
    }
}

/// How long to stay away from what failed `failures` times here.
pub(super) fn retry_after(failures: u32) -> Duration {
    RETRY.0.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(RETRY.1)
}

#[cfg(test)]
mod tests;
