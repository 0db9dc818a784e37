//! What becomes of the claims that this node already has: start, go on, withdraw or drain (DESIGN rules 3, 4 and 7).

use std::collections::BTreeMap;

use shoal_types::{Claim, ClaimId, Departure, ReplicaState, UnixMillis};

use crate::{
    census::Census,
    decision::{Action, Decision, DrainReason, WithdrawReason},
    timing::Timing,
};

/// Since when own replicas could drain, as others have covered for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tenure {
    covered_since: BTreeMap<ClaimId, UnixMillis>,
}

/// What a claim is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub(crate) timing: &'a Timing,
    pub(crate) now: UnixMillis,
    /// Set if the own node is leaving.
    pub(crate) departure: Option<&'a Departure>,
}

impl Tenure {
    /// Forgets all claims that are not among `claims`.
    pub(crate) fn retain(&mut self, claims: &BTreeMap<ClaimId, Claim>) {
        self.covered_since.retain(|claim, _| claims.contains_key(claim));
    }

    /// Decides about `claim`, one of this node's own. `census` is its endpoint's, or `None` if that wants no replicas.
    pub(crate) fn judge(&mut self, claim: &Claim, census: Option<&Census<'_>>, bench: &Bench<'_>, out: &mut Decision) {
        let Some(census) = census else { return dismiss(claim, out) };
        match claim.state {
            ReplicaState::Claimed
            | ReplicaState::Preparing
            | ReplicaState::Starting
            | ReplicaState::Loading
            | ReplicaState::Warming
            | ReplicaState::Backoff => judge_unready(claim, census, bench, out),
            ReplicaState::Ready => self.judge_ready(claim, census, bench, out),
            ReplicaState::Asleep => judge_asleep(claim, census, bench, out),
            ReplicaState::Draining | ReplicaState::Failed => {}
        }
    }

    /// Rule 4: a replica that serves goes when `desired` others that stay serve, and have for a settle time. A full
    /// fleet that cannot surge therefore keeps the old revision; nothing breaks, and nothing moves until GPUs come
    /// free.
    fn judge_ready(&mut self, claim: &Claim, census: &Census<'_>, bench: &Bench<'_>, out: &mut Decision) {
        if let Some(deadline) = bench.departure.and_then(|departure| departure.deadline) {
            if bench.now >= deadline {
                return out.act(drain(claim, DrainReason::Deadline, Vec::new()));
            }
            out.wake_at(deadline);
        }
        let me = (claim.id.node, claim.id);
        let Some(cover) = census.cover().filter(|cover| !cover.contains(&me)) else {
            self.covered_since.remove(&claim.id);
            return;
        };
        let since = self.covered_since.entry(claim.id).or_insert(bench.now);
        if bench.now >= since.plus(bench.timing.settle) {
            out.act(drain(claim, drain_reason(claim, census, bench), cover));
            // If one of the cover says no, ask again after another settle time, not at every step.
            *since = bench.now;
        }
        out.wake_at(since.plus(bench.timing.settle));
    }
}

/// The endpoint was deleted or wants nothing: no replica of it has anything to wait for.
fn dismiss(claim: &Claim, out: &mut Decision) {
    match claim.state {
        ReplicaState::Ready => out.act(drain(claim, DrainReason::Unwanted, Vec::new())),
        ReplicaState::Claimed
        | ReplicaState::Preparing
        | ReplicaState::Starting
        | ReplicaState::Loading
        | ReplicaState::Warming
        | ReplicaState::Backoff
        | ReplicaState::Asleep => out.act(withdraw(claim, WithdrawReason::Unwanted)),
        ReplicaState::Draining | ReplicaState::Failed => {}
    }
}

/// A claim that does not serve costs nothing to give up, so it goes at once where it is not wanted. Only a claim that
/// has not started waits for the settle time, in which claims that were made at the same moment become known.
fn judge_unready(claim: &Claim, census: &Census<'_>, bench: &Bench<'_>, out: &mut Decision) {
    if let Some(reason) = goes(claim, bench) {
        out.act(withdraw(claim, reason));
    } else if claim.revision != census.record.revision {
        out.act(withdraw(claim, WithdrawReason::Superseded));
    } else if claim.state == ReplicaState::Claimed {
        let settled = claim.claimed.plus(bench.timing.settle);
        if bench.now < settled {
            out.wake_at(settled);
        } else if census.is_kept(claim.id) {
            out.act(Action::Start(claim.id));
        } else {
            out.act(withdraw(claim, WithdrawReason::Surplus));
        }
    } else if census.is_outranked(claim.id) {
        out.act(withdraw(claim, WithdrawReason::Surplus));
    }
}

/// A sleeping replica is woken before anybody claims a new one, and sleeps on otherwise.
fn judge_asleep(claim: &Claim, census: &Census<'_>, bench: &Bench<'_>, out: &mut Decision) {
    if let Some(reason) = goes(claim, bench) {
        out.act(withdraw(claim, reason));
    } else if claim.revision != census.record.revision {
        out.act(withdraw(claim, WithdrawReason::Superseded));
    } else if census.is_woken(claim.id) {
        out.act(Action::Wake(claim.id));
    }
}

fn goes(claim: &Claim, bench: &Bench<'_>) -> Option<WithdrawReason> {
    let departing = bench.departure.is_some().then_some(WithdrawReason::Departing);
    departing.or_else(|| claim.leaving.is_some().then_some(WithdrawReason::Leaving))
}

fn drain_reason(claim: &Claim, census: &Census<'_>, bench: &Bench<'_>) -> DrainReason {
    if bench.departure.is_some() {
        DrainReason::Departing
    } else if claim.leaving.is_some() {
        DrainReason::Leaving
    } else if claim.revision != census.record.revision {
        DrainReason::Superseded
    } else {
        DrainReason::Surplus
    }
}

fn drain(claim: &Claim, reason: DrainReason, confirm: Vec<(shoal_types::NodeId, ClaimId)>) -> Action {
    Action::Drain { claim: claim.id, reason, confirm }
}

fn withdraw(claim: &Claim, reason: WithdrawReason) -> Action {
    Action::Withdraw { claim: claim.id, reason }
}
