//! Rollouts: every transition, as a story.

use shoal_types::{Decimal, HumanDuration, OnFailure, Percent, ReplicaState, Replicas, Revision, Rollout, Strategy};

use super::stage::{Stage, counts, phase, weights};

/// An endpoint of `replicas` that serve, and its revision.
fn stage(replicas: u32, rollout: Rollout) -> (Stage, Revision) {
    let mut stage = Stage::new(|spec| {
        spec.replicas = Replicas { min: replicas, max: None };
        spec.rollout = rollout;
    });
    stage.follow();
    let revision = stage.record().revision;
    (stage, revision)
}

fn rolling() -> Rollout {
    Rollout::default()
}

fn canary() -> Rollout {
    Rollout { strategy: Strategy::Canary, pause: HumanDuration::from_secs(60), ..Rollout::default() }
}

/// A canary of ten replicas whose first one serves: the stage, the old revision and the new one.
fn canary_of_ten(change: impl FnOnce(&mut Rollout)) -> (Stage, Revision, Revision) {
    let mut rollout = canary();
    change(&mut rollout);
    let (mut stage, old) = stage(10, rollout);
    let new = stage.apply();
    stage.follow();
    (stage, old, new)
}

#[test]
fn rolling_gives_the_new_revision_everything_and_requests_by_what_serves() {
    let (mut stage, old) = stage(4, rolling());
    let new = stage.apply();
    let mandate = stage.say();
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![4, 0], vec![0, 100], ("progressing", 0)));
    assert_eq!(mandate.shares[0].revision, new);
    for (ready, left, weight) in [(1, 4, 20), (2, 2, 50), (3, 1, 75)] {
        stage.ready(new, ready);
        stage.ready(old, left);
        assert_eq!(weights(&stage.say()), [weight, 100 - weight], "{ready} ready");
    }
    stage.ready(new, 4);
    assert_eq!(phase(&stage.say()), ("ready", 0), "an old one is left");
    stage.ready(old, 0);
    let mandate = stage.say();
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![4], vec![100], ("complete", 0)));
}

#[test]
fn canary_goes_by_steps_that_go_well_for_the_pause() {
    let (mut stage, old) = stage(10, canary());
    let new = stage.apply();
    let mandate = stage.say();
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![1, 9], vec![0, 100], ("progressing", 0)));
    assert_eq!(stage.run(600).epoch, mandate.epoch, "it waits for its replica");
    stage.ready(new, 1);
    stage.ready(old, 9);
    let mandate = stage.say();
    assert_eq!((weights(&mandate), phase(&mandate)), (vec![10, 90], ("ready", 0)));
    assert_eq!(phase(&stage.run(59)), ("ready", 0));
    let mandate = stage.run(1);
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![5, 5], vec![10, 90], ("progressing", 1)));
    let mandate = stage.follow();
    assert_eq!((weights(&mandate), phase(&mandate)), (vec![50, 50], ("ready", 1)));
    let mandate = stage.run(60);
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![10, 0], vec![50, 50], ("progressing", 2)));
    let mandate = stage.follow();
    assert_eq!((counts(&mandate), phase(&mandate)), (vec![10], ("complete", 0)));
}

#[test]
fn a_canary_of_one_replica_runs_beside_the_old_one() {
    let (mut stage, _) = stage(1, canary());
    stage.apply();
    assert_eq!(counts(&stage.say()), [1, 1]);
    assert_eq!(counts(&stage.follow()), [1, 1], "and stays so while it is read again");
    assert_eq!(counts(&stage.run(60)), [1, 1], "50%");
    assert_eq!(counts(&stage.run(61)), [1, 0]);
    assert_eq!(counts(&stage.follow()), [1]);
}

#[test]
fn a_step_waits_while_one_of_its_replicas_does_not_serve() {
    let (mut stage, _, new) = canary_of_ten(|_| {});
    stage.run(50);
    stage.ready(new, 0);
    stage.replica(new, ReplicaState::Backoff);
    let mandate = stage.run(60);
    assert_eq!((phase(&mandate), weights(&mandate)), (("progressing", 0), vec![0, 100]));
    stage.ready(new, 1);
    stage.say();
    assert_eq!(phase(&stage.run(59)), ("ready", 0), "the pause begins anew");
    assert_eq!(phase(&stage.run(1)), ("progressing", 1));
}

#[test]
fn too_many_errors_take_everything_back() {
    let (mut stage, old, new) = canary_of_ten(|_| {});
    stage.outcome(old, 1_000, 5, 100);
    stage.outcome(new, 19, 19, 100);
    assert_eq!(phase(&stage.run(1)), ("ready", 0), "19 requests say nothing");
    stage.outcome(new, 100, 1, 100);
    assert_eq!(phase(&stage.run(1)), ("ready", 0), "1% may fail");
    stage.outcome(new, 40, 5, 100);
    let mandate = stage.run(1);
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![10, 0], vec![100, 0], ("rolled back", 0)));
    assert_eq!(mandate.shares[0].revision, old);
    assert!(mandate.reason.contains("5 of 40 requests failed, 12.5%"), "{}", mandate.reason);
    stage.demand(|demand| demand.outcomes.clear());
    assert_eq!(stage.run(3_600).epoch, mandate.epoch, "and stays so");
}

#[test]
fn errors_that_the_old_revision_has_too_are_not_the_new_ones() {
    let (mut stage, old, new) = canary_of_ten(|_| {});
    stage.outcome(old, 100, 20, 100);
    stage.outcome(new, 100, 20, 100);
    assert_eq!(phase(&stage.run(1)), ("ready", 0));
    stage.outcome(new, 100, 21, 100);
    assert_eq!(phase(&stage.run(1)), ("rolled back", 0));
}

#[test]
fn slow_first_tokens_take_everything_back() {
    let (mut stage, old, new) = canary_of_ten(|rollout| rollout.max_ttft_ratio = Decimal::from_whole(3));
    stage.outcome(old, 100, 0, 150);
    stage.outcome(new, 100, 0, 300);
    assert_eq!(phase(&stage.run(1)), ("ready", 0));
    stage.outcome(new, 100, 0, 1_200);
    let mandate = stage.run(1);
    assert_eq!(phase(&mandate), ("rolled back", 0));
    assert!(mandate.reason.contains("8.0 times the old one's"), "{}", mandate.reason);
}

#[test]
fn crashes_and_refusals_take_everything_back_before_anything_serves() {
    let (mut stage, _) = stage(10, canary());
    let new = stage.apply();
    stage.say();
    let claim = stage.replica(new, ReplicaState::Backoff);
    stage.crash(claim, 1);
    stage.refuse(new);
    assert_eq!(phase(&stage.run(1)), ("progressing", 0), "maxCrashes is 2");
    let failed = stage.replica(new, ReplicaState::Failed);
    stage.crash(failed, 1);
    let mandate = stage.run(1);
    assert_eq!((counts(&mandate), phase(&mandate)), (vec![10, 0], ("rolled back", 0)));
    assert!(mandate.reason.contains("crashed 3 times"), "{}", mandate.reason);
}

#[test]
fn rolling_is_judged_until_it_is_complete() {
    let (mut stage, old) = stage(4, rolling());
    let new = stage.apply();
    stage.say();
    stage.ready(new, 3);
    stage.ready(old, 1);
    stage.outcome(new, 50, 50, 100);
    let mandate = stage.say();
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![4, 0], vec![100, 0], ("rolled back", 0)));
    stage.ready(old, 0);
    assert_eq!(weights(&stage.say()), [0, 100], "where nothing else serves, the rejected one still does");
}

#[test]
fn on_failure_pause_stops_where_it_is() {
    let (mut stage, _, new) = canary_of_ten(|rollout| rollout.on_failure = OnFailure::Pause);
    stage.outcome(new, 40, 5, 100);
    let mandate = stage.run(1);
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![1, 9], vec![10, 90], ("paused", 0)));
    assert!(mandate.reason.starts_with("paused at"), "{}", mandate.reason);
    assert_eq!(stage.run(3_600).epoch, mandate.epoch);
    stage.write(|_| {});
    assert_eq!(phase(&stage.say()), ("ready", 0), "a write of the spec resumes it");
    assert_eq!(phase(&stage.run(299)), ("ready", 0), "what failed before is not held against it");
}

#[test]
fn without_a_known_old_spec_there_is_no_way_back() {
    let (mut stage, _) = stage(4, canary());
    let new = stage.apply();
    stage.record_mut().previous.clear();
    assert_eq!(counts(&stage.say()), [4, 0]);
    (0..3).for_each(|_| stage.refuse(new));
    let mandate = stage.say();
    assert_eq!((counts(&mandate), phase(&mandate)), (vec![4, 0], ("paused", 0)));
}

#[test]
fn paused_stands_still_and_scaling_goes_on() {
    let (mut stage, _, _) = canary_of_ten(|_| {});
    stage.write(|spec| spec.rollout.paused = true);
    let mandate = stage.say();
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![1, 9], vec![10, 90], ("paused", 0)));
    assert_eq!(stage.run(3_600).epoch, mandate.epoch);
    for (replicas, shares) in [(20, [1, 19]), (2, [1, 1]), (10, [1, 9])] {
        stage.write(|spec| spec.replicas = Replicas { min: replicas, max: None });
        assert_eq!(counts(&stage.say()), shares);
    }
    stage.write(|spec| spec.rollout.paused = false);
    assert_eq!(phase(&stage.say()), ("ready", 0));
    assert_eq!(phase(&stage.run(60)), ("progressing", 1));
}

#[test]
fn a_rollout_that_is_paused_before_it_begins_leaves_everything_to_the_old_revision() {
    let (mut stage, _) = stage(4, Rollout { paused: true, ..rolling() });
    stage.apply();
    let mandate = stage.say();
    assert_eq!((counts(&mandate), weights(&mandate), phase(&mandate)), (vec![0, 4], vec![0, 100], ("paused", 0)));
    stage.write(|spec| spec.rollout.paused = false);
    assert_eq!(counts(&stage.say()), [4, 0]);
}

#[test]
fn a_rolling_rollout_pauses_at_the_replicas_that_are_there() {
    let (mut stage, old) = stage(4, rolling());
    let new = stage.apply();
    stage.say();
    stage.ready(new, 1);
    stage.replica(new, ReplicaState::Loading);
    stage.ready(old, 3);
    stage.write(|spec| spec.rollout.paused = true);
    assert_eq!(counts(&stage.say()), [2, 2]);
    stage.ready(new, 2);
    assert_eq!(counts(&stage.run(60)), [2, 2]);
    stage.write(|spec| spec.rollout.paused = false);
    assert_eq!(counts(&stage.say()), [4, 0]);
}

#[test]
fn undo_makes_the_old_revision_the_only_target() {
    let (mut stage, old, _) = canary_of_ten(|_| {});
    assert_eq!(stage.undo(), old);
    let mandate = stage.say();
    assert_eq!((counts(&mandate), mandate.shares[0].revision), (vec![10, 0], old));
    let mandate = stage.follow();
    assert_eq!((counts(&mandate), phase(&mandate)), (vec![10], ("complete", 0)));
}

#[test]
fn undo_is_not_judged() {
    let (mut stage, old, _) = canary_of_ten(|_| {});
    let claim = stage.replica(old, ReplicaState::Ready);
    stage.crash(claim, 9);
    stage.outcome(old, 100, 50, 100);
    stage.undo();
    stage.say();
    assert_eq!(stage.run(1).shares[0].revision, old);
    assert_ne!(phase(&stage.run(1)), ("rolled back", 0));
}

#[test]
fn undo_after_a_rollback_ends_it() {
    let (mut stage, old, new) = canary_of_ten(|_| {});
    stage.outcome(new, 100, 50, 100);
    assert_eq!(phase(&stage.run(1)), ("rolled back", 0));
    stage.undo();
    let mandate = stage.say();
    assert_eq!((counts(&mandate), mandate.shares[0].revision, phase(&mandate)), (vec![10], old, ("complete", 0)));
}

#[test]
fn resume_after_a_rollback_tries_again_from_the_first_step() {
    let (mut stage, _, new) = canary_of_ten(|_| {});
    stage.run(60);
    stage.follow();
    stage.outcome(new, 100, 50, 100);
    stage.refuse(new);
    assert_eq!(phase(&stage.run(1)), ("rolled back", 0));
    stage.write(|spec| spec.rollout.paused = true);
    assert_eq!(phase(&stage.run(1)), ("rolled back", 0), "not while it is paused");
    stage.write(|spec| spec.rollout.paused = false);
    let mandate = stage.say();
    assert_eq!((counts(&mandate), phase(&mandate)), (vec![1, 9], ("progressing", 0)));
    assert_eq!(phase(&stage.follow()), ("ready", 0), "what failed before does not count");
    assert_eq!(phase(&stage.run(299)), ("ready", 0), "nor does it pass for going well");
    assert_eq!(phase(&stage.run(2)), ("rolled back", 0), "the same errors, five minutes on");
}

#[test]
fn a_third_revision_takes_the_place_of_the_unfinished_one() {
    let (mut stage, old, second) = canary_of_ten(|_| {});
    stage.run(60);
    let third = stage.apply();
    let mandate = stage.say();
    assert_eq!((counts(&mandate), phase(&mandate)), (vec![1, 9], ("progressing", 0)));
    assert_eq!((mandate.shares[0].revision, mandate.shares[1].revision), (third, old));
    stage.ready(old, 0);
    stage.ready(second, 10);
    stage.apply();
    assert_eq!(stage.say().shares[1].revision, old, "nothing serves of the third");
}

#[test]
fn of_an_old_revision_that_is_gone_nothing_is_started_again() {
    let (mut stage, old) = stage(4, rolling());
    let second = stage.apply();
    stage.say();
    stage.ready(second, 3);
    stage.ready(old, 0);
    stage.say();
    let third = stage.apply();
    let mandate = stage.say();
    assert_eq!((mandate.shares[0].revision, mandate.shares[1].revision), (third, second));
}

#[test]
fn a_spec_without_new_processes_starts_no_rollout() {
    let (mut stage, revision) = stage(4, canary());
    stage.write(|spec| spec.rollout.steps = vec![Percent::from_whole(1)]);
    let mandate = stage.run(10);
    assert_eq!((counts(&mandate), mandate.shares[0].revision, phase(&mandate)), (vec![4], revision, ("complete", 0)));
}

#[test]
fn what_has_no_replicas_is_rolled_out_at_once() {
    let (mut stage, _) = stage(0, canary());
    let new = stage.apply();
    let mandate = stage.say();
    assert_eq!((counts(&mandate), mandate.shares[0].revision, phase(&mandate)), (vec![0], new, ("complete", 0)));
}

#[test]
fn scaling_during_a_canary_is_split_by_its_step() {
    let (mut stage, _, _) = canary_of_ten(|_| {});
    stage.write(|spec| spec.replicas = Replicas { min: 25, max: None });
    assert_eq!(counts(&stage.say()), [3, 22]);
}
