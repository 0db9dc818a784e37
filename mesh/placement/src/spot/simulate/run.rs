//! A policy lives through a trace.

use std::time::Duration;

use super::{cloud::Cloud, outcome::Outcome, scenario::Scenario, trace::Trace};
use crate::spot::{Incident, Market, Policy, Situation};

/// Lets `policy` live through `trace`. The spot offers of `market` are the zones of the trace, in their order.
///
/// Every step, what zones cannot hold any more is taken away, newest first; what is old enough becomes ready; the policy
/// decides; its launches succeed as far as there is room. What it learns of a launch, it learns at the next step.
/// Instances cost from their launch on.
pub fn run(trace: &Trace, market: &Market, scenario: &Scenario, policy: &mut dyn Policy) -> Outcome {
    let mut cloud = Cloud::new(market);
    let mut tally = Tally::default();
    let step = scenario.step.max(Duration::from_secs(1));
    let mut after = Duration::ZERO;
    while after < trace.duration() {
        let (now, capacity) = (trace.start().plus(after), trace.at(after));
        let lost = cloud.preempt(capacity);
        cloud.warm(now, scenario.cold_start);
        let survived = cloud.ready() >= scenario.replicas as usize;
        let news = std::mem::take(&mut cloud.news);
        let situation = Situation { now, wanted: scenario.replicas, held: &cloud.held, news: &news };
        let plan = policy.decide(&situation);
        let moves = cloud.apply(&plan, capacity, now);
        if now >= scenario.count_from {
            tally.preemptions += lost;
            tally.survived += if survived { lost } else { 0 };
            tally.moves += moves;
            tally.refused += cloud.news.iter().filter(|news| news.incident == Incident::Refused).count();
            tally.step(&cloud, scenario.replicas as usize);
        }
        after += step;
    }
    tally.outcome(market, scenario.replicas)
}

/// Sums over the steps that count.
#[derive(Debug, Default)]
struct Tally {
    steps: usize,
    available: usize,
    /// USD per hour, summed over steps.
    spot: f64,
    firm: f64,
    preemptions: usize,
    survived: usize,
    moves: usize,
    refused: usize,
}

impl Tally {
    fn step(&mut self, cloud: &Cloud<'_>, wanted: usize) {
        let (spot, firm) = cloud.price();
        self.steps += 1;
        self.available += usize::from(cloud.ready() >= wanted);
        self.spot += spot;
        self.firm += firm;
    }

    #[allow(clippy::cast_precision_loss)] // counts of one simulation
    fn outcome(&self, market: &Market, replicas: u32) -> Outcome {
        let steps = self.steps.max(1) as f64;
        let on_demand = market.cheapest_firm().map_or(f64::NAN, |offer| market.price(offer));
        let cost = self.spot + self.firm;
        Outcome {
            availability: self.available as f64 / steps,
            cost: cost / (steps * f64::from(replicas.max(1)) * on_demand),
            preemptions: self.preemptions as f64,
            survived: self.survived as f64,
            moves: self.moves as f64,
            refused: self.refused as f64,
            on_demand: if cost > 0.0 { self.firm / cost } else { 0.0 },
        }
    }
}
