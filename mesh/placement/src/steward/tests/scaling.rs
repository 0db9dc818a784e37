//! Scaling: each target, up fast, down slow, to zero and from zero.

use shoal_types::{Decimal, HumanDuration, Load, ReplicaState, Replicas, Targets};

use super::stage::{Stage, counts};

const INFLIGHT: Targets =
    Targets { inflight: Some(Decimal::from_whole(32)), waiting: None, kv_cache: None, qps: None, ttft_p95: None };

/// An endpoint of up to 20 replicas with `targets`, which raises after 30 s and lowers after 10 min.
fn stage(min: u32, targets: Targets) -> Stage {
    Stage::new(|spec| {
        spec.replicas = Replicas { min, max: Some(20) };
        spec.scaling.targets = targets;
    })
}

/// What 30 s of what `change` does make of `before` replicas that serve.
fn after(before: u32, targets: Targets, change: impl FnOnce(&mut Stage)) -> (u32, String) {
    let mut stage = stage(before, targets);
    stage.follow();
    stage.write(|spec| spec.replicas.min = 1);
    change(&mut stage);
    let mandate = stage.run(31);
    (mandate.total(), mandate.reason)
}

#[test]
fn each_target_asks_for_as_many_as_its_load_needs() {
    let whole = |number| Some(Decimal::from_whole(number));
    for (inflight, needed) in [(0, 2), (64, 2), (70, 2), (71, 3), (96, 3), (130, 5), (10_000, 20)] {
        assert_eq!(after(2, INFLIGHT, |stage| stage.inflight(inflight)).0, needed, "{inflight} in flight");
    }
    for (arrivals, needed) in [(960, 2), (1_440, 3), (2_160, 5)] {
        let qps = Targets { qps: whole(8), ..Targets::default() };
        assert_eq!(after(2, qps, |stage| stage.demand(|demand| demand.arrivals = arrivals)).0, needed, "{arrivals}");
    }
    let (total, reason) = after(2, INFLIGHT, |stage| {
        stage.inflight(100);
        stage.demand(|demand| demand.held = 30);
    });
    assert_eq!((total, reason.as_str()), (5, "inflight 130 of 32 per replica for 30s: needs 5"));
}

#[test]
fn what_a_replica_does_not_say_is_the_mean_of_the_others_and_not_zero() {
    let kv_cache = Targets { kv_cache: Some(Decimal::from_millionths(800_000)), ..Targets::default() };
    let waiting = Targets { waiting: Some(Decimal::from_whole(4)), ..Targets::default() };
    let says = |loads: &'static [Load]| {
        move |stage: &mut Stage| {
            let claims: Vec<_> = stage.fleet.view.nodes.values().flat_map(|node| node.claims.keys().copied()).collect();
            claims.into_iter().zip(loads).for_each(|(claim, load)| stage.load(claim, *load));
        }
    };
    const FULL: Load = Load { inflight: 0, running: None, waiting: Some(10), kv_cache: Some(100) };
    const HALF: Load = Load { inflight: 0, running: None, waiting: Some(0), kv_cache: Some(60) };
    assert_eq!(after(4, kv_cache.clone(), says(&[FULL, FULL])).0, 5, "four full ones");
    assert_eq!(after(4, kv_cache.clone(), says(&[FULL, HALF])).0, 4, "3.2 of 0.8");
    assert_eq!(after(4, waiting.clone(), says(&[FULL, HALF])).0, 5, "20 of 4");
    let held = |stage: &mut Stage| {
        says(&[HALF, HALF])(stage);
        stage.demand(|demand| demand.held = 20);
    };
    assert_eq!(after(4, waiting.clone(), held).0, 5, "20 that nodes keep back");
    let (total, reason) = after(4, waiting, says(&[]));
    assert_eq!((total, reason.as_str()), (4, "replicas.min is 4"), "nothing is known");
}

#[test]
fn slow_first_tokens_raise_by_their_ratio_and_at_most_double() {
    let targets = Targets { ttft_p95: Some(HumanDuration::from_millis(1_000)), ..Targets::default() };
    let slow = |millis: u64| {
        let mut stage = stage(4, targets.clone());
        stage.follow();
        let revision = stage.record().revision;
        stage.write(|spec| spec.replicas.min = 1);
        stage.outcome(revision, 100, 0, millis);
        assert_eq!(stage.run(60).total(), 4, "requests of before the last change count still");
        stage.run(5 * 60).total()
    };
    assert_eq!((slow(600), slow(100_000)), (4, 8));
    assert!((5..=6).contains(&slow(1_280)), "{}", slow(1_280));
}

#[test]
fn times_measured_while_replicas_load_do_not_raise_further() {
    let targets = Targets { ttft_p95: Some(HumanDuration::from_millis(1_000)), ..Targets::default() };
    let mut stage = stage(4, targets);
    stage.follow();
    let revision = stage.record().revision;
    stage.ready(revision, 3);
    stage.outcome(revision, 100, 0, 10_000);
    assert_eq!(stage.run(600).total(), 4);
}

#[test]
fn a_single_jitter_tick_does_not_reset_the_way_up() {
    let mut stage = stage(1, INFLIGHT);
    stage.follow();
    stage.inflight(130);
    stage.run(15);
    stage.inflight(0);
    stage.run(1);
    stage.inflight(130);
    assert_eq!(stage.run(13).total(), 1, "29 s");
    assert_eq!(stage.run(2).total(), 5);
}

#[test]
fn what_is_needed_for_less_than_the_delay_raises_nothing() {
    let mut stage = stage(1, INFLIGHT);
    stage.follow();
    for _ in 0..10 {
        stage.inflight(300);
        stage.run(20);
        stage.inflight(10);
        assert_eq!(stage.run(10).total(), 1);
    }
}

#[test]
fn a_rise_goes_to_what_was_needed_for_the_whole_delay() {
    let mut stage = stage(1, INFLIGHT);
    stage.follow();
    stage.inflight(64);
    stage.run(25);
    stage.inflight(640);
    assert_eq!(stage.run(6).total(), 2);
    assert_eq!(stage.run(25).total(), 20);
}

#[test]
fn down_is_slow_and_a_spike_does_not_reset_it() {
    let mut stage = stage(1, INFLIGHT);
    stage.inflight(160);
    stage.run(40);
    assert_eq!(stage.follow().total(), 5);
    stage.inflight(60);
    stage.run(300);
    stage.inflight(160);
    stage.run(5);
    stage.inflight(60);
    assert_eq!(stage.run(250).total(), 5, "555 s");
    let mandate = stage.run(60);
    assert_eq!((mandate.total(), mandate.reason.as_str()), (2, "inflight 60 of 32 per replica for 10m: 2 are enough"));
}

#[test]
fn rule_5_never_fewer_than_carry_the_present_load() {
    let mut stage = stage(1, INFLIGHT);
    stage.inflight(160);
    stage.run(40);
    stage.inflight(20);
    stage.run(565);
    stage.inflight(130);
    stage.run(5);
    stage.inflight(20);
    assert_eq!(stage.run(6).total(), 5, "one was enough for 570 s");
    stage.inflight(130);
    assert_eq!(stage.run(10).total(), 5, "one was enough for longer, and is not now");
    stage.inflight(20);
    assert_eq!(stage.run(1).total(), 1);
}

#[test]
fn what_oscillates_within_the_tolerance_changes_nothing() {
    let mut stage = stage(1, INFLIGHT);
    stage.inflight(320);
    stage.run(40);
    let epoch = stage.follow().epoch;
    for _ in 0..60 {
        stage.inflight(300);
        stage.run(15);
        stage.inflight(340);
        stage.run(15);
    }
    let mandate = stage.say();
    assert_eq!((mandate.total(), mandate.epoch), (10, epoch));
}

#[test]
fn an_idle_endpoint_ends_and_comes_back_with_the_first_request() {
    let mut stage = stage(0, INFLIGHT);
    assert_eq!(stage.say().total(), 0);
    stage.run(60);
    stage.demand(|demand| (demand.held, demand.arrivals) = (3, 3));
    let mandate = stage.say();
    assert_eq!((mandate.total(), mandate.reason.as_str()), (1, "3 requests wait and nothing serves"));
    stage.follow();
    stage.demand(|demand| (demand.held, demand.arrivals, demand.inflight) = (0, 0, 1));
    assert_eq!(stage.sleep(3_600).0.total(), 1, "one request runs");
    stage.inflight(0);
    assert_eq!(stage.sleep(14 * 60).0.total(), 1);
    let (mandate, _) = stage.sleep(61);
    assert_eq!((mandate.total(), mandate.reason.as_str()), (0, "no request for 15m"));
}

#[test]
fn from_zero_as_many_come_as_wait_for_them() {
    let mut stage = stage(0, INFLIGHT);
    stage.say();
    stage.demand(|demand| (demand.held, demand.arrivals) = (200, 200));
    assert_eq!(stage.say().total(), 7);
}

#[test]
fn without_targets_demand_decides_between_nothing_and_one() {
    let mut stage = stage(0, Targets::default());
    assert_eq!(stage.say().total(), 0);
    stage.inflight(500);
    assert_eq!(stage.run(100).total(), 1);
    stage.inflight(0);
    assert_eq!(stage.run(15 * 60).total(), 0);
}

#[test]
fn new_bounds_hold_at_once() {
    let mut stage = stage(2, INFLIGHT);
    assert_eq!(stage.say().total(), 2);
    stage.write(|spec| spec.replicas.min = 4);
    let mandate = stage.say();
    assert_eq!((mandate.total(), mandate.reason.as_str()), (4, "replicas.min is 4"));
    stage.write(|spec| spec.replicas = Replicas { min: 1, max: Some(3) });
    let mandate = stage.say();
    assert_eq!((mandate.total(), mandate.reason.as_str()), (3, "replicas.max is 3"));
}

#[test]
fn replicas_that_load_count_as_there() {
    let mut stage = stage(1, INFLIGHT);
    let revision = stage.record().revision;
    stage.ready(revision, 1);
    stage.inflight(130);
    assert_eq!(stage.run(40).total(), 5);
    for _ in 0..4 {
        stage.replica(revision, ReplicaState::Loading);
    }
    assert_eq!(stage.run(600).total(), 5);
}

#[test]
fn a_steady_endpoint_asks_for_no_attention() {
    let mut stage = stage(1, INFLIGHT);
    stage.inflight(10);
    stage.say();
    let (mandate, steps) = stage.sleep(24 * 3_600);
    assert!(steps <= 1, "{steps} steps in a day");
    assert_eq!(mandate.epoch, 1);
}

#[test]
fn a_host_that_slept_watches_anew() {
    let mut stage = stage(1, INFLIGHT);
    stage.inflight(160);
    stage.run(40);
    stage.follow();
    stage.inflight(10);
    stage.run(10);
    stage.now += 3_600;
    assert_eq!(stage.run(500).total(), 5);
    assert_eq!(stage.run(101).total(), 1);
}

#[test]
fn a_long_window_lowers_by_few_samples() {
    let mut stage = stage(1, INFLIGHT);
    stage.fleet = stage.fleet.clone().spec("a", |spec| spec.scaling.down_delay = HumanDuration::from_secs(24 * 3_600));
    stage.inflight(160);
    stage.run(40);
    stage.follow();
    stage.inflight(10);
    let (mandate, steps) = stage.sleep(24 * 3_600 - 60);
    assert_eq!(mandate.total(), 5);
    assert!(steps < 700, "{steps}");
    assert_eq!(counts(&stage.sleep(300).0), [1]);
}

/// Rule 5: how many is the steward's word, within the bounds of the spec.
#[test]
fn rule_5_what_was_needed_by_the_spec_before_does_not_outbid_the_bounds_of_this_one() {
    let mut stage = stage(3, Targets::default());
    stage.follow();
    stage.run(60);
    stage.write(|spec| spec.replicas = Replicas { min: 2, max: Some(2) });
    let lowered = stage.run(1);
    assert_eq!(lowered.total(), 2);
    let later = stage.run(60);
    assert_eq!((later.total(), later.epoch), (2, lowered.epoch), "it is said once");
}
