//! What becomes of the claims that this node already has: start, go on, withdraw, drain or move (DESIGN rules 3, 4 and 7).

use std::collections::BTreeMap;

use shoal_types::{Claim, ClaimId, Departure, NodeId, NodeView, ReplicaState, UnixMillis};

use crate::{
    capacity::Room,
    census::Census,
    clearing::Clearing,
    decision::{Action, Decision, DrainReason, WithdrawReason},
    group::Group,
    timing::Timing,
};

/// Since when own replicas could go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tenure {
    /// Since when others have covered for a replica that serves.
    covered_since: BTreeMap<ClaimId, UnixMillis>,
    /// Since when a claim is to make room, or to move.
    cleared_since: BTreeMap<ClaimId, UnixMillis>,
}

/// What claims are judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub(crate) timing: &'a Timing,
    pub(crate) now: UnixMillis,
    /// Set if the own node is leaving.
    pub(crate) departure: Option<&'a Departure>,
    /// Who goes so that others find room.
    pub(crate) clearing: &'a Clearing,
    /// GPUs of the own node that are planned for what is missing, with the priority of each.
    pub(crate) promised: &'a [(i32, usize)],
}

/// One of the own claims, with what it is to its endpoint.
#[derive(Debug, Clone, Copy)]
struct Own<'c, 'a> {
    node: &'a NodeView,
    claim: &'a Claim,
    census: &'c Census<'a>,
    /// `None` if its revision should have nothing.
    group: Option<&'c Group<'a>>,
}

impl Own<'_, '_> {
    fn is_kept(&self) -> bool {
        self.group.is_some_and(|group| group.is_kept(self.claim.id))
    }
}

/// Why a replica goes that serves, and how many others must serve then.
#[derive(Debug)]
struct Exit {
    reason: DrainReason,
    cover: usize,
}

impl Tenure {
    /// Decides about all claims of `me`.
    pub(crate) fn judge_all(&mut self, me: &NodeView, censuses: &[Census<'_>], bench: &Bench<'_>, out: &mut Decision) {
        self.covered_since.retain(|claim, _| me.claims.contains_key(claim));
        let clears = |claim| bench.clearing.is_evicted(claim) || bench.clearing.moved.contains_key(&claim);
        self.cleared_since.retain(|&claim, _| clears(claim));
        for claim in me.claims.values() {
            // The censuses are in the order of the endpoints' names.
            let census = censuses.binary_search_by(|census| census.name().cmp(&claim.endpoint)).ok();
            match census.map(|index| &censuses[index]) {
                Some(census) if census.desired() > 0 => {
                    let own = Own { node: me, claim, census, group: census.group_of(me, claim) };
                    self.judge(&own, bench, out);
                }
                idle_or_deleted => dismiss(claim, idle_or_deleted, out),
            }
        }
    }

    fn judge(&mut self, own: &Own<'_, '_>, bench: &Bench<'_>, out: &mut Decision) {
        match own.claim.state {
            ReplicaState::Claimed
            | ReplicaState::Preparing
            | ReplicaState::Starting
            | ReplicaState::Loading
            | ReplicaState::Warming
            | ReplicaState::Backoff => self.judge_unready(own, bench, out),
            ReplicaState::Ready => self.judge_ready(own, bench, out),
            ReplicaState::Asleep => judge_asleep(own, bench, out),
            ReplicaState::Draining | ReplicaState::Failed => {}
        }
    }

    /// A claim that does not serve costs nothing to give up, so it goes at once where it is not wanted. Only a claim
    /// that has not started waits for the settle time, in which claims that were made at the same moment become known;
    /// and so does one whose place another endpoint takes, which may only seem to find no other.
    fn judge_unready(&mut self, own: &Own<'_, '_>, bench: &Bench<'_>, out: &mut Decision) {
        let claim = own.claim;
        if let Some(reason) = goes(own, bench) {
            return out.act(withdraw(claim, reason));
        }
        let Some(group) = own.group else { return };
        if let Some(by) = bench.clearing.evicted.get(&claim.id) {
            if self.is_cleared(claim.id, bench, out) {
                out.act(withdraw(claim, WithdrawReason::Preempted { by: by.clone() }));
            }
        } else if claim.state == ReplicaState::Claimed {
            let settled = claim.claimed.plus(bench.timing.settle);
            if bench.now < settled {
                out.wake_at(settled);
            } else if own.census.may_start(claim.id) {
                out.act(Action::Start(claim.id));
            } else {
                out.act(withdraw(claim, WithdrawReason::Surplus));
            }
        } else if group.is_outranked(claim.id) {
            out.act(withdraw(claim, WithdrawReason::Surplus));
        }
    }

    /// Rule 4: a replica that serves goes for a reason, when enough others that stay serve, and have for a settle time.
    fn judge_ready(&mut self, own: &Own<'_, '_>, bench: &Bench<'_>, out: &mut Decision) {
        let claim = own.claim;
        if let Some(deadline) = bench.departure.and_then(|departure| departure.deadline) {
            if bench.now >= deadline {
                return out.act(drain(claim, DrainReason::Deadline, Vec::new()));
            }
            out.wake_at(deadline);
        }
        self.judge_move(claim, bench, out);
        let going = exit(own, bench).and_then(|exit| Some((cover(own, &exit, bench)?, exit.reason)));
        let Some((cover, reason)) = going else {
            self.covered_since.remove(&claim.id);
            return;
        };
        let since = self.covered_since.entry(claim.id).or_insert(bench.now);
        if bench.now >= since.plus(bench.timing.settle) {
            out.act(drain(claim, reason, cover));
            // If one of the cover says no, ask again after another settle time, not at every step.
            *since = bench.now;
        }
        out.wake_at(since.plus(bench.timing.settle));
    }

    /// Rule 7. Views differ for moments, so a move begins only once it has been called for for a settle time.
    fn judge_move(&mut self, claim: &Claim, bench: &Bench<'_>, out: &mut Decision) {
        let Some(reason) = bench.clearing.moved.get(&claim.id) else { return };
        if claim.leaving.is_some() || self.is_cleared(claim.id, bench, out) {
            out.act(Action::Move { claim: claim.id, reason: reason.clone() });
        }
    }

    /// Whether `claim` has been called to go for a settle time.
    fn is_cleared(&mut self, claim: ClaimId, bench: &Bench<'_>, out: &mut Decision) -> bool {
        let since = *self.cleared_since.entry(claim).or_insert(bench.now);
        let settled = since.plus(bench.timing.settle);
        if bench.now < settled {
            out.wake_at(settled);
        }
        bench.now >= settled
    }
}

/// The endpoint was deleted, or wants nothing: no replica of it has anything to wait for. One that may be wanted again
/// sleeps, if it can.
fn dismiss(claim: &Claim, census: Option<&Census<'_>>, out: &mut Decision) {
    let is_idle = census.is_some_and(|census| census.record.endpoint.spec.replicas.most() > 0);
    match claim.state {
        ReplicaState::Ready if is_idle => out.act(drain(claim, DrainReason::Idle, Vec::new())),
        ReplicaState::Ready => out.act(drain(claim, DrainReason::Unwanted, Vec::new())),
        ReplicaState::Asleep if is_idle && claim.leaving.is_none() => {}
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

/// A sleeping replica is woken before anybody claims a new one, and sleeps on otherwise.
fn judge_asleep(own: &Own<'_, '_>, bench: &Bench<'_>, out: &mut Decision) {
    if let Some(reason) = goes(own, bench) {
        out.act(withdraw(own.claim, reason));
    } else if own.group.is_some_and(|group| group.is_woken(own.claim.id)) && !is_slept_over(own, bench) {
        out.act(Action::Wake(own.claim.id));
    }
}

/// Whether the GPUs on which a replica sleeps are planned for an endpoint of higher priority, which claims them in its
/// turn. Woken, it would only have to go again.
fn is_slept_over(own: &Own<'_, '_>, bench: &Bench<'_>) -> bool {
    let Some(group) = own.group else { return false };
    let is_higher = |(priority, _): &&(i32, usize)| *priority > own.census.placement().priority;
    let promised: usize = bench.promised.iter().filter(is_higher).map(|(_, gpus)| gpus).sum();
    promised > 0 && Room::of(own.node, group.resources()).less(promised).fitting < own.claim.gpus as usize
}

/// Why a replica that does not serve goes at once, if it does.
fn goes(own: &Own<'_, '_>, bench: &Bench<'_>) -> Option<WithdrawReason> {
    if bench.departure.is_some() {
        Some(WithdrawReason::Departing)
    } else if own.claim.leaving.is_some() {
        Some(WithdrawReason::Leaving)
    } else {
        own.group.is_none().then_some(WithdrawReason::Superseded)
    }
}

/// Why a replica that serves should go, if it should.
fn exit(own: &Own<'_, '_>, bench: &Bench<'_>) -> Option<Exit> {
    let desired = own.census.desired();
    let exit = |reason| Some(Exit { reason, cover: desired });
    if bench.departure.is_some() {
        exit(DrainReason::Departing)
    } else if let Some(by) = bench.clearing.evicted.get(&own.claim.id) {
        Some(Exit { reason: DrainReason::Preempted { by: by.clone() }, cover: own.census.min() })
    } else if own.claim.leaving.is_some() {
        exit(DrainReason::Leaving)
    } else if own.is_kept() {
        None
    } else if own.group.is_some_and(|group| own.census.is_leading(group)) {
        exit(DrainReason::Surplus)
    } else {
        exit(DrainReason::Superseded)
    }
}

/// Who serves in its place, if enough do.
///
/// A full fleet that cannot surge keeps the old revision; nothing breaks, and nothing moves until GPUs come free. Only
/// where the spec allows it (`rollout.maxUnavailable`), and a replica of the new revision finds no room but its own, it
/// goes before it is replaced.
fn cover(own: &Own<'_, '_>, exit: &Exit, bench: &Bench<'_>) -> Option<Vec<(NodeId, ClaimId)>> {
    let me = (own.claim.id.node, own.claim.id);
    let cover_of = |size| {
        let cover = own.census.cover(size, |claim| bench.clearing.is_evicted(claim));
        cover.filter(|cover| !cover.contains(&me))
    };
    cover_of(exit.cover).or_else(|| {
        let unavailable = own.census.record.endpoint.spec.rollout.max_unavailable as usize;
        may_break(own, exit, bench).then(|| cover_of(exit.cover.saturating_sub(unavailable))).flatten()
    })
}

/// Whether it may go before it is replaced. Not while any other goes or could, and counts on it.
fn may_break(own: &Own<'_, '_>, exit: &Exit, bench: &Bench<'_>) -> bool {
    let others_stay = own.census.serving().count() <= own.census.desired()
        && !own.census.serving().any(|holder| !holder.stays() || bench.clearing.is_evicted(holder.claim.id));
    matches!(exit.reason, DrainReason::Surplus | DrainReason::Superseded)
        && bench.clearing.breaks.contains(&own.claim.id)
        && others_stay
}

fn drain(claim: &Claim, reason: DrainReason, confirm: Vec<(NodeId, ClaimId)>) -> Action {
    Action::Drain { claim: claim.id, reason, confirm }
}

fn withdraw(claim: &Claim, reason: WithdrawReason) -> Action {
    Action::Withdraw { claim: claim.id, reason }
}
