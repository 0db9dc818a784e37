//! shoal's own policy.

mod book;

use std::time::Duration;

use shoal_types::{Spot, UnixMillis};

use self::book::Book;
use super::{
    history::History,
    market::{Market, OfferId},
    policy::{Held, Incident, Launch, News, Plan, Policy, Situation},
    tuning::Tuning,
};

/// Holds the set of instances that costs least, counting what losing them would cost: see `docs/spot.md`.
///
/// It launches what is missing where that adds least to the expected cost, moves (new before old) where a move pays for
/// itself soon, runs on demand what zones refuse, and gives that back when spot replicas are ready in its place.
#[derive(Debug, Clone)]
pub struct Portfolio {
    market: Market,
    spot: Spot,
    tuning: Tuning,
    /// Decides ties.
    seed: u64,
    histories: Vec<History>,
    last: Option<UnixMillis>,
    /// Whether spot capacity was asked for in the last decision and refused somewhere.
    refused: bool,
}

impl Portfolio {
    /// A policy that has seen nothing yet. The `seed` decides ties, so that not all meshes crowd into the same zone.
    pub fn new(market: Market, spot: Spot, tuning: Tuning, seed: u64) -> Self {
        let histories = vec![History::default(); market.offers().len()];
        Self { market, spot, tuning, seed, histories, last: None, refused: false }
    }

    /// A policy that was told what happened: a history for each offer of `market`, and whether spot capacity was `refused`
    /// lately.
    pub(super) fn knowing(self, histories: Vec<History>, refused: bool) -> Self {
        debug_assert_eq!(histories.len(), self.market.offers().len());
        Self { histories, refused, ..self }
    }

    /// What is missing, and where it should be launched: the part of a decision for those who cannot give back. Nothing is
    /// asked for in case that zones refuse, and nothing is moved.
    pub(super) fn lacking(&self, situation: &Situation<'_>) -> Lacking {
        let crew = Crew::of(&self.market, situation);
        let (base, needed) = self.split(situation.wanted);
        let mut plan = Plan::default();
        let (spare, _) = self.fill(&self.book(needed), &crew, needed, &self.obtainable(situation.now), &mut plan);
        self.firm_plan(&crew, needed, base, &mut plan);
        Lacking { spot: (needed + spare).saturating_sub(crew.spot.len() as u32), launch: plan.launch }
    }

    fn learn(&mut self, situation: &Situation<'_>) {
        let now = situation.now;
        let passed = self.last.replace(now).map_or(Duration::ZERO, |last| now.since(last));
        self.refused = false;
        for offer in self.market.spot() {
            let happened =
                |incident: Incident| situation.news.iter().filter(move |&&n| n == News { offer, incident }).count();
            let (lost, left) = (happened(Incident::Preempted), situation.held_of(offer));
            let history = &mut self.histories[offer.0];
            history.pass(passed, left + lost, self.tuning.half_life);
            if lost > 0 {
                history.preempted(lost, left);
            }
            if happened(Incident::Launched) > 0 {
                history.launched();
            }
            if happened(Incident::Refused) > 0 {
                history.refused(left, now, &self.tuning);
                self.refused = true;
            }
        }
    }

    fn obtainable(&self, now: UnixMillis) -> Vec<OfferId> {
        self.market.spot().filter(|offer| self.histories[offer.0].may_try(now)).collect()
    }
}

impl Policy for Portfolio {
    fn decide(&mut self, situation: &Situation<'_>) -> Plan {
        self.learn(situation);
        let crew = Crew::of(&self.market, situation);
        let (base, needed) = self.split(situation.wanted);
        let mut plan = Plan::default();
        self.spot_plan(&self.book(needed), &crew, needed, situation.now, &mut plan);
        self.firm_plan(&crew, needed, base, &mut plan);
        plan
    }
}

impl Portfolio {
    /// Of those wanted, how many always run on demand, and how many do not.
    fn split(&self, wanted: u32) -> (u32, u32) {
        let base = self.spot.on_demand_base.min(wanted);
        (base, wanted - base)
    }

    fn book(&self, needed: u32) -> Book<'_> {
        let rooms = usize::try_from(needed + self.spot.overprovision + self.tuning.race + 2).unwrap_or(usize::MAX);
        Book::new(&self.market, &self.histories, &self.tuning, self.seed, rooms)
    }

    /// Launches what is missing. Returns how many spares there should be, and what is held then.
    fn fill(&self, book: &Book<'_>, crew: &Crew, needed: u32, allowed: &[OfferId], plan: &mut Plan) -> (u32, Vec<u32>) {
        let (spare, counts) = self.filled(book, &crew.counts, needed, allowed);
        for (index, (&then, &now)) in counts.iter().zip(&crew.counts).enumerate() {
            (now..then).for_each(|_| plan.launch_one(OfferId(index)));
        }
        (spare, counts)
    }

    fn spot_plan(&self, book: &Book<'_>, crew: &Crew, needed: u32, now: UnixMillis, plan: &mut Plan) {
        let allowed = self.obtainable(now);
        let (held, ready) = (crew.spot.len() as u32, crew.spot_ready() as u32);
        let (spare, counts) = self.fill(book, crew, needed, &allowed, plan);
        if !plan.launch.is_empty() {
            if ready < needed {
                self.race(book, counts, spare, allowed, plan);
            }
        } else if ready > needed + spare {
            self.shrink(book, crew, ready - needed - spare, spare, plan);
        } else if held == ready
            && let Some(offer) = book.best_move(&counts, spare, &allowed)
        {
            plan.launch_one(offer);
        }
    }

    /// What should be held, with what is held now, and how many of that are spare: as few as make it unlikely enough
    /// to fall short.
    fn filled(&self, book: &Book<'_>, held: &[u32], needed: u32, allowed: &[OfferId]) -> (u32, Vec<u32>) {
        let mut filled = (0, held.to_vec());
        for spare in 0..=self.spot.overprovision {
            let mut counts = held.to_vec();
            let mut total: u32 = counts.iter().sum();
            while total < needed + spare
                && let Some(offer) = book.best_addition(&counts, spare, allowed)
            {
                counts[offer.0] += 1;
                total += 1;
            }
            let enough = book.short(&counts, spare) <= self.tuning.epsilon;
            filled = (spare, counts);
            if enough {
                break;
            }
        }
        filled
    }

    /// Asks further zones than those that are asked anyhow: some may refuse, and time is short.
    fn race(&self, book: &Book<'_>, mut counts: Vec<u32>, spare: u32, mut allowed: Vec<OfferId>, plan: &mut Plan) {
        for _ in 0..self.tuning.race {
            allowed.retain(|offer| !plan.launch.iter().any(|launch| launch.offer == *offer));
            let Some(offer) = book.best_addition(&counts, spare, &allowed) else { break };
            counts[offer.0] += 1;
            plan.launch_one(offer);
        }
    }

    /// Gives back the worst: all that still start, and `surplus` of those that are ready.
    fn shrink(&self, book: &Book<'_>, crew: &Crew, surplus: u32, spare: u32, plan: &mut Plan) {
        plan.release.extend(crew.spot.iter().filter(|held| !held.ready).map(|held| held.id));
        let mut counts = crew.ready_counts.clone();
        for _ in 0..surplus {
            let Some(offer) = book.best_removal(&counts, spare) else { break };
            let Some(id) = crew.newest_ready(offer, plan) else { break };
            counts[offer.0] -= 1;
            plan.release.push(id);
        }
    }

    fn firm_plan(&self, crew: &Crew, needed: u32, base: u32, plan: &mut Plan) {
        let (held, ready) = (crew.spot.len() as u32, crew.spot_ready() as u32);
        let gap = if self.spot.on_demand_fallback { needed.saturating_sub(held) } else { 0 };
        // Spot capacity is asked first: what it gives is ready as soon as what is on demand.
        let asked = plan.launch.iter().map(|launch| launch.count).sum::<u32>();
        let unmet = if self.refused { gap } else { gap.saturating_sub(asked) };
        let firm = crew.firm.len() as u32;
        if let Some(offer) = self.market.cheapest_firm() {
            for _ in firm..base + unmet {
                plan.launch_one(offer);
            }
        }
        let keep = base + needed.saturating_sub(ready);
        // Those that start go first, then the newest.
        let mut surplus: Vec<&Held> = crew.firm.iter().collect();
        surplus.sort_by_key(|held| (!held.ready, held.since));
        plan.release.extend(surplus.iter().skip(keep as usize).map(|held| held.id));
    }
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lacking {
    /// Spot instances, with those that should be spare.
    pub(super) spot: u32,
    /// What should be launched for that now: on spot as far as zones may be asked, and on demand.
    pub(super) launch: Vec<Launch>,
}

/// What is held, sorted.
#[derive(Debug)]
struct Crew {
    spot: Vec<Held>,
    firm: Vec<Held>,
    /// Spot instances by offer.
    counts: Vec<u32>,
    /// Those of them that are ready.
    ready_counts: Vec<u32>,
}

impl Crew {
    fn of(market: &Market, situation: &Situation<'_>) -> Self {
        let (spot, firm): (Vec<Held>, Vec<Held>) = situation.held.iter().partition(|held| market.is_spot(held.offer));
        let (mut counts, mut ready_counts) = (vec![0; market.offers().len()], vec![0; market.offers().len()]);
        for held in &spot {
            counts[held.offer.0] += 1;
            ready_counts[held.offer.0] += u32::from(held.ready);
        }
        Self { spot, firm, counts, ready_counts }
    }

    fn spot_ready(&self) -> usize {
        self.spot.iter().filter(|held| held.ready).count()
    }

    /// The newest of `offer` that is ready and not given back yet: it would be the first to be taken.
    fn newest_ready(&self, offer: OfferId, plan: &Plan) -> Option<u64> {
        let mine =
            self.spot.iter().filter(|held| held.offer == offer && held.ready && !plan.release.contains(&held.id));
        mine.max_by_key(|held| (held.since, held.id)).map(|held| held.id)
    }
}
