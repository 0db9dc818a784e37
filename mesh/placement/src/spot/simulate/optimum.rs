//! What nobody could have done better.

use std::time::Duration;

use super::{flow::Network, outcome::Outcome, scenario::Scenario, trace::Trace};
use crate::spot::{Market, OfferId};

/// A finer grid than this costs time and changes nothing that is shown.
const GRID_MIN: u64 = 60;

/// The least that it could have cost to have all replicas ready all the time, knowing the whole of `trace` beforehand.
///
/// Each replica is a unit that flows through time; at every moment it is in a zone with room for it, or on demand. To
/// enter a zone, the zone must have had room for a whole cold start, which is paid for. The cheapest such flow is exact
/// but for one thing: instances that start do not take room from others of the zone that are ready. So no policy that
/// always has all replicas ready costs less: this is a lower bound, and its availability (1, as there always is
/// capacity on demand) an upper one. Without an offer on demand, `None`.
pub fn optimum(trace: &Trace, market: &Market, scenario: &Scenario) -> Option<Outcome> {
    let firm = market.cheapest_firm()?;
    let grid = Grid::of(trace, scenario);
    let places: Vec<OfferId> = market.spot().take(trace.zones().len()).chain([firm]).collect();
    let steps = grid.steps(trace);
    let per_step = 2 * places.len() + 1;
    let (source, sink) = (steps * per_step, steps * per_step + 1);
    let mut network = Network::with_nodes(sink + 1);
    for step in 0..steps {
        let hub = step * per_step;
        for (index, &place) in places.iter().enumerate() {
            let (enter, leave) = (hub + 1 + 2 * index, hub + 2 + 2 * index);
            let cost = grid.cost(market.price(place), grid.step);
            network.connect(enter, leave, grid.room(trace, index, step), cost);
            if step == 0 {
                network.connect(source, enter, u32::MAX, 0);
            } else {
                let start = grid.cost(market.price(place), grid.cold_start);
                network.connect(hub, enter, grid.room_to_start(trace, index, step), start);
            }
            if step + 1 == steps {
                network.connect(leave, sink, u32::MAX, 0);
            } else {
                network.connect(leave, enter + per_step, u32::MAX, 0);
                network.connect(leave, hub + per_step, u32::MAX, 0);
            }
        }
    }
    let flow = network.send(source, sink, scenario.replicas);
    let whole = grid.cost(market.price(firm), grid.step) * i64::try_from(steps).ok()?;
    #[allow(clippy::cast_precision_loss)] // for people
    let cost = flow.cost as f64 / (whole as f64 * f64::from(scenario.replicas.max(1)));
    Some(Outcome { availability: 1.0, cost, ..Outcome::default() })
}

/// The moments that are told apart: rounds and cold starts are whole numbers of steps.
#[derive(Debug)]
struct Grid {
    /// Before this is not counted.
    from: Duration,
    /// Seconds.
    step: u64,
    /// Seconds; not more than it is, so that the bound stays one.
    cold_start: u64,
}

impl Grid {
    fn of(trace: &Trace, scenario: &Scenario) -> Self {
        let (round, cold) = (trace.round().as_secs(), scenario.cold_start.as_secs());
        let from = scenario.count_from.since(trace.start());
        // A time from which is counted that is between two steps moves the grid by less than one.
        let fine = [cold, cold - cold % GRID_MIN].into_iter().map(|cold| (gcd(round, cold), cold));
        let (step, cold_start) =
            fine.into_iter().find(|(step, _)| *step >= GRID_MIN).unwrap_or((round, cold - cold % round));
        Self { from, step, cold_start }
    }

    fn steps(&self, trace: &Trace) -> usize {
        let counted = trace.duration().saturating_sub(self.from).as_secs();
        usize::try_from((counted / self.step).max(1)).unwrap_or(1)
    }

    /// Instances that place `index` can hold at `step`; what is after the zones is on demand.
    fn room(&self, trace: &Trace, index: usize, step: usize) -> u32 {
        let after = self.from + Duration::from_secs(self.step * step as u64);
        trace.at(after).get(index).copied().unwrap_or(u32::MAX)
    }

    /// Instances that place `index` could hold during the whole cold start that ends at `step`.
    fn room_to_start(&self, trace: &Trace, index: usize, step: usize) -> u32 {
        let first = step.saturating_sub(usize::try_from(self.cold_start / self.step).unwrap_or(usize::MAX));
        (first..=step).map(|step| self.room(trace, index, step)).min().unwrap_or(0)
    }

    /// Millionths of USD, rounded down.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // a price and at most some hours
    fn cost(&self, price: f64, seconds: u64) -> i64 {
        (price * seconds as f64 / 3600.0 * 1e6) as i64
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        b => gcd(b, a % b),
    }
}
