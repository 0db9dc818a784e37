//! One decision at a time.

use std::time::Duration;

use shoal_types::{Spot, UnixMillis};

use crate::spot::{Held, Incident, Launch, Market, News, OfferId, Plan, Policy, Portfolio, Situation, Tuning};

const DEMAND: OfferId = OfferId(3);

/// Three zones and capacity on demand, and whatever is held of them.
struct Scene {
    policy: Portfolio,
    now: UnixMillis,
    held: Vec<Held>,
    news: Vec<News>,
}

impl Scene {
    fn new(prices: [f64; 3], spot: Spot) -> Self {
        let zones = prices.iter().zip(["a", "b", "c"]).map(|(&price, zone)| (zone.to_owned(), price));
        let policy = Portfolio::new(Market::of_zones(zones, 4.0), spot, Tuning::default(), 0);
        Self { policy, now: UnixMillis::from_millis(0), held: Vec::new(), news: Vec::new() }
    }

    fn hold(mut self, offer: usize, count: usize, ready: bool) -> Self {
        for _ in 0..count {
            let id = self.held.len() as u64;
            self.held.push(Held { id, offer: OfferId(offer), since: UnixMillis::from_millis(id), ready });
        }
        self
    }

    fn decide(&mut self, wanted: u32) -> Plan {
        let news = std::mem::take(&mut self.news);
        self.now = self.now.plus(Duration::from_secs(60));
        self.policy.decide(&Situation { now: self.now, wanted, held: &self.held, news: &news })
    }

    fn happen(&mut self, offer: usize, incident: Incident, times: usize) {
        self.news.extend(std::iter::repeat_n(News { offer: OfferId(offer), incident }, times));
    }
}

fn spot(overprovision: u32) -> Spot {
    Spot { overprovision, on_demand_fallback: true, on_demand_base: 0 }
}

fn launched(plan: &Plan, of: impl Fn(OfferId) -> bool) -> u32 {
    plan.launch.iter().filter(|launch| of(launch.offer)).map(|launch| launch.count).sum()
}

#[test]
fn what_is_missing_is_asked_of_spot_capacity_first() {
    let plan = Scene::new([1.0; 3], spot(1)).decide(2);
    assert!(
        launched(&plan, |offer| offer != DEMAND) >= 3,
        "two, a spare, and some for those that are refused: {plan:?}"
    );
    assert_eq!(launched(&plan, |offer| offer == DEMAND), 0);
}

#[test]
fn what_zones_refuse_runs_on_demand_and_the_spare_does_not() {
    let mut scene = Scene::new([1.0; 3], spot(2)).hold(0, 1, true);
    for zone in 0..3 {
        scene.happen(zone, Incident::Refused, 1);
    }
    let plan = scene.decide(3);
    assert_eq!(plan.launch, [Launch { offer: DEMAND, count: 2 }], "all zones are left alone for a while");
    let without = Spot { on_demand_fallback: false, ..spot(2) };
    let mut scene = Scene::new([1.0; 3], without).hold(0, 1, true);
    (0..3).for_each(|zone| scene.happen(zone, Incident::Refused, 1));
    assert_eq!(scene.decide(3), Plan::default());
}

#[test]
fn a_zone_that_refused_is_asked_again_later_and_later() {
    let mut scene = Scene::new([1.0; 3], Spot { on_demand_fallback: false, ..spot(0) });
    let mut asked = Vec::new();
    (0..3).for_each(|zone| scene.happen(zone, Incident::Refused, 1));
    for minute in 0..40 {
        let plan = scene.decide(1);
        for launch in &plan.launch {
            scene.happen(launch.offer.0, Incident::Refused, 1);
        }
        if !plan.launch.is_empty() {
            asked.push(minute);
        }
    }
    let gaps: Vec<i32> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 2 && gaps.is_sorted_by(|a, b| a < b), "{asked:?}");
}

#[test]
fn what_is_on_demand_is_given_back_when_spot_is_ready_and_not_before() {
    let starting = Scene::new([1.0; 3], spot(0)).hold(3, 2, true).hold(0, 1, false).hold(1, 1, false).decide(2);
    assert_eq!(starting.release, Vec::<u64>::new(), "{starting:?}");
    let half = Scene::new([1.0; 3], spot(0)).hold(3, 2, true).hold(0, 1, true).hold(1, 1, false).decide(2);
    assert_eq!(half.release.len(), 1);
    let ready = Scene::new([1.0; 3], spot(0)).hold(3, 2, true).hold(0, 1, true).hold(1, 1, true).decide(2);
    assert_eq!(ready.release, [0, 1]);
}

#[test]
fn the_base_on_demand_stays() {
    let base = Spot { on_demand_base: 1, ..spot(0) };
    let plan = Scene::new([1.0; 3], base.clone()).decide(2);
    assert_eq!(launched(&plan, |offer| offer == DEMAND), 1);
    let plan = Scene::new([1.0; 3], base).hold(3, 1, true).hold(0, 1, true).decide(2);
    assert_eq!(plan.release, Vec::<u64>::new());
}

#[test]
fn spares_are_not_where_the_others_are() {
    let plan = Scene::new([1.0; 3], spot(1)).hold(0, 1, true).hold(1, 1, true).decide(2);
    assert_eq!(plan.launch, [Launch { offer: OfferId(2), count: 1 }], "another zone could lose two at once");
    let cheap = Scene::new([1.0, 1.0, 3.9], spot(1)).hold(0, 1, true).hold(1, 1, true).decide(2);
    assert_ne!(cheap.launch, plan.launch, "but not at any price");
}

#[test]
fn a_move_is_made_before_it_is_broken() {
    let mut scene = Scene::new([3.0, 1.0, 3.0], spot(0)).hold(0, 1, true);
    let plan = scene.decide(1);
    assert_eq!(plan, Plan { release: vec![], launch: vec![Launch { offer: OfferId(1), count: 1 }] });
    let mut scene = scene.hold(1, 1, false);
    assert_eq!(scene.decide(1), Plan::default(), "the new one starts");
    scene.held[1].ready = true;
    assert_eq!(scene.decide(1), Plan { release: vec![0], launch: vec![] });
}

#[test]
fn a_zone_that_takes_instances_back_is_left_where_another_does_not() {
    let mut scene = Scene::new([1.0, 1.0, 9.0], spot(0)).hold(1, 1, true);
    for _ in 0..3 {
        scene.happen(0, Incident::Preempted, 1);
        scene.decide(1);
    }
    scene.held.clear();
    let plan = scene.decide(1);
    assert_eq!(
        plan.launch.first().map(|launch| launch.offer),
        Some(OfferId(1)),
        "the others only in case it refuses: {plan:?}"
    );
    let mut scene = scene.hold(0, 1, true);
    let plan = scene.decide(1);
    assert_eq!(plan.launch, [Launch { offer: OfferId(1), count: 1 }]);
}
