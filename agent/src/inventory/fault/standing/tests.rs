use std::time::Duration;

use super::*;
use crate::config::FaultConfig;

const NOW: UnixMillis = UnixMillis::from_millis(1_000_000);

fn well() -> Vitals {
    Vitals { recovery: Some(RecoveryAction::None), remapped: Some(RemappedRows::default()), ..Vitals::default() }
}

fn verdict(standing: &mut Standing, xid: u32, now: UnixMillis) -> FaultVerdict {
    standing.alarm(Alarm::Xid(xid), &FaultPolicy::default(), now).0
}

fn action(standing: &Standing) -> Option<FaultAction> {
    standing.fault().map(|fault| fault.action)
}

#[test]
fn an_xid_is_judged_by_the_table() {
    let of = |xid| verdict(&mut Standing::default(), xid, NOW);
    assert_eq!(of(43), FaultVerdict::Ignore);
    assert_eq!(of(94), FaultVerdict::RestartEngine);
    assert_eq!(of(63), FaultVerdict::Cordon);
    assert_eq!(of(74), FaultVerdict::DrainGroup);
    assert_eq!(of(48), FaultVerdict::DrainGpu);
    assert_eq!(of(79), FaultVerdict::DrainNode);
    assert_eq!(of(4_711), FaultVerdict::Cordon, "an unknown one kills nothing that serves");
}

#[test]
fn what_stands_has_a_reason_and_a_time_and_what_is_over_does_not_stand() {
    let mut standing = Standing::default();
    verdict(&mut standing, 94, NOW);
    assert_eq!(standing.fault(), None);
    verdict(&mut standing, 48, NOW);
    let fault = standing.fault().unwrap();
    assert_eq!((fault.reason.as_str(), fault.since), ("Xid 48: double-bit ECC error", NOW));
    // What is less grave does not hide it, nor make it look newer.
    verdict(&mut standing, 63, NOW.plus(Duration::from_secs(1)));
    assert_eq!(standing.fault().unwrap().since, NOW);
}

#[test]
fn some_xids_mean_more_when_they_come_often() {
    let mut standing = Standing::default();
    let minute = |count: u64| NOW.plus(Duration::from_secs(60 * count));
    assert_eq!(verdict(&mut standing, 13, minute(0)), FaultVerdict::RestartEngine);
    assert_eq!(verdict(&mut standing, 31, minute(1)), FaultVerdict::RestartEngine, "another number counts apart");
    assert_eq!(verdict(&mut standing, 13, minute(4)), FaultVerdict::RestartEngine);
    assert_eq!(verdict(&mut standing, 13, minute(14)), FaultVerdict::RestartEngine, "the first is long ago");
    assert_eq!(verdict(&mut standing, 13, minute(14)), FaultVerdict::Cordon);
    assert_eq!(verdict(&mut standing, 109, minute(20)), FaultVerdict::RestartEngine);
    assert_eq!(verdict(&mut standing, 109, minute(79)), FaultVerdict::DrainGpu);
    assert_eq!(action(&standing), Some(FaultAction::DrainGpu));
}

#[test]
fn the_configuration_overrides_the_table() {
    let xid = [(48, FaultVerdict::Ignore), (13, FaultVerdict::DrainGroup), (79, FaultVerdict::Cordon)];
    let policy = FaultPolicy::new(&FaultConfig { xid: xid.into() });
    let mut standing = Standing::default();
    assert_eq!(standing.alarm(Alarm::DoubleBitEcc, &policy, NOW).0, FaultVerdict::Ignore);
    assert_eq!(standing.alarm(Alarm::Xid(13), &policy, NOW).0, FaultVerdict::DrainGroup);
    let mut standing = Standing::default();
    standing.troubled(&Trouble::Lost, &policy, NOW);
    assert_eq!(action(&standing), Some(FaultAction::Cordon));
}

#[test]
fn what_the_driver_asks_for_goes_before_the_table() {
    let mut standing = Standing::default();
    verdict(&mut standing, 48, NOW);
    for (recovery, expected) in [
        (RecoveryAction::GpuReset, FaultAction::DrainGpu),
        (RecoveryAction::NodeReboot, FaultAction::DrainNode),
        (RecoveryAction::DrainP2p, FaultAction::DrainGroup),
        (RecoveryAction::DrainAndReset, FaultAction::DrainGpu),
    ] {
        let shifts = standing.sampled(&Vitals { recovery: Some(recovery), ..well() }, NOW);
        assert!(matches!(shifts.as_slice(), [Shift::Raised(fault)] if fault.action == expected), "{shifts:?}");
        assert_eq!(action(&standing), Some(expected));
    }
    // Nothing is asked for any more: it was reset, and what was reported before is over with that.
    let shifts = standing.sampled(&well(), NOW);
    assert_eq!(shifts.len(), 2, "{shifts:?}");
    assert_eq!(standing.fault(), None);
}

#[test]
fn a_driver_that_asks_for_nothing_does_not_take_back_what_was_reported() {
    let mut standing = Standing::default();
    standing.sampled(&well(), NOW);
    verdict(&mut standing, 95, NOW);
    assert_eq!(standing.sampled(&well(), NOW), vec![]);
    assert_eq!(action(&standing), Some(FaultAction::DrainGpu));
}

#[test]
fn broken_rows_are_a_sign_of_their_own() {
    let mut standing = Standing::default();
    let with = |pending, failed| {
        let rows = RemappedRows { pending, failed, ..RemappedRows::default() };
        Vitals { remapped: Some(rows), ..well() }
    };
    standing.sampled(&with(true, false), NOW);
    assert_eq!(action(&standing), Some(FaultAction::Cordon));
    standing.sampled(&with(true, true), NOW);
    assert_eq!(action(&standing), Some(FaultAction::DrainGpu));
    // Unknown is not well.
    standing.sampled(&Vitals { remapped: None, ..well() }, NOW);
    assert_eq!(action(&standing), Some(FaultAction::DrainGpu));
    standing.sampled(&with(false, false), NOW);
    assert_eq!(standing.fault(), None);
}

#[test]
fn a_gpu_that_is_lost_drains_the_node_until_it_is_back() {
    let (mut standing, policy) = (Standing::default(), FaultPolicy::default());
    verdict(&mut standing, 79, NOW);
    assert!(standing.troubled(&Trouble::Lost, &policy, NOW).is_some());
    assert_eq!(standing.troubled(&Trouble::Lost, &policy, NOW.plus(Duration::from_secs(1))), None);
    assert_eq!(standing.troubled(&Trouble::Other("unknown".to_owned()), &policy, NOW), None);
    assert_eq!(action(&standing), Some(FaultAction::DrainNode));
    standing.sampled(&well(), NOW);
    assert_eq!(standing.fault(), None);
}

#[test]
fn an_operator_clears_what_was_reported_but_not_what_is_seen() {
    let mut standing = Standing::default();
    verdict(&mut standing, 4_711, NOW);
    assert_eq!(standing.clear().unwrap().map(|fault| fault.action), Some(FaultAction::Cordon));
    assert_eq!(standing.clear(), Ok(None));
    standing.sampled(&Vitals { recovery: Some(RecoveryAction::GpuReset), ..well() }, NOW);
    assert_eq!(standing.clear().unwrap_err().reason, "the driver asks for a reset of the GPU");
    assert!(standing.fault().is_some());
}
