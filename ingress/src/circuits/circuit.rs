//! One circuit breaker. Pure: time and randomness are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// Soft failures one after the other that open a circuit: one may be the request's own, three are not.
const FAILURES: u32 = 3;
/// The time over which the share of failures is taken, and the fewest attempts that it is taken of.
const WINDOW: Duration = Duration::from_secs(10);
const ATTEMPTS_MIN: u32 = 10;
/// Open for so long the first time, twice as long each further time that a probe fails, and never longer than the last:
/// gossip tells of what is gone for good within a few seconds, a restart takes longer.
const OPEN_FIRST: Duration = Duration::from_secs(1);
const OPEN_MAX: Duration = Duration::from_secs(30);
/// After so long without an outcome of a probe, another one is made: its client may have given it up.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// A closed circuit is forgotten after so long without a failure.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// How sure a failure is a sign of more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// The next request would fail as well: nobody is there, or it says that it does not serve.
    Hard,
    /// It may have been this request only.
    Soft,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// Nothing goes there before `until`; then one request may.
    Open {
        until: Instant,
    },
    /// That one is under way.
    HalfOpen {
        since: Instant,
    },
}

/// What is known of one replica or node.
#[derive(Debug, Clone)]
pub(super) struct Circuit {
    state: State,
    /// How often it has opened since it was last closed.
    openings: u32,
    /// Failures since the last success.
    in_a_row: u32,
    window: Instant,
    attempts: u32,
    failures: u32,
    last_failure: Instant,
}

impl Circuit {
    /// A closed one.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            openings: 0,
            in_a_row: 0,
            window: now,
            attempts: 0,
            failures: 0,
            last_failure: now,
        }
    }

    /// Whether a request may go there at `now`.
    pub(super) fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } => now >= until,
            State::HalfOpen { since } => now >= since + PROBE_PATIENCE,
        }
    }

    /// A request goes there at `now`; if the circuit is not closed, it is the probe.
    pub(super) const fn probe(&mut self, now: Instant) {
        match self.state {
            State::Closed => {}
            State::Open { .. } | State::HalfOpen { .. } => self.state = State::HalfOpen { since: now },
        }
    }

    /// A request failed there at `now`.
    pub(super) fn failed(&mut self, blow: Blow, now: Instant, random: u8) {
        self.count(now);
        self.failures += 1;
        self.in_a_row += 1;
        self.last_failure = now;
        match self.state {
            State::Closed if blow == Blow::Hard || self.is_over_limit() => self.open(now, random),
            State::HalfOpen { .. } => self.open(now, random),
            // What was sent before it opened tells nothing new.
            State::Closed | State::Open { .. } => {}
        }
    }

    /// A request was answered from there at `now`.
    pub(super) fn succeeded(&mut self, now: Instant) {
        if self.state != State::Closed {
            *self = Self { last_failure: self.last_failure, ..Self::new(now) };
        }
        self.count(now);
        self.in_a_row = 0;
    }

    /// Whether there is nothing left to know at `now`.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.state == State::Closed && now >= self.last_failure + FORGET_AFTER
    }

    fn count(&mut self, now: Instant) {
        if now >= self.window + WINDOW {
            (self.window, self.attempts, self.failures) = (now, 0, 0);
        }
        self.attempts += 1;
    }

    const fn is_over_limit(&self) -> bool {
        self.in_a_row >= FAILURES || self.attempts >= ATTEMPTS_MIN && self.failures * 2 >= self.attempts
    }

    /// Open for the time that is due, give or take an eighth of it, by `random`: replicas that failed together are not
    /// asked again together.
    fn open(&mut self, now: Instant, random: u8) {
        let due = OPEN_FIRST.saturating_mul(1 << self.openings.min(5)).min(OPEN_MAX);
        let due = due.mul_f64(0.875 + f64::from(random) / 1024.0).min(OPEN_MAX);
        self.openings = self.openings.saturating_add(1);
        self.state = State::Open { until: now + due };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long it is closed to requests from `now` on, to the second.
    fn shut_for(circuit: &Circuit, now: Instant) -> u64 {
        (0..1000).find(|&seconds| circuit.admits(now + SECOND * u32::try_from(seconds).unwrap())).unwrap()
    }

    #[tokio::test]
    async fn a_hard_failure_opens_at_once_and_longer_each_time() {
        let mut now = Instant::now();
        let mut circuit = Circuit::new(now);
        let mut shut = Vec::new();
        for _ in 0..8 {
            circuit.failed(Blow::Hard, now, 128);
            shut.push(shut_for(&circuit, now));
            now += SECOND * 31;
            circuit.probe(now);
        }
        assert_eq!(shut, [1, 2, 4, 8, 16, 30, 30, 30]);
        circuit.succeeded(now);
        assert!(circuit.admits(now));
        circuit.failed(Blow::Hard, now, 128);
        assert_eq!(shut_for(&circuit, now), 1, "a success starts over");
    }

    #[tokio::test]
    async fn soft_failures_open_in_a_row_or_where_they_are_half_of_many() {
        let now = Instant::now();
        let mut row = Circuit::new(now);
        let opened = [(); 3].map(|()| {
            row.failed(Blow::Soft, now, 0);
            !row.admits(now)
        });
        assert_eq!(opened, [false, false, true]);
        let mut rate = Circuit::new(now);
        for _ in 0..4 {
            rate.failed(Blow::Soft, now, 0);
            rate.succeeded(now);
        }
        rate.failed(Blow::Soft, now, 0);
        assert!(rate.admits(now), "nine attempts say too little");
        rate.failed(Blow::Soft, now, 0);
        assert!(!rate.admits(now));
    }

    #[tokio::test]
    async fn a_probe_without_an_outcome_is_not_waited_for_for_ever() {
        let now = Instant::now();
        let mut circuit = Circuit::new(now);
        circuit.failed(Blow::Hard, now, 0);
        let later = now + SECOND;
        circuit.probe(later);
        assert!(!circuit.admits(later) && circuit.admits(later + PROBE_PATIENCE));
        // What was sent before it opened does not make it wait longer.
        let mut open = Circuit::new(now);
        open.failed(Blow::Hard, now, 0);
        (0..10).for_each(|_| open.failed(Blow::Hard, now, 0));
        assert_eq!(shut_for(&open, now), 1);
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Ask,
        Fail(Blow, u8),
        Succeed,
        Wait(u16),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            Just(Event::Ask),
            (prop_oneof![Just(Blow::Hard), Just(Blow::Soft)], any::<u8>())
                .prop_map(|(blow, random)| Event::Fail(blow, random)),
            Just(Event::Succeed),
            (0..20_000_u16).prop_map(Event::Wait),
        ];
        prop::collection::vec(event, 0..100)
    }

    proptest! {
        /// Rule 9: whatever happens, nothing is shut out for longer than the longest time, a success opens the way at
        /// once, and after a probe nobody else gets through.
        #[test]
        fn rule_9_no_replica_is_shut_out_for_ever(events in events()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _guard = runtime.enter();
            let mut now = Instant::now();
            let mut circuit = Circuit::new(now);
            for event in events {
                match event {
                    Event::Ask if circuit.admits(now) => {
                        let was_closed = circuit.state == State::Closed;
                        circuit.probe(now);
                        prop_assert_eq!(circuit.admits(now), was_closed);
                    }
                    Event::Ask => {}
                    Event::Fail(blow, random) => circuit.failed(blow, now, random),
                    Event::Succeed => {
                        circuit.succeeded(now);
                        prop_assert!(circuit.admits(now));
                    }
                    Event::Wait(millis) => now += Duration::from_millis(millis.into()),
                }
                prop_assert!(circuit.admits(now + OPEN_MAX));
                prop_assert!(!circuit.is_forgotten(now) || circuit.admits(now));
            }
        }
    }
}
