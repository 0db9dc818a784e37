//! Replicas that are missing, and when it is this node's turn to claim one (DESIGN rule 3).

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use shoal_types::{EndpointName, NodeView, Revision, UnixMillis};

use crate::{
    capacity::Room,
    decision::{Action, Decision},
    group::Group,
    opening::{Opening, Size},
    timing::Timing,
    want::Class,
};

/// New claims per step: a node that comes back to many vacancies leaves room for others to be seen.
const CLAIMS_PER_STEP: usize = 2;

/// Since when replicas are missing that this node could run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vacancies {
    open: BTreeMap<Kind, Vacancy>,
}

/// What kind of replica is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    endpoint: EndpointName,
    revision: Revision,
    class: Class,
}

impl Kind {
    fn of(Opening { census, group, .. }: &Opening<'_, '_>) -> Self {
        Self { endpoint: census.name().clone(), revision: group.want.revision, class: group.want.class }
    }
}

#[derive(Debug, Clone)]
struct Vacancy {
    since: UnixMillis,
    missing: usize,
    /// Of those, how many only stand in for spot capacity.
    standins: usize,
}

impl Vacancy {
    /// When the node of `rank`, counted from 0, is to claim, if `larger` classes of replicas go first.
    fn due(&self, rank: usize, larger: usize, timing: &Timing) -> UnixMillis {
        let after = |missing: usize| {
            let turns = (rank + 1).saturating_sub(missing) + larger;
            self.since.plus(timing.step * u32::try_from(turns).unwrap_or(u32::MAX))
        };
        match self.missing - self.standins {
            _ if self.standins == 0 => after(self.missing),
            0 => after(self.missing).plus(timing.settle),
            // Whoever is behind the line for what is missing for good is still in that for what stands in.
            firm => after(firm).min(after(self.missing).plus(timing.settle)),
        }
    }
}

impl Vacancies {
    /// Emits claims for what is missing and due to be claimed by `me`.
    ///
    /// With m missing, the nodes where the next m replicas should go claim at once; the one of rank k, counted from 0,
    /// waits k - m + 1 steps, so that it claims only if those before it did not. In front of that, every class of
    /// larger replicas that is also being placed gets one step: views differ, and a small replica in the wrong place
    /// costs a large one its host.
    ///
    /// What stands in for spot capacity waits a settle time more, behind the rest of what is missing: spot nodes go first.
    pub(crate) fn fill(
        &mut self,
        me: &NodeView,
        mut openings: Vec<Opening<'_, '_>>,
        timing: &Timing,
        now: UnixMillis,
        out: &mut Decision,
    ) {
        openings.retain(|opening| opening.has_candidates);
        let sizes: BTreeSet<Size> = openings.iter().filter_map(Opening::size).collect();
        openings.retain(|opening| !opening.ranks.is_empty());
        self.remember(&openings, now);

        let mut budget = Budget { claims: CLAIMS_PER_STEP, reserved: woken(me, out) };
        for opening in &openings {
            let Some(vacancy) = self.open.get(&Kind::of(opening)) else { continue };
            let larger = opening.size().map_or(0, |size| sizes.range(size..).skip(1).count());
            for &rank in opening.ranks.iter().take(opening.missing) {
                let due = vacancy.due(rank, larger, timing);
                if due > now {
                    out.wake_at(due);
                    break;
                }
                if !budget.take(me, opening.group) {
                    out.wake_at(now.plus(timing.step));
                    break;
                }
                out.act(claim(opening));
            }
        }
    }

    /// A wait starts anew when more is missing than before, or when this node could not have waited: else whoever
    /// becomes a candidate for an old vacancy would find all turns over, and so would the next, at the same moment.
    fn remember(&mut self, openings: &[Opening<'_, '_>], now: UnixMillis) {
        let before = mem::take(&mut self.open);
        for opening in openings {
            let (kind, missing) = (Kind::of(opening), opening.missing);
            let standins = opening.group.missing_standins().min(missing);
            let same = before.get(&kind).filter(|vacancy| vacancy.missing >= missing && vacancy.standins >= standins);
            let since = same.map_or(now, |vacancy| vacancy.since);
            self.open.insert(kind, Vacancy { since, missing, standins });
        }
    }
}

/// What one step may still claim.
struct Budget {
    claims: usize,
    /// GPUs that this step takes for claims, and that sleepers which it wakes give to nobody any more; the view does not
    /// know of them yet.
    reserved: usize,
}

impl Budget {
    fn take(&mut self, me: &NodeView, group: &Group<'_>) -> bool {
        let gpus = group.resources().gpus as usize;
        let fits = Room::of(me, group.resources()).fitting >= self.reserved + gpus;
        if self.claims == 0 || !fits {
            return false;
        }
        self.claims -= 1;
        self.reserved += gpus;
        true
    }
}

/// GPUs of the replicas that `decided` wakes.
fn woken(me: &NodeView, decided: &Decision) -> usize {
    let woken = decided.actions.iter().filter_map(|action| match action {
        Action::Wake(claim) => me.claims.get(claim),
        Action::Claim { .. }
        | Action::Start(_)
        | Action::Withdraw { .. }
        | Action::Drain { .. }
        | Action::Move { .. } => None,
    });
    woken.map(|claim| claim.gpus as usize).sum()
}

fn claim(Opening { census, group, .. }: &Opening<'_, '_>) -> Action {
    Action::Claim { endpoint: census.name().clone(), revision: group.want.revision, gpus: group.resources().gpus }
}
