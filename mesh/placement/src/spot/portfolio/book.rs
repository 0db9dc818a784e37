//! What a set of spot instances is expected to cost.

use shoal_types::stable_hash;

use crate::spot::{
    history::History,
    market::{Market, OfferId},
    survival::Losses,
    tuning::Tuning,
};

/// Prices and risks of all spot offers at one moment.
#[derive(Debug)]
pub(super) struct Book<'a> {
    market: &'a Market,
    tuning: &'a Tuning,
    seed: u64,
    /// By offer and depth: the probability of being lost within a cold start.
    lost: Vec<Vec<f64>>,
    /// By offer and depth: USD per hour, price and losses.
    cost: Vec<Vec<f64>>,
    /// USD per hour of being short.
    shortage: f64,
}

impl<'a> Book<'a> {
    /// What is known, for up to `rooms` instances in one zone.
    pub(super) fn new(market: &'a Market, histories: &[History], tuning: &'a Tuning, seed: u64, rooms: usize) -> Self {
        let cold = tuning.cold_start.as_secs_f64() / 3600.0;
        let rates: Vec<Vec<f64>> = histories.iter().map(|history| history.rates(rooms, tuning)).collect();
        let lost = rates.iter().map(|rates| rates.iter().map(|rate| -(-rate * cold).exp_m1()).collect()).collect();
        let costs = |(offer, rates): (usize, &Vec<f64>)| {
            let price = market.price(OfferId(offer));
            rates.iter().map(|rate| price * (1.0 + rate * tuning.loss_hours)).collect()
        };
        let cost = rates.iter().enumerate().map(costs).collect();
        let dearest = market.offers().iter().map(|offer| offer.price).fold(0.0, f64::max);
        let firm = market.cheapest_firm().map_or(dearest, |offer| market.price(offer));
        Self { market, tuning, seed, lost, cost, shortage: firm * tuning.shortage }
    }

    /// The probability that more than `spare` are lost within a cold start.
    pub(super) fn short(&self, counts: &[u32], spare: u32) -> f64 {
        let mut losses = Losses::none(spare as usize);
        for (lost, &count) in self.lost.iter().zip(counts).filter(|&(_, &count)| count > 0) {
            losses.with_zone(&lost[..(count as usize).min(lost.len())]);
        }
        losses.beyond()
    }

    /// USD per hour that `counts` is expected to cost, if `spare` of them can be missed.
    fn value(&self, counts: &[u32], spare: u32) -> f64 {
        let held = self.cost.iter().zip(counts).map(|(cost, &count)| cost.iter().take(count as usize).sum::<f64>());
        held.sum::<f64>() + self.shortage * self.short(counts, spare)
    }

    /// Where one more costs least, of `allowed`. Ties go by hash.
    pub(super) fn best_addition(&self, counts: &[u32], spare: u32, allowed: &[OfferId]) -> Option<OfferId> {
        let priced = allowed.iter().filter(|offer| (counts[offer.0] as usize) < self.cost[offer.0].len());
        let priced = priced.map(|&offer| (self.value(&changed(counts, None, Some(offer)), spare), offer));
        priced
            .min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| self.tie(a.1).cmp(&self.tie(b.1))))
            .map(|(_, offer)| offer)
    }

    /// Where one less saves most.
    pub(super) fn best_removal(&self, counts: &[u32], spare: u32) -> Option<OfferId> {
        let held = self.market.spot().filter(|offer| counts[offer.0] > 0);
        let priced = held.map(|offer| (self.value(&changed(counts, Some(offer), None), spare), offer));
        priced
            .min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| self.tie(b.1).cmp(&self.tie(a.1))))
            .map(|(_, offer)| offer)
    }

    /// Where to launch an instance that takes the place of another, if that pays within the time that is allowed for it, for the time that
    /// both run.
    pub(super) fn best_move(&self, counts: &[u32], spare: u32, allowed: &[OfferId]) -> Option<OfferId> {
        let now = self.value(counts, spare);
        let overlap = self.tuning.cold_start.as_secs_f64() / self.tuning.payback.as_secs_f64().max(1.0);
        let from = self.best_removal(counts, spare)?;
        let to = self.best_addition(&changed(counts, Some(from), None), spare, allowed).filter(|to| *to != from)?;
        let then = self.value(&changed(counts, Some(from), Some(to)), spare);
        (then + overlap * self.market.price(to) < now).then_some(to)
    }

    fn tie(&self, offer: OfferId) -> u64 {
        self.market
            .offers()
            .get(offer.0)
            .map_or(0, |offer| stable_hash(&[b"spot", &self.seed.to_le_bytes(), offer.zone.as_bytes()]))
    }
}

fn changed(counts: &[u32], less: Option<OfferId>, more: Option<OfferId>) -> Vec<u32> {
    let mut counts = counts.to_vec();
    if let Some(offer) = less {
        counts[offer.0] -= 1;
    }
    if let Some(offer) = more {
        counts[offer.0] += 1;
    }
    counts
}
