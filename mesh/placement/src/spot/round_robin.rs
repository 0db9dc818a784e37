//! One zone after the other.

use shoal_types::Spot;

use super::{
    market::{Market, OfferId},
    policy::{Plan, Policy, Situation},
};

/// Launches what is missing in one zone after the other, whatever happened there before.
#[derive(Debug, Clone)]
pub struct RoundRobin {
    zones: Vec<OfferId>,
    next: usize,
    extra: u32,
}

impl RoundRobin {
    /// Over all zones of `market`; of `spot`, only how many are overprovisioned counts.
    pub fn new(market: &Market, spot: &Spot) -> Self {
        Self { zones: market.spot().collect(), next: 0, extra: spot.overprovision }
    }
}

impl Policy for RoundRobin {
    fn decide(&mut self, situation: &Situation<'_>) -> Plan {
        let mut plan = Plan::default();
        for _ in situation.held.len()..(situation.wanted + self.extra) as usize {
            if let Some(&zone) = self.zones.get(self.next) {
                plan.launch_one(zone);
                self.next = (self.next + 1) % self.zones.len();
            }
        }
        plan
    }
}
