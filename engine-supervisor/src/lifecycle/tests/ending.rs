use super::*;

#[test]
fn an_exit_that_was_not_asked_for_is_a_crash_in_every_phase() {
    let starting = || {
        let mut machine = Machine::new();
        machine.launch();
        machine
    };
    let warming = || {
        let mut machine = starting();
        machine.on(Event::Checked(Ok(())));
        machine
    };
    for mut machine in [starting(), warming(), Machine::ready()] {
        assert_eq!(machine.on(exit("exit status: 0")), Some(Action::Kill));
        assert_eq!(machine.phase(), EnginePhase::Backoff { reason: "exit status: 0".to_owned() });
        assert_eq!(machine.lifecycle.crashes(), 1);
    }
}

#[test]
fn nothing_is_launched_before_the_group_is_empty() {
    let mut machine = Machine::ready();
    assert_eq!(machine.on(exit("dead")), Some(Action::Kill));
    for _ in 0..100 {
        assert_eq!(machine.tick(), Some(Action::Kill), "what was forked meanwhile is killed too");
    }
    assert_eq!(machine.on(Event::GroupGone), None);
    machine.begin();
}

#[test]
fn answers_of_the_process_before_count_for_nothing() {
    let mut machine = Machine::ready();
    assert_eq!(machine.on(exit("dead")), Some(Action::Kill));
    assert_eq!(machine.on(Event::Checked(Ok(()))), None);
    assert_eq!(machine.on(Event::Warmed(Ok(()))), None);
    assert!(matches!(machine.phase(), EnginePhase::Backoff { .. }));
}

#[test]
fn backoff_doubles_with_jitter_up_to_its_cap() {
    let mut machine = Machine::with(|(_, timings)| timings.crashes = 20);
    let mut waits = Vec::new();
    for _ in 0..12 {
        machine.launch();
        machine.crash();
        waits.push(machine.wait());
    }
    for (crash, wait) in waits.iter().enumerate() {
        let full = Duration::from_secs((1 << crash).min(300));
        assert!((full * 3 / 4..=full * 5 / 4).contains(wait), "crash {crash} waits {wait:?}");
    }
    assert!(waits.iter().any(|wait| wait.subsec_millis() != 0), "there is jitter");
}

#[test]
fn three_crashes_in_a_row_are_a_failure() {
    let mut machine = Machine::new();
    for _ in 0..2 {
        machine.become_ready();
        machine.pass(Duration::from_secs(59));
        machine.crash();
        assert!(matches!(machine.phase(), EnginePhase::Backoff { .. }));
    }
    machine.launch();
    assert_eq!(machine.on(exit("exit status: 1")), Some(Action::Kill));
    let failed = EnginePhase::Failed {
        class: FailureClass::Transient,
        reason: "3 crashes in a row, the last: exit status: 1".to_owned(),
    };
    assert_eq!(machine.phase(), failed, "placement hears of it before the group is empty");
    machine.on(Event::GroupGone);
    assert_eq!(machine.phase(), failed);
    assert_eq!(machine.lifecycle.wake(), None);
}

#[test]
fn a_minute_of_service_forgives_the_crashes_before() {
    let mut machine = Machine::new();
    for _ in 0..10 {
        machine.become_ready();
        machine.pass(Duration::from_secs(60));
        machine.crash();
        assert_eq!(machine.lifecycle.crashes(), 1);
    }
}

#[test]
fn what_would_happen_again_is_not_tried_again() {
    let mut machine = Machine::new();
    machine.launch();
    assert_eq!(machine.on(Event::Exited(permanent("no such flag"))), Some(Action::Kill));
    machine.on(Event::GroupGone);
    assert_eq!(machine.phase(), EnginePhase::Failed { class: FailureClass::Config, reason: "no such flag".to_owned() });

    let mut machine = Machine::ready();
    assert_eq!(machine.on(Event::Exited(permanent("no such flag"))), Some(Action::Kill));
    assert!(matches!(machine.phase(), EnginePhase::Backoff { .. }), "it has served with that flag");

    let mut machine = Machine::new();
    machine.begin();
    assert_eq!(machine.on(Event::LaunchFailed(permanent("no such program"))), None);
    assert_eq!(
        machine.phase(),
        EnginePhase::Failed { class: FailureClass::Config, reason: "no such program".to_owned() }
    );
}

#[test]
fn a_launch_that_fails_for_now_is_tried_again() {
    let mut machine = Machine::new();
    for crash in 1..=3 {
        machine.begin();
        machine.on(Event::LaunchFailed(Crash::transient("out of memory".to_owned())));
        assert_eq!(machine.lifecycle.crashes(), crash);
    }
    assert!(matches!(machine.phase(), EnginePhase::Failed { .. }));
}

#[test]
fn stopping_is_sigterm_then_sigkill_until_the_group_is_empty() {
    let mut machine = Machine::ready();
    assert_eq!(machine.on(Event::Stop), Some(Action::Terminate));
    assert_eq!(machine.phase(), EnginePhase::Stopping);
    assert_eq!(machine.wait(), Duration::from_secs(5));
    assert_eq!(machine.tick(), Some(Action::Kill));
    assert_eq!(machine.tick(), Some(Action::Kill));
    assert_eq!(machine.on(Event::GroupGone), None);
    assert_eq!(machine.lifecycle.phase(), None);
}

#[test]
fn children_that_outlive_a_stopping_leader_are_killed_at_once() {
    let mut machine = Machine::ready();
    machine.on(Event::Stop);
    assert_eq!(machine.on(exit("exit status: 0")), Some(Action::Kill));
    assert_eq!(machine.phase(), EnginePhase::Stopping, "asked for, so not a crash");
}

#[test]
fn what_has_no_process_stops_at_once_and_what_is_cleared_when_it_is_empty() {
    let mut failed = Machine::new();
    failed.begin();
    failed.on(Event::LaunchFailed(permanent("no such program")));
    let mut backoff = Machine::ready();
    backoff.crash();
    for mut machine in [Machine::new(), failed, backoff] {
        assert_eq!(machine.on(Event::Stop), None);
        assert_eq!(machine.lifecycle.phase(), None);
    }
    let mut clearing = Machine::ready();
    clearing.on(exit("dead"));
    assert_eq!(clearing.on(Event::Stop), None);
    assert_eq!(clearing.phase(), EnginePhase::Stopping);
    assert_eq!(clearing.tick(), Some(Action::Kill));
    clearing.on(Event::GroupGone);
    assert_eq!(clearing.lifecycle.phase(), None);
}

#[test]
fn a_fault_of_a_gpu_is_to_blame_for_what_crashed_with_it() {
    let gpu = |reason: &str| EnginePhase::Failed { class: FailureClass::Gpu, reason: reason.to_owned() };
    let mut machine = Machine::with(|(_, timings)| timings.crashes = 1);
    machine.launch();
    machine.on(Event::Exited(permanent("no such flag")));
    for _ in 0..2 {
        machine.lifecycle.blame("Xid 79 of GPU-a");
    }
    let reason = "1 crashes in a row, the last: its GPU failed: Xid 79 of GPU-a; no such flag";
    assert_eq!(machine.phase(), gpu(reason));
    machine.on(Event::GroupGone);
    machine.lifecycle.blame("Xid 94 of GPU-a");
    assert_eq!(machine.phase(), gpu(reason));

    let mut serving = Machine::ready();
    serving.lifecycle.blame("Xid 94 of GPU-a");
    assert_eq!(serving.phase(), EnginePhase::Ready);
}

#[test]
fn an_engine_whose_gpu_failed_is_started_again_although_it_answers() {
    let mut machine = Machine::ready();
    assert_eq!(machine.on(Event::GpuFault("Xid 94".to_owned())), Some(Action::Kill));
    assert_eq!(machine.phase(), EnginePhase::Backoff { reason: "its GPU failed: Xid 94".to_owned() });
    machine.on(Event::GroupGone);
    assert_eq!(machine.on(Event::GpuFault("Xid 94".to_owned())), None, "nothing runs");
    machine.launch();
}

#[test]
fn what_served_an_earlier_daemon_is_not_configured_wrongly_either() {
    for adopted in [Adopted::Served, Adopted::Asleep] {
        let mut machine = Machine::new();
        let (profile, timings) = (machine.lifecycle.profile.clone(), machine.lifecycle.timings.clone());
        machine.lifecycle = Lifecycle::adopted(machine.now, profile, timings, adopted);
        assert!(machine.lifecycle.has_served());
        assert_eq!(machine.on(Event::Exited(permanent("out of GPU memory"))), Some(Action::Kill));
        assert_eq!(machine.phase(), EnginePhase::Backoff { reason: "out of GPU memory".to_owned() });
        machine.on(Event::GroupGone);
        machine.launch();
        assert!(!machine.lifecycle.has_served(), "the next launch has to prove itself");
    }
}

#[test]
fn what_does_not_wake_up_for_long_is_not_configured_wrongly_either() {
    let mut machine = Machine::asleep();
    machine.on(Event::Wake);
    assert_eq!(machine.on(Event::Woken(Ok(()))), Some(Action::Warm));
    machine.on(Event::Exited(permanent("out of GPU memory")));
    assert_eq!(machine.phase(), EnginePhase::Backoff { reason: "out of GPU memory".to_owned() });
}
