use shoal_types::ProgressUnit;

use super::*;

#[test]
fn an_engine_is_ready_after_health_name_and_first_token() {
    let mut machine = Machine::new();
    assert_eq!(machine.phase(), EnginePhase::Starting);
    machine.launch();
    assert_eq!(machine.on(no()), None);
    assert_eq!(machine.phase(), EnginePhase::Starting);
    assert_eq!(machine.tick(), Some(Action::Check));
    assert_eq!(machine.on(Event::Checked(Ok(()))), Some(Action::Warm));
    assert_eq!(machine.phase(), EnginePhase::Warming);
    assert_eq!(machine.on(Event::Warmed(Err("500".to_owned()))), None);
    assert_eq!(machine.phase(), EnginePhase::Warming, "one bad answer is not the end of warming");
    assert_eq!(machine.tick(), Some(Action::Warm));
    assert_eq!(machine.on(Event::Warmed(Ok(()))), None);
    assert_eq!(machine.phase(), EnginePhase::Ready);
    assert_eq!(machine.tick(), Some(Action::Watch));
}

#[test]
fn only_one_question_is_open_at_a_time() {
    let mut machine = Machine::new();
    machine.launch();
    machine.pass(Duration::from_secs(10));
    assert_eq!(machine.on(Event::Tick), None, "the first has no answer yet");
}

#[test]
fn the_start_deadline_holds_for_loading_and_warming_together() {
    let mut machine = Machine::new();
    machine.launch();
    machine.pass(Duration::from_secs(60));
    assert_eq!(machine.on(Event::Checked(Ok(()))), Some(Action::Warm));
    assert_eq!(machine.on(Event::Warmed(Err("no chat template".to_owned()))), None);
    assert_eq!(machine.tick(), Some(Action::Warm));
    machine.pass(Duration::from_secs(37));
    assert_eq!(machine.on(Event::Tick), None);
    assert_eq!(machine.tick(), Some(Action::Kill));
    let EnginePhase::Backoff { reason } = machine.phase() else { panic!("it crashed") };
    assert!(reason.contains("100s") && reason.contains("no chat template"), "{reason}");
}

#[test]
fn an_engine_that_answers_and_makes_no_token_is_given_up_long_before_its_start_would_be_over() {
    let mut machine = Machine::with(|(profile, _)| profile.start = Duration::from_secs(1800));
    machine.launch();
    assert_eq!(machine.on(Event::Checked(Ok(()))), Some(Action::Warm));
    machine.pass(Duration::from_secs(149));
    assert_eq!(machine.on(Event::Tick), None);
    assert_eq!(machine.tick(), Some(Action::Kill));
    let EnginePhase::Backoff { reason } = machine.phase() else { panic!("it crashed") };
    assert!(reason.contains("no token within 150s"), "{reason}");
}

#[test]
fn what_is_missing_is_prepared_before_each_launch() {
    let mut machine = Machine::with(|(profile, _)| profile.prepares = true);
    for _ in 0..2 {
        assert_eq!(machine.tick(), Some(Action::Prepare));
        let progress = Some(Progress { done: 1, total: 9, unit: ProgressUnit::Bytes });
        assert_eq!(machine.on(Event::Progressed(progress)), None);
        assert_eq!(machine.phase(), EnginePhase::Preparing(progress));
        assert_eq!(machine.lifecycle.wake(), None, "it takes as long as it takes");
        assert_eq!(machine.on(Event::Prepared(Ok(()))), Some(Action::CheckGpus));
        assert_eq!(machine.on(Event::Gpus(GpuUse::Free)), Some(Action::Launch));
        machine.on(Event::Launched);
        machine.crash();
    }
    assert_eq!(machine.tick(), Some(Action::Prepare));
    assert_eq!(machine.on(Event::Prepared(Err(permanent("no such model")))), None);
    let failed = EnginePhase::Failed { class: FailureClass::Config, reason: "no such model".to_owned() };
    assert_eq!(machine.phase(), failed);

    let mut machine = Machine::with(|(profile, _)| profile.prepares = true);
    machine.tick();
    assert_eq!(machine.on(Event::Prepared(Err(Crash::transient("the hub is down".to_owned())))), None);
    assert_eq!(machine.phase(), EnginePhase::Backoff { reason: "the hub is down".to_owned() });
    machine.tick();
    assert_eq!(machine.on(Event::Stop), None);
    assert_eq!(machine.lifecycle.phase(), None);
}

#[test]
fn nothing_is_launched_on_gpus_that_are_held_or_unknown() {
    let mut machine = Machine::new();
    assert_eq!(machine.tick(), Some(Action::CheckGpus));
    let backoff = |reason: &str| EnginePhase::Backoff { reason: reason.to_owned() };
    for (gpus, reason) in [
        (GpuUse::Held(vec![4711]), "its GPUs are held by process 4711 outside it"),
        (GpuUse::Unknown, "the driver does not say whether its GPUs are free"),
        (GpuUse::Held(vec![1, 2]), "its GPUs are held by processes 1, 2 outside it"),
    ] {
        assert_eq!(machine.on(Event::Gpus(gpus)), None);
        assert_eq!(machine.phase(), backoff(reason));
        assert_eq!(machine.wait(), Duration::from_secs(1));
        assert_eq!(machine.tick(), Some(Action::CheckGpus));
    }
    assert_eq!(machine.on(Event::Gpus(GpuUse::Free)), Some(Action::Launch));
    assert_eq!(machine.lifecycle.crashes(), 0, "nothing of it has crashed");
}

#[test]
fn gpus_that_stay_held_are_a_failure_that_names_who_holds_them() {
    let mut machine = Machine::ready();
    machine.crash();
    let mut looks = 0;
    while !matches!(machine.phase(), EnginePhase::Failed { .. }) {
        assert_eq!(machine.tick(), Some(Action::CheckGpus));
        assert_eq!(machine.on(Event::Gpus(GpuUse::Held(vec![4711]))), None);
        looks += 1;
    }
    assert_eq!(looks, 121);
    let reason = "its GPUs are held by process 4711 outside it, for more than 120 s".to_owned();
    assert_eq!(machine.phase(), EnginePhase::Failed { class: FailureClass::Gpu, reason });
}

#[test]
fn what_a_starting_engine_says_is_how_far_it_is() {
    let mut machine = Machine::new();
    machine.launch();
    let shards = Some(Progress { done: 3, total: 8, unit: ProgressUnit::Shards });
    for (said, phase) in [
        (Stage::Loading(None), EnginePhase::Loading(None)),
        (Stage::Loading(shards), EnginePhase::Loading(shards)),
        (Stage::Warming, EnginePhase::Warming),
        (Stage::Loading(None), EnginePhase::Warming),
    ] {
        assert_eq!(machine.on(Event::Said(said)), None);
        assert_eq!(machine.phase(), phase);
    }
    assert_eq!(machine.on(Event::Checked(Ok(()))), Some(Action::Warm));
    assert_eq!(machine.on(Event::Said(Stage::Loading(None))), None);
    assert_eq!(machine.phase(), EnginePhase::Warming);
    machine.crash();
    machine.launch();
    assert_eq!(machine.phase(), EnginePhase::Starting, "the next launch begins anew");
}
