mod ending;
mod serving;
mod starting;

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

    fn with(change: impl FnOnce(&mut (Profile, Timings))) -> Self {
        let profile = Profile { start: Duration::from_secs(100), prepares: false, sleeps: None, seed: 7 };
        let mut both = (profile, Timings::default());
        change(&mut both);
        let now = Instant::now();
        Self { lifecycle: Lifecycle::new(now, both.0, both.1), now }
    }

    /// One that can sleep, and serves.
    fn sleeper() -> Self {
        let mut machine = Self::with(|(profile, _)| profile.sleeps = Some(KEEP));
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
