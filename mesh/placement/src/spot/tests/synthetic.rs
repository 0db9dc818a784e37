//! Whole made-up weeks.

use std::time::Duration;

use shoal_types::{Spot, UnixMillis};

use crate::spot::{
    EvenSpread, Held, Market, Plan, Policy, Portfolio, RoundRobin, Situation, SpotHedge, Tuning,
    simulate::{Outcome, Scenario, Synthetic, Trace, optimum, run},
};

fn trace(seed: u64) -> Trace {
    Synthetic { seed, zones: 10, days: 7 }.trace().unwrap()
}

fn uniform(trace: &Trace) -> Market {
    Market::of_zones(trace.zones().iter().map(|zone| (zone.clone(), 1.0)), 4.35)
}

fn scenario(replicas: u32) -> Scenario {
    let cold_start = Duration::from_secs(360);
    let count_from = UnixMillis::from_millis(0).plus(cold_start);
    Scenario { replicas, cold_start, step: Duration::from_secs(60), count_from }
}

fn spot(overprovision: u32) -> Spot {
    Spot { overprovision, ..Spot::default() }
}

/// The mean of what the policy that `make` makes does in several weeks.
fn mean(replicas: u32, make: impl Fn(Market, u64) -> Box<dyn Policy>) -> Outcome {
    let week = |seed| {
        let trace = trace(seed);
        let market = uniform(&trace);
        run(&trace, &market, &scenario(replicas), make(market.clone(), seed).as_mut())
    };
    Outcome::mean(&(1..=8).map(week).collect::<Vec<_>>())
}

#[test]
fn ours_is_more_available_than_spothedge_at_no_more_cost() {
    for replicas in [4, 8] {
        let theirs = mean(replicas, |market, seed| Box::new(SpotHedge::new(market, spot(1), seed)));
        let ours = mean(replicas, |market, seed| Box::new(Portfolio::new(market, spot(1), Tuning::default(), seed)));
        assert!(ours.availability > theirs.availability, "{replicas}: {ours:?} {theirs:?}");
        assert!(ours.cost <= theirs.cost, "{replicas}: {ours:?} {theirs:?}");
    }
}

#[test]
fn nobody_is_always_available_for_less_than_the_optimum() {
    let mut always = 0;
    for seed in 1..=4 {
        let trace = trace(seed);
        let market = uniform(&trace);
        let bound = optimum(&trace, &market, &scenario(3)).unwrap();
        let policies: [Box<dyn Policy>; 4] = [
            Box::new(EvenSpread::new(&market, &spot(3))),
            Box::new(RoundRobin::new(&market, &spot(3))),
            Box::new(SpotHedge::new(market.clone(), spot(3), seed)),
            Box::new(Portfolio::new(market.clone(), spot(3), Tuning { epsilon: 0.0, ..Tuning::default() }, seed)),
        ];
        for mut policy in policies {
            let outcome = run(&trace, &market, &scenario(3), policy.as_mut());
            assert!(bound.availability >= outcome.availability);
            if outcome.availability >= 1.0 {
                always += 1;
                assert!(bound.cost <= outcome.cost, "{bound:?} {outcome:?}");
            }
        }
        assert!((1.0 / 4.35 - 0.001..1.0).contains(&bound.cost), "never cheaper than spot everywhere: {bound:?}");
    }
    assert!(always > 0, "some policy must have made it, or nothing was compared");
}

#[test]
fn the_optimum_takes_what_stays_where_no_zone_has_room() {
    let trace = Trace::new(
        vec!["a".to_owned()],
        UnixMillis::from_millis(0),
        Duration::from_secs(600),
        [2, 0, 2, 2].map(|room| vec![room]).to_vec(),
    );
    let trace = trace.unwrap();
    let scenario = Scenario { count_from: UnixMillis::from_millis(0), ..scenario(2) };
    let bound = optimum(&trace, &uniform(&trace), &scenario).unwrap();
    // Of 40 minutes, 10 + 14 on spot; 16 on demand, as the zone must have room for a cold start; the two starts of
    // 6 minutes beside the other.
    let minutes = 24.0 + 16.0 * 4.35 + 6.0 + 6.0 * 4.35;
    assert!((bound.cost - minutes / (40.0 * 4.35)).abs() < 1e-4, "{bound:?}");
}

#[test]
fn the_same_seed_gives_the_same_week() {
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
    let once = || mean(4, |market, seed| Box::new(Portfolio::new(market, spot(1), Tuning::default(), seed)));
    assert_eq!(once(), once());
}

/// Asks what [`Portfolio`] says and looks whether it may.
#[derive(Debug)]
struct Watched {
    policy: Portfolio,
    market: Market,
    spot: Spot,
}

impl Policy for Watched {
    fn decide(&mut self, situation: &Situation<'_>) -> Plan {
        let plan = self.policy.decide(situation);
        let ready = |held: &&Held| held.ready && !plan.release.contains(&held.id);
        let before = situation.held.iter().filter(|held| held.ready).count();
        let after = situation.held.iter().filter(ready).count();
        assert!(after >= before.min(situation.wanted as usize), "gave back what was needed: {plan:?}");
        let firm =
            situation.held.iter().filter(|held| !self.market.is_spot(held.offer) && !plan.release.contains(&held.id));
        let launched = plan.launch.iter().filter(|launch| !self.market.is_spot(launch.offer));
        let firm = firm.count() + launched.map(|launch| launch.count as usize).sum::<usize>();
        assert!(firm <= situation.wanted as usize + self.spot.on_demand_base as usize, "too many on demand: {plan:?}");
        let most = (situation.wanted + self.spot.overprovision + Tuning::default().race + 1) as usize;
        assert!(situation.held.len() <= most + situation.wanted as usize, "{} held", situation.held.len());
        plan
    }
}

#[test]
fn rule_4_nothing_that_is_needed_is_given_back() {
    for (seed, overprovision) in [(1, 0), (2, 1), (3, 2), (4, 4)] {
        let trace = trace(seed);
        let (market, spot) = (uniform(&trace), spot(overprovision));
        let policy = Portfolio::new(market.clone(), spot.clone(), Tuning::default(), seed);
        let outcome = run(&trace, &market, &scenario(6), &mut Watched { policy, market: market.clone(), spot });
        assert!(outcome.availability > 0.98, "{outcome:?}");
    }
}
