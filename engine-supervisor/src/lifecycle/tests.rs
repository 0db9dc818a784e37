use shoal_types::ProgressUnit;

use super::*;

const KEEP: Duration = Duration::from_secs(1800);

/// A lifecycle and a clock that only this test moves.
struct Machine {
    lifecycle: Lifecycle,
    now: Instant,
}

impl Machine {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut (Traits, Timings))) -> Self {
        let traits = Traits { start: Duration::from_secs(100), prepares: false, sleeps: None, seed: 7 };
        let mut both = (traits, Timings::default());
        change(&mut both);
        let now = Instant::now();
        Self { lifecycle: Lifecycle::new(now, both.0, both.1), now }
    }

    /// One that can sleep, and serves.
    fn sleeper() -> Self {
        let mut machine = Self::with(|(traits, _)| traits.sleeps = Some(KEEP));
        machine.become_ready();
        machine
    }

    fn asleep() -> Self {
        let mut machine = Self::sleeper();
        assert_eq!(machine.on(Event::Sleep), Some(Action::FallAsleep));
        assert_eq!(machine.on(Event::Slept(Ok(()))), None);
        assert_eq!(machine.phase(), EnginePhase::Asleep);
        machine
    }

    fn on(&mut self, event: Event) -> Option<Action> {
        self.lifecycle.step(event, self.now)
    }

    /// Ticks at the time that the machine asked for.
    fn tick(&mut self) -> Option<Action> {
        self.now = self.lifecycle.wake().expect("it waits for a time").max(self.now);
        self.on(Event::Tick)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn phase(&self) -> EnginePhase {
        self.lifecycle.phase().expect("it is not gone")
    }

    /// Ticks, and finds the GPUs free.
    fn begin(&mut self) {
        assert_eq!(self.tick(), Some(Action::CheckGpus));
        assert_eq!(self.on(Event::Gpus(GpuUse::Free)), Some(Action::Launch));
    }

    fn launch(&mut self) {
        self.begin();
        assert_eq!(self.on(Event::Launched), None);
        assert_eq!(self.tick(), Some(Action::Check));
    }

    fn ready() -> Self {
        let mut machine = Self::new();
        machine.become_ready();
        machine
    }

    fn become_ready(&mut self) {
        self.launch();
        assert_eq!(self.on(Event::Checked(Ok(()))), Some(Action::Warm));
        assert_eq!(self.on(Event::Warmed(Ok(()))), None);
        assert_eq!(self.phase(), EnginePhase::Ready);
    }

    /// A crash and the end of its group.
    fn crash(&mut self) {
        assert_eq!(self.on(exit("signal 9")), Some(Action::Kill));
        assert_eq!(self.on(Event::GroupGone), None);
    }

    fn wait(&self) -> Duration {
        self.lifecycle.wake().expect("it waits for a time") - self.now
    }
}

fn exit(reason: &str) -> Event {
    Event::Exited(Crash::transient(reason.to_owned()))
}

fn permanent(reason: &str) -> Crash {
    Crash::config(reason.to_owned())
}

fn no_health() -> Event {
    Event::Watched(Err("refused".to_owned()))
}

fn pulse(progress: f64) -> Event {
    Event::Watched(Ok(Pulse { progress: Some(progress), ..Pulse::default() }))
}

fn no() -> Event {
    Event::Checked(Err("refused".to_owned()))
}

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
fn what_is_missing_is_prepared_before_each_launch() {
    let mut machine = Machine::with(|(traits, _)| traits.prepares = true);
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

    let mut machine = Machine::with(|(traits, _)| traits.prepares = true);
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
    let mut starting = Machine::with(|(traits, _)| traits.sleeps = Some(KEEP));
    starting.launch();
    assert_eq!(starting.on(Event::Sleep), Some(Action::Terminate));
    assert_eq!(Machine::new().on(Event::Wake), None);
    assert_eq!(Machine::ready().on(Event::Wake), None);
}
