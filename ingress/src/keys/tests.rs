//! Several ingresses that hear of each other late, in virtual time.

use std::time::Duration;

use proptest::prelude::*;
use shoal_types::{KeyGrant, KeyUse};
use tokio::time::Instant;

use super::{meter::Meter, shown::Shown};
use crate::usage::Usage;

const MILLI: Duration = Duration::from_millis(1);
/// What an ingress hears of the others is this old at most: a look each second, and 3 s of gossip.
const DELAY: u64 = 4_000;
/// Rates are counted in whole seconds, so any minute means the last 59 s at least.
const WINDOW: u64 = 59_000;

/// Ingresses that share the limits of one key.
struct Fleet {
    start: Instant,
    meters: Vec<Meter>,
    /// What each said, and when.
    said: Vec<(u64, Vec<KeyUse>)>,
    /// When which ingress let a request in.
    admitted: Vec<(u64, usize)>,
}

impl Fleet {
    fn new(size: usize) -> Self {
        let start = Instant::now();
        let meters = (0..size).map(|_| Meter::new(Shown::default(), start)).collect();
        Self { start, meters, said: Vec::new(), admitted: Vec::new() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + MILLI * u32::try_from(millis).unwrap()
    }

    /// Every second: each says what it has let through, and hears what the others said a while ago.
    fn tick(&mut self, millis: u64) {
        let now = self.at(millis);
        self.said.push((millis, self.meters.iter().map(|meter| meter.told(now)).collect()));
        let heard = self.said.iter().rev().find(|(when, _)| *when + DELAY - 1_000 <= millis);
        let Some((_, heard)) = heard else { return };
        for (own, meter) in self.meters.iter().enumerate() {
            let others = heard.iter().enumerate().filter(|(other, _)| *other != own).map(|(_, used)| used);
            let sum = others.fold(KeyUse::default(), |sum, used| KeyUse {
                requests: sum.requests + used.requests,
                inflight: sum.inflight + used.inflight,
                ..sum
            });
            meter.hear(sum, 0);
        }
    }

    fn ask(&mut self, ingress: usize, grant: &KeyGrant, millis: u64) -> bool {
        let admitted = self.meters[ingress].enter(grant, self.at(millis)).is_ok();
        if admitted {
            self.admitted.push((millis, ingress));
        }
        admitted
    }

    /// Requests that were let in within the `span` before `millis`, where `ingress` is so.
    fn count(&self, millis: u64, span: u64, of: impl Fn(usize) -> bool) -> usize {
        self.admitted.iter().filter(|(when, ingress)| *when + span > millis && of(*ingress)).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The bound that the docs state: over the limit goes only what the other ingresses let in during the time that it takes
    /// to hear of it, and an eighth for rounding.
    #[test]
    fn a_rate_is_passed_by_no_more_than_what_could_not_be_heard_of(
        size in 1..5_usize,
        limit in 8..100_u32,
        requests in prop::collection::vec((0..150_u64, any::<prop::sample::Index>()), 100..2_000),
    ) {
        let grant = KeyGrant { requests_per_minute: Some(limit), ..KeyGrant::default() };
        let (mut fleet, mut now, mut ticked) = (Fleet::new(size), 0, 0);
        for (pause, ingress) in requests {
            now += pause;
            while ticked <= now {
                fleet.tick(ticked);
                ticked += 1_000;
            }
            let ingress = ingress.index(size);
            if fleet.ask(ingress, &grant, now) {
                let all = fleet.count(now, WINDOW, |_| true);
                let unheard = fleet.count(now, DELAY, |other| other != ingress);
                let rounding = if size > 1 { limit as usize / 8 + size } else { 0 };
                prop_assert!(all <= limit as usize + unheard + rounding, "{all} of {limit}, {unheard} unheard");
            }
        }
    }
}

/// The same for requests at once: a burst goes over by what the others take before they hear of it, and not again.
#[test]
fn concurrency_is_passed_by_no_more_than_a_burst() {
    let grant = KeyGrant { concurrency: Some(10), ..KeyGrant::default() };
    let mut fleet = Fleet::new(3);
    fleet.tick(0);
    let burst: usize = (0..3).map(|ingress| (0..50).filter(|_| fleet.ask(ingress, &grant, 1)).count()).sum();
    assert_eq!(burst, 30, "each ingress is exact for itself");
    for second in 1..=4 {
        fleet.tick(second * 1_000);
    }
    let ended = fleet.at(5_000);
    (0..10).for_each(|_| fleet.meters[0].leave(None, Usage::default(), 0, ended));
    assert!(!fleet.ask(0, &grant, 5_000), "20 run elsewhere");
    (0..10).for_each(|_| fleet.meters[1].leave(None, Usage::default(), 0, ended));
    (0..10).for_each(|_| fleet.meters[2].leave(None, Usage::default(), 0, ended));
    for second in 5..=9 {
        fleet.tick(second * 1_000);
    }
    assert!(fleet.ask(0, &grant, 9_000));
}
