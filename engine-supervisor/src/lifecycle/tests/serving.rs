use super::*;

#[test]
fn three_misses_in_a_row_are_a_crash_and_two_are_not() {
    let mut machine = Machine::ready();
    for _ in 0..5 {
        for answer in [no_health(), no_health(), pulse(1.0)] {
            assert_eq!(machine.tick(), Some(Action::Watch));
            assert_eq!(machine.on(answer), None);
        }
    }
    for _ in 0..2 {
        machine.tick();
        assert_eq!(machine.on(no_health()), None);
    }
    machine.tick();
    assert_eq!(machine.on(no_health()), Some(Action::Kill), "the hung group is killed");
    assert!(matches!(machine.phase(), EnginePhase::Backoff { reason } if reason.contains("refused")));
}

#[test]
fn an_engine_that_hangs_behind_its_health_is_killed() {
    let mut machine = Machine::ready();
    let mut asked = None;
    for second in 0..20 {
        assert_eq!(machine.tick(), Some(Action::Watch));
        if machine.on(pulse(5.0)) == Some(Action::AskCanary) {
            asked = asked.or(Some(second));
        }
    }
    assert_eq!(asked, Some(15));
    assert_eq!(machine.on(Event::Canary(Err(CanaryError::Silent))), Some(Action::Kill));
    assert!(matches!(machine.phase(), EnginePhase::Backoff { reason } if reason.contains("it hangs")));
}

#[test]
fn one_that_answers_its_canary_serves_on() {
    let mut machine = Machine::ready();
    let mut canaries = 0;
    for _ in 0..600 {
        assert_eq!(machine.tick(), Some(Action::Watch));
        if machine.on(pulse(5.0)) == Some(Action::AskCanary) {
            canaries += 1;
            assert_eq!(machine.on(Event::Canary(Ok(()))), None);
        }
    }
    assert_eq!((machine.phase(), canaries), (EnginePhase::Ready, 39));
}

#[test]
fn a_replica_falls_asleep_and_wakes_to_serve() {
    let mut machine = Machine::asleep();
    for _ in 0..100 {
        assert_eq!(machine.tick(), Some(Action::CheckAsleep));
        assert_eq!(machine.on(Event::Slept(Ok(()))), None);
    }
    assert_eq!(machine.on(Event::Sleep), None);
    assert_eq!(machine.on(Event::Wake), Some(Action::WakeUp));
    assert_eq!(machine.phase(), EnginePhase::Warming);
    assert_eq!(machine.on(Event::Slept(Err("an answer from before".to_owned()))), None);
    assert_eq!(machine.on(Event::Woken(Ok(()))), Some(Action::Warm));
    assert_eq!(machine.on(Event::Warmed(Ok(()))), None);
    assert_eq!(machine.phase(), EnginePhase::Ready);
    assert_eq!(machine.lifecycle.crashes(), 0);
}

#[test]
fn a_replica_that_is_wanted_again_while_it_falls_asleep_is_woken() {
    let mut machine = Machine::sleeper();
    machine.on(Event::Sleep);
    assert_eq!(machine.phase(), EnginePhase::Asleep, "it takes nothing from now on");
    assert_eq!(machine.on(Event::Wake), None);
    assert_eq!(machine.on(Event::Slept(Ok(()))), Some(Action::WakeUp));

    let mut machine = Machine::sleeper();
    for event in [Event::Sleep, Event::Wake, Event::Sleep] {
        machine.on(event);
    }
    assert_eq!(machine.on(Event::Slept(Ok(()))), None);
    assert_eq!(machine.phase(), EnginePhase::Asleep);
}

#[test]
fn what_does_not_fall_asleep_is_stopped_and_what_does_not_wake_up_is_started_again() {
    let mut machine = Machine::sleeper();
    machine.on(Event::Sleep);
    assert_eq!(machine.on(Event::Slept(Err("404".to_owned()))), Some(Action::Terminate));
    assert_eq!(machine.phase(), EnginePhase::Stopping);

    let mut machine = Machine::asleep();
    machine.on(Event::Wake);
    assert_eq!(machine.on(Event::Woken(Err("CUDA out of memory".to_owned()))), Some(Action::Kill));
    let reason = "it did not wake up: CUDA out of memory".to_owned();
    assert_eq!(machine.phase(), EnginePhase::Backoff { reason });
}

#[test]
fn a_sleeper_ends_when_its_time_is_over_or_it_is_ill_or_gone() {
    let mut machine = Machine::asleep();
    machine.pass(KEEP);
    assert_eq!(machine.on(Event::Tick), Some(Action::Terminate));

    let mut machine = Machine::asleep();
    for miss in 1..=3 {
        assert_eq!(machine.tick(), Some(Action::CheckAsleep));
        let action = machine.on(Event::Slept(Err("503".to_owned())));
        assert_eq!(action, (miss == 3).then_some(Action::Terminate));
    }

    let mut machine = Machine::asleep();
    assert_eq!(machine.on(exit("exit status: 0")), Some(Action::Kill));
    assert_eq!(machine.phase(), EnginePhase::Stopping, "nobody needs it now");
    machine.on(Event::GroupGone);
    assert_eq!(machine.lifecycle.phase(), None);
}

#[test]
fn what_cannot_sleep_or_is_not_ready_is_stopped_instead() {
    assert_eq!(Machine::ready().on(Event::Sleep), Some(Action::Terminate));
    let mut starting = Machine::with(|(profile, _)| profile.sleeps = Some(KEEP));
    starting.launch();
    assert_eq!(starting.on(Event::Sleep), Some(Action::Terminate));
    assert_eq!(Machine::new().on(Event::Wake), None);
    assert_eq!(Machine::ready().on(Event::Wake), None);
}

#[test]
fn crashes_from_before_a_long_service_do_not_count_after_a_sleep() {
    let mut machine = Machine::with(|(profile, _)| profile.sleeps = Some(KEEP));
    for _ in 0..2 {
        machine.launch();
        machine.crash();
    }
    machine.become_ready();
    machine.pass(Duration::from_secs(3600));
    machine.on(Event::Sleep);
    machine.on(Event::Slept(Ok(())));
    machine.on(Event::Wake);
    assert_eq!(machine.on(Event::Woken(Err("answers 500".to_owned()))), Some(Action::Kill));
    assert_eq!(machine.lifecycle.crashes(), 1);
    assert!(matches!(machine.phase(), EnginePhase::Backoff { .. }), "it is started again");
}
