//! A fixed share for every zone, as a managed instance group has it.

use shoal_types::Spot;

use super::{
    market::{Market, OfferId},
    policy::{Plan, Policy, Situation},
};

/// Wants the same number in every zone and asks each zone for its own share only.
#[derive(Debug, Clone)]
pub struct EvenSpread {
    zones: Vec<OfferId>,
    extra: u32,
}

impl EvenSpread {
    /// Over all zones of `market`; of `spot`, only how many are overprovisioned counts.
    pub fn new(market: &Market, spot: &Spot) -> Self {
        Self { zones: market.spot().collect(), extra: spot.overprovision }
    }
}

impl Policy for EvenSpread {
    fn decide(&mut self, situation: &Situation<'_>) -> Plan {
        let mut plan = Plan::default();
        let (wanted, zones) = ((situation.wanted + self.extra) as usize, self.zones.len());
        for (index, &zone) in self.zones.iter().enumerate() {
            let share = wanted / zones + usize::from(index < wanted % zones);
            for _ in situation.held_of(zone)..share {
                plan.launch_one(zone);
            }
        }
        plan
    }
}
