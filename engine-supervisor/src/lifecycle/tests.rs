use super::*;

/// A lifecycle and a clock that only this test moves.
struct Machine {
    lifecycle: Lifecycle,
    now: Instant,
}

impl Machine {
    fn new() -> Self {
        let now = Instant::now();
        Self { lifecycle: Lifecycle::new(now, Duration::from_secs(100), Timings::default(), 7), now }
    }

    fn adopted(served: bool) -> Self {
        let now = Instant::now();
        let lifecycle = Lifecycle::adopted(now, Duration::from_secs(100), Timings::default(), 7, served);
        Self { lifecycle, now }
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

    fn launch(&mut self) {
        assert_eq!(self.tick(), Some(Action::Launch));
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
    Event::Exited(Crash { reason: reason.to_owned(), permanent: false })
}

fn permanent(reason: &str) -> Crash {
    Crash { reason: reason.to_owned(), permanent: true }
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
    assert_eq!(machine.tick(), Some(Action::Launch));
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
        for answer in [no(), no(), Event::Checked(Ok(()))] {
            assert_eq!(machine.tick(), Some(Action::Watch));
            assert_eq!(machine.on(answer), None);
        }
    }
    for _ in 0..2 {
        machine.tick();
        assert_eq!(machine.on(no()), None);
    }
    machine.tick();
    assert_eq!(machine.on(no()), Some(Action::Kill), "the hung group is killed");
    assert!(matches!(machine.phase(), EnginePhase::Backoff { reason } if reason.contains("refused")));
}

#[test]
fn backoff_doubles_with_jitter_up_to_its_cap() {
    let timings = Timings { crashes: 20, ..Timings::default() };
    let now = Instant::now();
    let mut machine = Machine { lifecycle: Lifecycle::new(now, Duration::from_secs(100), timings, 7), now };
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
    assert_eq!(machine.tick(), Some(Action::Launch));
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
        assert_eq!(machine.tick(), Some(Action::Launch));
        machine.on(Event::LaunchFailed(Crash { reason: "out of memory".to_owned(), permanent: false }));
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
    failed.tick();
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
fn an_engine_that_has_served_is_ready_for_the_next_daemon_as_soon_as_it_answers() {
    let mut machine = Machine::adopted(true);
    assert_eq!(machine.phase(), EnginePhase::Starting);
    assert_eq!(machine.on(Event::Tick), Some(Action::Check), "at once");
    assert_eq!(machine.on(Event::Checked(Ok(()))), None);
    assert_eq!(machine.phase(), EnginePhase::Ready);
    machine.crash();
    machine.launch();
    assert_eq!(machine.on(Event::Checked(Ok(()))), Some(Action::Warm), "the next process has not served");
}

#[test]
fn an_engine_that_was_loading_is_warmed_by_the_next_daemon() {
    let mut machine = Machine::adopted(false);
    assert_eq!(machine.on(Event::Tick), Some(Action::Check));
    assert_eq!(machine.on(Event::Checked(Ok(()))), Some(Action::Warm));
}

#[test]
fn an_adopted_engine_that_does_not_answer_is_a_crash_long_before_a_start_would_be() {
    let mut machine = Machine::adopted(true);
    let begun = machine.now;
    while machine.tick() == Some(Action::Check) {
        assert_eq!(machine.on(Event::Checked(Err("refused".to_owned()))), None);
    }
    assert_eq!(machine.now - begun, Duration::from_secs(9));
    let EnginePhase::Backoff { reason } = machine.phase() else { panic!("{:?}", machine.phase()) };
    assert!(reason.contains("took it over: refused"), "{reason}");
}
