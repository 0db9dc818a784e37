//! What a node does about a decision, as the agent would, and what becomes of its engines.

use std::time::Duration;

use shoal_types::{Claim, ClaimId, NodeId, Refusal, ReplicaState, UnixMillis};

use super::mesh::{Event, Mesh};
use crate::Action;

const LOAD: Duration = Duration::from_secs(20);
const WAKING: Duration = Duration::from_secs(3);
const DRAIN: Duration = Duration::from_secs(2);
const BACKOFF: Duration = Duration::from_secs(5);
/// Crashes of one claim after which it is given up.
const CRASHES_MAX: u32 = 2;
/// How long a node refuses what failed on it.
const REFUSAL: Duration = Duration::from_secs(45);
/// How long a failed claim is shown.
const SHOWN: Duration = Duration::from_secs(20);

impl Mesh {
    pub(super) fn act(&mut self, node: usize, action: &Action) {
        match action {
            Action::Claim { endpoint, revision, gpus } => {
                let Some(id) = self.nodes[node].reserve(*gpus) else {
                    return self.break_rule(format!("rule 3: node {} claims GPUs that it has not", node + 1));
                };
                let claim = Claim {
                    id,
                    endpoint: endpoint.clone(),
                    revision: *revision,
                    gpus: *gpus,
                    claimed: self.now,
                    state: ReplicaState::Claimed,
                    since: self.now,
                    reason: None,
                    progress: None,
                    crashes: 0,
                    leaving: None,
                };
                self.nodes[node].claims_mut().insert(id, claim);
            }
            Action::Start(claim) => {
                self.watch_start(node, *claim);
                self.outcome.started += 1;
                self.enter(*claim, ReplicaState::Starting);
                self.schedule(self.now.plus(LOAD), Event::Loaded { claim: *claim });
            }
            Action::Wake(claim) => {
                self.enter(*claim, ReplicaState::Warming);
                self.schedule(self.now.plus(WAKING), Event::Loaded { claim: *claim });
            }
            Action::Move { .. } => {}
            Action::Withdraw { claim, .. } => {
                let claim = self.end(*claim).unwrap();
                self.outcome.abandoned += usize::from(claim.state != ReplicaState::Claimed);
            }
            Action::Drain { claim, reason, confirm } => {
                self.watch_drain(node, *claim, reason, confirm);
                if self.nodes[node].asking.insert(*claim) {
                    let round_trip = self.random.seconds(0.01, 0.5);
                    let confirm = confirm.clone();
                    self.schedule(self.now.plus(round_trip), Event::Answered { claim: *claim, confirm });
                }
            }
        }
        self.nodes[node].show_gpus();
    }

    /// What is told to move leaves, as long as it is told so.
    pub(super) fn move_away(&mut self, node: usize, actions: &[Action]) {
        let told = actions.iter().filter_map(|action| match action {
            Action::Move { claim, .. } => Some(*claim),
            Action::Claim { .. }
            | Action::Start(_)
            | Action::Wake(_)
            | Action::Withdraw { .. }
            | Action::Drain { .. } => None,
        });
        self.nodes[node].move_away(told.collect());
    }

    /// The replicas that are to serve in its place have answered with the truth.
    pub(super) fn answered(&mut self, claim: ClaimId, confirm: &[(NodeId, ClaimId)]) {
        let node = self.index(claim.node);
        let asked = self.nodes[node].up && self.nodes[node].asking.contains(&claim);
        if !asked || !self.is_in(claim, ReplicaState::Ready) {
            return;
        }
        let serves = |&(id, kept): &(NodeId, ClaimId)| {
            let other = self.index(id);
            (other == node || self.hears(node, other)) && self.nodes[other].serves(kept)
        };
        let agreed = confirm.iter().all(serves);
        self.nodes[node].asking.remove(&claim);
        if !agreed {
            self.note(node, || format!("{} is told no", self.named(claim)));
            return;
        }
        self.note(node, || format!("drains {}", self.named(claim)));
        self.watch_drained(node, claim, confirm.len());
        self.outcome.drained += 1;
        self.enter(claim, ReplicaState::Draining);
        self.say(node);
        self.schedule(self.now.plus(DRAIN), Event::Drained { claim });
    }

    pub(super) fn loaded(&mut self, claim: ClaimId) {
        if !self.is_in(claim, ReplicaState::Starting) && !self.is_in(claim, ReplicaState::Warming) {
            return;
        }
        let node = self.index(claim.node);
        if self.nodes[node].flaky {
            return self.crash_engine(claim);
        }
        self.enter(claim, ReplicaState::Ready);
        self.say(node);
    }

    /// The engine of a claim ends by itself: it is started again here, and after some crashes refused.
    pub(super) fn crash_engine(&mut self, claim: ClaimId) {
        let (node, now) = (self.index(claim.node), self.now);
        self.nodes[node].asking.remove(&claim);
        let Some(found) = self.nodes[node].claims_mut().get_mut(&claim) else { return };
        found.crashes += 1;
        if found.crashes < CRASHES_MAX {
            self.enter(claim, ReplicaState::Backoff);
            self.schedule(now.plus(BACKOFF), Event::Again { claim });
        } else {
            (found.state, found.since, found.gpus) = (ReplicaState::Failed, now, 0);
            let refusal = Refusal {
                cause: shoal_types::RefusalCause::Unfit,
                endpoint: found.endpoint.clone(),
                revision: found.revision,
                until: now.plus(REFUSAL),
                reason: "it crashed".to_owned(),
            };
            let own = self.nodes[node].truth_mut();
            own.refusals.retain(|old| old.until > now);
            own.refusals.push(refusal);
            self.nodes[node].release(claim);
            self.schedule(now.plus(SHOWN), Event::Forgotten { claim });
        }
        self.note(node, || format!("the engine of {} crashes", self.named(claim)));
        self.nodes[node].show_gpus();
        self.say(node);
    }

    pub(super) fn start_again(&mut self, claim: ClaimId) {
        if self.is_in(claim, ReplicaState::Backoff) {
            self.enter(claim, ReplicaState::Starting);
            self.schedule(self.now.plus(LOAD), Event::Loaded { claim });
            self.say(self.index(claim.node));
        }
    }

    pub(super) fn drained(&mut self, claim: ClaimId) {
        let node = self.index(claim.node);
        if self.is_in(claim, ReplicaState::Draining) && self.nodes[node].rests(claim) {
            self.enter(claim, ReplicaState::Asleep);
            self.say(node);
        } else {
            self.end_if(claim, ReplicaState::Draining);
        }
    }

    pub(super) fn forget(&mut self, claim: ClaimId) {
        self.end_if(claim, ReplicaState::Failed);
    }

    /// The host of `node` is taken away; it had said so. Without replicas it has the time to say goodbye.
    pub(super) fn take_away(&mut self, node: usize, generation: UnixMillis) {
        let subject = &self.nodes[node];
        if subject.up && subject.generation == generation && subject.is_leaving() {
            self.note(node, || "is taken away".to_owned());
            if self.nodes[node].claims().is_empty() {
                self.say_goodbye(node);
            }
            self.crash(node);
        }
    }

    fn end_if(&mut self, claim: ClaimId, state: ReplicaState) {
        if self.is_in(claim, state) {
            self.end(claim);
            let node = self.index(claim.node);
            self.nodes[node].show_gpus();
            self.say(node);
        }
    }

    /// Whether the claim still is there, in `state`. A restarted node has none of its claims of before.
    fn is_in(&self, claim: ClaimId, state: ReplicaState) -> bool {
        let node = &self.nodes[self.index(claim.node)];
        node.up && node.claims().get(&claim).is_some_and(|claim| claim.state == state)
    }

    fn enter(&mut self, claim: ClaimId, state: ReplicaState) {
        let (node, now) = (self.index(claim.node), self.now);
        self.nodes[node].claims_mut().entry(claim).and_modify(|claim| (claim.state, claim.since) = (state, now));
    }

    fn end(&mut self, claim: ClaimId) -> Option<Claim> {
        let node = self.index(claim.node);
        self.nodes[node].release(claim);
        self.nodes[node].claims_mut().remove(&claim)
    }
}
