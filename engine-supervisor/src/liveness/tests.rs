use shoal_types::Load;

use super::*;

/// An engine that is looked at once a second.
struct Engine {
    liveness: Liveness,
    now: Instant,
}

impl Engine {
    fn new() -> Self {
        let now = Instant::now();
        Self { liveness: Liveness::new(now, &Timings::default()), now }
    }

    fn second(&mut self, progress: Option<f64>) -> Verdict {
        self.now += Duration::from_secs(1);
        let load = Load { running: Some(3), waiting: Some(8), ..Load::default() };
        self.liveness.observe(Pulse { load, progress }, self.now)
    }

    /// Seconds until it is asked for a token, while its counter stands still.
    fn asked_after(&mut self, progress: Option<f64>) -> u32 {
        (1..1000).find(|_| self.second(progress) == Verdict::Ask).expect("it is asked some time")
    }

    fn answers(&mut self, answer: Result<(), CanaryError>) -> Verdict {
        self.liveness.canary(answer, self.now)
    }
}

fn wrong() -> Result<(), CanaryError> {
    Err(CanaryError::Wrong("answers 500".to_owned()))
}

fn busy() -> Result<(), CanaryError> {
    Err(CanaryError::Busy("answers 503".to_owned()))
}

#[test]
fn an_engine_whose_tokens_move_is_never_asked() {
    let mut engine = Engine::new();
    for second in 0..10_000 {
        // Slow, but once in fourteen seconds is enough.
        assert_eq!(engine.second(Some(f64::from(second / 14))), Verdict::Fine, "after {second} s");
    }
}

#[test]
fn an_idle_engine_is_asked_now_and_then_and_lives_by_its_answer() {
    let mut engine = Engine::new();
    for _ in 0..100 {
        assert_eq!(engine.asked_after(Some(7.0)), 15);
        assert_eq!(engine.second(Some(7.0)), Verdict::Fine, "one canary at a time");
        assert_eq!(engine.answers(Ok(())), Verdict::Fine);
    }
}

#[test]
fn an_engine_that_answers_health_and_makes_no_token_is_dead() {
    let mut engine = Engine::new();
    engine.asked_after(Some(7.0));
    for _ in 0..30 {
        assert_eq!(engine.second(Some(7.0)), Verdict::Fine);
    }
    let Verdict::Dead(reason) = engine.answers(Err(CanaryError::Silent)) else { panic!("it hangs") };
    let expected = "it hangs: no token for 45 s, and one alone is not made within 30 s (3 requests running, 8 waiting)";
    assert_eq!(reason, expected);
}

#[test]
fn a_canary_that_only_queues_kills_nobody() {
    let mut engine = Engine::new();
    engine.asked_after(Some(7.0));
    assert_eq!(engine.second(Some(8.0)), Verdict::Fine);
    assert_eq!(engine.answers(Err(CanaryError::Silent)), Verdict::Fine);
    assert_eq!(engine.asked_after(Some(8.0)), 15, "and it has all its time again");
}

#[test]
fn a_counter_that_starts_anew_has_moved_and_one_that_is_not_told_has_not() {
    let mut engine = Engine::new();
    for _ in 0..14 {
        engine.second(Some(7.0));
    }
    assert_eq!(engine.second(Some(0.0)), Verdict::Fine);
    assert_eq!(engine.second(None), Verdict::Fine);
    assert_eq!(engine.asked_after(Some(0.0)), 14);
}

#[test]
fn answers_that_go_wrong_three_times_in_a_row_are_the_end() {
    let mut engine = Engine::new();
    engine.asked_after(Some(7.0));
    for _ in 0..2 {
        assert_eq!(engine.answers(wrong()), Verdict::Fine);
        assert_eq!(engine.second(Some(7.0)), Verdict::Ask, "asked again at once");
    }
    assert!(matches!(engine.answers(busy()), Verdict::Dead(reason) if reason.contains("503")), "full, and stuck");

    let mut engine = Engine::new();
    engine.asked_after(Some(7.0));
    assert_eq!(engine.answers(wrong()), Verdict::Fine);
    for _ in 0..5 {
        engine.asked_after(Some(7.0));
        assert_eq!(engine.answers(Ok(())), Verdict::Fine);
        engine.asked_after(Some(7.0));
        assert_eq!(engine.answers(wrong()), Verdict::Fine, "not in a row");
    }
}

#[test]
fn an_engine_that_does_not_tell_of_its_tokens_gets_the_benefit_of_the_doubt() {
    let mut engine = Engine::new();
    for _ in 0..2 {
        engine.asked_after(None);
        assert_eq!(engine.answers(Err(CanaryError::Silent)), Verdict::Fine, "its queue may be long");
    }
    for _ in 0..10 {
        engine.asked_after(None);
        assert_eq!(engine.answers(busy()), Verdict::Fine, "who says so lives");
    }
    for miss in 0..3 {
        engine.asked_after(None);
        let verdict = engine.answers(Err(CanaryError::Silent));
        assert_eq!(matches!(verdict, Verdict::Dead(_)), miss == 2, "{verdict:?}");
    }
}

#[test]
fn an_engine_that_tells_of_its_tokens_no_longer_gets_the_same_benefit() {
    let mut engine = Engine::new();
    engine.second(Some(7.0));
    engine.asked_after(None);
    assert_eq!(engine.answers(Err(CanaryError::Silent)), Verdict::Fine, "tokens may move unseen");
    engine.asked_after(Some(7.0));
    assert!(matches!(engine.answers(Err(CanaryError::Silent)), Verdict::Dead(_)), "it tells again that they do not");
}
