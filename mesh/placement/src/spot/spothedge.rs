//! SpotHedge, to compare with.

use shoal_types::Spot;

use super::{
    market::{Market, OfferId},
    policy::{Incident, Plan, Policy, Situation},
    simulate::Dice,
};

/// SpotHedge (Mao et al., SkyServe, `EuroSys` 2025), as the artifact's simulator has it (`spot_hedge.py` with
/// `spot_failover_no_safety.py`): zones are active until they take or refuse something, what is missing goes to a random
/// active zone, and whatever is not ready on spot runs on demand meanwhile. Where prices differ, the cheapest active zone
/// is taken, as the code that SkyServe ships does.
#[derive(Debug, Clone)]
pub struct SpotHedge {
    market: Market,
    zones: Vec<(OfferId, bool)>,
    spot: Spot,
    dice: Dice,
}

impl SpotHedge {
    /// Over all zones of `market`. The `seed` decides its random choices.
    pub fn new(market: Market, spot: Spot, seed: u64) -> Self {
        let zones = market.spot().map(|offer| (offer, true)).collect();
        Self { market, zones, spot, dice: Dice::new(seed) }
    }

    fn judge_zones(&mut self, situation: &Situation<'_>) {
        for (zone, active) in &mut self.zones {
            let bad = |incident| matches!(incident, Incident::Refused | Incident::Preempted);
            if situation.news.iter().any(|news| news.offer == *zone && bad(news.incident)) {
                *active = false;
            } else if situation.held_of(*zone) > 0 {
                *active = true;
            }
        }
        let active = self.zones.iter().filter(|(_, active)| *active).count();
        if active <= self.zones.len().saturating_sub(3).min(1) {
            self.zones.iter_mut().for_each(|(_, active)| *active = true);
        }
    }

    /// The cheapest active zone, one without replicas first; a random one of those that cost the same.
    fn choose(&mut self, situation: &Situation<'_>, plan: &Plan) -> Option<OfferId> {
        let active: Vec<OfferId> = self.zones.iter().filter(|(_, active)| *active).map(|(zone, _)| *zone).collect();
        let is_free =
            |zone: &OfferId| situation.held_of(*zone) == 0 && !plan.launch.iter().any(|launch| launch.offer == *zone);
        let free: Vec<OfferId> = active.iter().copied().filter(is_free).collect();
        let mut from = if free.is_empty() { active } else { free };
        let least = from.iter().map(|zone| self.market.price(*zone)).fold(f64::INFINITY, f64::min);
        from.retain(|zone| self.market.price(*zone) <= least);
        let index = self.dice.below(from.len() as u64);
        from.get(usize::try_from(index).unwrap_or(0)).copied()
    }
}

impl Policy for SpotHedge {
    fn decide(&mut self, situation: &Situation<'_>) -> Plan {
        self.judge_zones(situation);
        let mut plan = Plan::default();
        let need = (situation.wanted + self.spot.overprovision) as usize;
        let spot = || situation.held.iter().filter(|held| self.market.is_spot(held.offer));
        let (running, ready) = (spot().count(), spot().filter(|held| held.ready).count());
        for _ in running..need {
            let Some(zone) = self.choose(situation, &plan) else { break };
            plan.launch_one(zone);
        }
        let firm: Vec<u64> =
            situation.held.iter().filter(|held| !self.market.is_spot(held.offer)).map(|held| held.id).collect();
        let fallback = if self.spot.on_demand_fallback { need.saturating_sub(ready) } else { 0 };
        let fallback = fallback.min(situation.wanted as usize);
        if let Some(offer) = self.market.cheapest_firm() {
            (firm.len()..fallback).for_each(|_| plan.launch_one(offer));
        }
        plan.release.extend(firm.iter().skip(fallback));
        plan
    }
}
