//! A cloud that has as much as a trace says.

use std::time::Duration;

use shoal_types::UnixMillis;

use crate::spot::{Held, Incident, Market, News, OfferId, Plan};

/// What is held of a cloud, and what happened since it was last told.
#[derive(Debug)]
pub(super) struct Cloud<'a> {
    market: &'a Market,
    /// Oldest first.
    pub(super) held: Vec<Held>,
    pub(super) news: Vec<News>,
    next: u64,
}

impl<'a> Cloud<'a> {
    pub(super) const fn new(market: &'a Market) -> Self {
        Self { market, held: Vec::new(), news: Vec::new(), next: 0 }
    }

    /// Takes away what zones cannot hold any more, newest first. Spot offers stand in the order of the zones.
    pub(super) fn preempt(&mut self, capacity: &[u32]) -> usize {
        let before = self.held.len();
        for (offer, &room) in self.market.spot().zip(capacity) {
            while self.count(offer) > room as usize {
                if let Some(newest) = self.held.iter().rposition(|held| held.offer == offer) {
                    self.held.remove(newest);
                    self.news.push(News { offer, incident: Incident::Preempted });
                }
            }
        }
        before - self.held.len()
    }

    /// What was launched a cold start ago is ready.
    pub(super) fn warm(&mut self, now: UnixMillis, cold_start: Duration) {
        for held in &mut self.held {
            held.ready = now.since(held.since) >= cold_start;
        }
    }

    /// Does what `plan` says, as far as there is capacity. Returns how many ready spot instances were given back.
    pub(super) fn apply(&mut self, plan: &Plan, capacity: &[u32], now: UnixMillis) -> usize {
        let moved = |held: &&Held| held.ready && self.market.is_spot(held.offer) && plan.release.contains(&held.id);
        let moves = self.held.iter().filter(moved).count();
        self.held.retain(|held| !plan.release.contains(&held.id));
        for launch in &plan.launch {
            for _ in 0..launch.count {
                self.launch(launch.offer, capacity, now);
            }
        }
        moves
    }

    fn launch(&mut self, offer: OfferId, capacity: &[u32], now: UnixMillis) {
        let zone = self.market.spot().position(|spot| spot == offer);
        let room = zone.is_none_or(|zone| self.count(offer) < capacity[zone] as usize);
        let incident = if room { Incident::Launched } else { Incident::Refused };
        self.news.push(News { offer, incident });
        if room {
            self.held.push(Held { id: self.next, offer, since: now, ready: false });
            self.next += 1;
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.held.iter().filter(|held| held.ready).count()
    }

    /// USD per hour of what is held on spot capacity, and of what stays.
    pub(super) fn price(&self) -> (f64, f64) {
        let price = |spot: bool| {
            let held = self.held.iter().filter(|held| self.market.is_spot(held.offer) == spot);
            held.map(|held| self.market.price(held.offer)).sum()
        };
        (price(true), price(false))
    }

    fn count(&self, offer: OfferId) -> usize {
        self.held.iter().filter(|held| held.offer == offer).count()
    }
}
