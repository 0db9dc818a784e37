use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    choose::{Burden, Requests},
    head::Prompt,
};

fn known(load: u32) -> Candidate {
    Candidate { burden: Burden::Fresh(Requests { all: load, waiting: 0 }), ..Candidate::default() }
}

fn unknown() -> Candidate {
    Candidate { burden: Burden::Unknown(0), ..Candidate::default() }
}

fn of(revision: usize) -> Candidate {
    Candidate { revision, ..known(1) }
}

/// Each at its place, and with a key of its own.
fn placed(candidates: &[Candidate]) -> Vec<Candidate> {
    let placed = |(position, candidate): (usize, &Candidate)| Candidate {
        position,
        key: fold(position as u64, 77),
        ..*candidate
    };
    candidates.iter().enumerate().map(placed).collect()
}

fn dice(random: &mut StdRng) -> Dice {
    Dice::new(random.random(), 0)
}

fn by_load(candidates: &[Candidate], weights: &[u8], seed: u64) -> Option<usize> {
    let dice = dice(&mut StdRng::seed_from_u64(seed));
    choose(&Affinity::Load, &mut placed(candidates), weights, &dice).map(|choice| choice.position)
}

/// How often each candidate is chosen in 10,000 draws.
fn draws(candidates: &[Candidate]) -> Vec<u32> {
    weighted_draws(candidates, &[100])
}

fn weighted_draws(candidates: &[Candidate], weights: &[u8]) -> Vec<u32> {
    let mut random = StdRng::seed_from_u64(7);
    let mut counts = vec![0; candidates.len()];
    for _ in 0..10_000 {
        counts[by_load(candidates, weights, random.random()).unwrap()] += 1;
    }
    counts
}

/// A prompt of so many blocks, and who has how many of them.
struct Asked {
    affinity: Affinity,
    held: Vec<usize>,
}

impl Asked {
    fn new(number: u8, blocks: usize, held: &[usize]) -> Self {
        let body = char::from(b'a' + number).to_string().repeat(blocks * BLOCK);
        let prefix = Prefix::new(1, &Prompt::of_body(body.as_bytes())).unwrap();
        Self { affinity: Affinity::Prefix(prefix), held: held.to_vec() }
    }

    fn choice(&self, candidates: &[Candidate], seed: u64) -> Choice {
        let mut candidates = placed(candidates);
        for (candidate, &held) in candidates.iter_mut().zip(&self.held) {
            candidate.held = held;
        }
        choose(&self.affinity, &mut candidates, &[100], &dice(&mut StdRng::seed_from_u64(seed))).unwrap()
    }

    /// Who is chosen, whatever chance says, and why.
    fn always(&self, candidates: &[Candidate]) -> (usize, Reason) {
        let first = self.choice(candidates, 0);
        for seed in 1..100 {
            assert_eq!(self.choice(candidates, seed).position, first.position);
        }
        (first.position, first.reason)
    }
}

#[test]
fn the_less_loaded_gets_more_and_the_most_loaded_nothing() {
    let counts = draws(&[known(9), known(1), known(5), known(3)]);
    assert_eq!(counts[0], 0);
    assert!(counts[1] > counts[3] && counts[3] > counts[2] && counts[2] > 0, "{counts:?}");
}

#[test]
fn equal_ones_get_equal_shares() {
    let counts = draws(&[known(2); 5]);
    assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
}

/// Rule 1: unknown is never zero.
#[test]
fn rule_1_an_unknown_load_counts_as_the_mean() {
    assert_eq!(draws(&[unknown(), known(0), known(10)])[2], 0);
    let counts = draws(&[unknown(), known(4), known(6)]);
    assert!(counts[0] > 0 && counts[1] > counts[0] && counts[2] == 0, "{counts:?}");
    assert!(draws(&[unknown(); 2]).iter().all(|count| *count > 4_500));
}

#[test]
fn prompts_that_are_still_to_be_computed_count() {
    let busy = Candidate { backlog: prefill(10_000), ..known(1) };
    assert_eq!(draws(&[busy, known(2)])[0], 0);
}

#[test]
fn a_local_replica_wins_ties_and_loses_otherwise() {
    let local = |load| Candidate { local: true, ..known(load) };
    assert_eq!(draws(&[known(2), local(2), known(2), known(2)])[1], 10_000);
    assert_eq!(draws(&[known(2), local(3), known(2)])[1], 0);
}

/// A nearby busy replica is weighed against a far idle one in milliseconds.
#[test]
fn a_far_replica_is_chosen_once_waiting_nearby_takes_longer_than_the_way() {
    let far = Candidate { distance: Cost::from_millis(70), ..known(0) };
    assert_eq!(draws(&[known(13), far])[0], 10_000);
    assert_eq!(draws(&[known(15), far])[1], 10_000);
    let dear = Candidate { price: Cost::from_millis(20), ..known(0) };
    assert_eq!([draws(&[known(3), dear])[0], draws(&[known(5), dear])[1]], [10_000; 2]);
}

/// Many far ones do not keep a request from being compared with the few near ones.
#[test]
fn near_and_far_ones_are_compared_however_many_there_are() {
    let far = Candidate { distance: Cost::from_millis(70), ..known(0) };
    let mut candidates = vec![far; 50];
    candidates.push(known(10));
    assert_eq!(draws(&candidates)[50], 10_000);
    candidates[50] = known(100);
    assert_eq!(draws(&candidates)[50], 0);
}

#[test]
fn a_suspect_is_the_last_resort() {
    let suspect = Candidate { suspect: true, ..known(0) };
    assert_eq!(draws(&[suspect, known(100)])[0], 0);
    assert_eq!(by_load(&[suspect], &[100], 0), Some(0));
    let tried = Candidate { tried: true, ..known(0) };
    assert_eq!(by_load(&[suspect, tried], &[100], 0), Some(0));
}

#[test]
fn requests_are_shared_by_weight_however_many_replicas_there_are() {
    let counts = weighted_draws(&[of(0), of(1), of(1), of(1)], &[10, 90]);
    assert!((900..1_100).contains(&counts[0]), "{counts:?}");
}

#[test]
fn another_revision_is_tried_after_the_own_one() {
    let tried = Candidate { tried: true, ..of(0) };
    assert_eq!(by_load(&[tried, of(1)], &[99, 1], 0), Some(1));
}

#[test]
fn who_has_the_prompt_gets_it_until_its_queue_costs_more_than_computing_it_twice() {
    let asked = Asked::new(0, 40, &[0, 36, 10]);
    assert_eq!(asked.always(&[known(0), known(20), known(0)]), (1, Reason::Holds));
    let choice = asked.choice(&[known(0), known(20), known(0)], 0);
    assert_eq!(choice.held, 36 * BLOCK);
    assert!(choice.compared.as_slice().len() > 1);
    // 40 blocks are 125 ms, or 25 running requests.
    assert_eq!(asked.choice(&[known(0), known(80), known(0)], 0).reason, Reason::Saturated);
    let suspect = Candidate { suspect: true, ..known(0) };
    assert_ne!(asked.choice(&[known(0), suspect, known(0)], 0).position, 1);
}

#[test]
fn who_has_it_far_away_is_weighed_against_computing_it_here() {
    let far = Candidate { distance: Cost::from_millis(70), ..known(0) };
    assert_eq!(Asked::new(0, 8, &[0, 8]).always(&[known(0), far]), (0, Reason::Saturated));
    assert_eq!(Asked::new(0, 80, &[0, 80]).always(&[known(0), far]), (1, Reason::Holds));
}

/// Two ingresses that have not heard of each other: the second takes over when the first has died.
#[test]
fn a_prompt_that_nobody_is_known_to_have_goes_home_and_homes_are_spread() {
    let candidates = [known(1); 4];
    let homes: Vec<usize> = (0..26)
        .map(|number| {
            let asked = Asked::new(number, 10, &[]);
            let (home, reason) = asked.always(&candidates);
            assert_eq!(reason, Reason::Home);
            let mut others = candidates;
            others[(home + 1) % 4].suspect = true;
            assert_eq!(asked.always(&others).0, home, "only its own loss moves it");
            others[home].tried = true;
            assert_ne!(asked.always(&others).0, home);
            home
        })
        .collect();
    assert!((0..4).all(|replica| homes.contains(&replica)), "{homes:?}");
}

#[test]
fn a_home_is_left_when_waiting_there_takes_longer_than_computing_elsewhere() {
    let (asked, mut candidates) = (Asked::new(0, 40, &[]), [known(0); 3]);
    let (home, _) = asked.always(&candidates);
    candidates[home] = known(30);
    assert_eq!(asked.always(&candidates).0, home);
    candidates[home] = known(80);
    assert_eq!(asked.choice(&candidates, 0).reason, Reason::Saturated);
}

/// The replicas of a far cluster are nobody's home as long as there are near ones.
#[test]
fn homes_are_near() {
    let far = Candidate { distance: Cost::from_millis(70), ..known(0) };
    for number in 0..26 {
        assert!(Asked::new(number, 400, &[]).always(&[far, far, known(1), known(1), far]).0 / 2 == 1);
    }
}

#[test]
fn a_session_stays_where_it_is_whatever_the_load() {
    let at = |session, candidates: &[Candidate]| {
        let dice = dice(&mut StdRng::seed_from_u64(session));
        choose(&Affinity::Session(session), &mut placed(candidates), &[100], &dice).unwrap().position
    };
    let mut candidates = [known(1); 4];
    let before: Vec<usize> = (0..100).map(|session| at(session, &candidates)).collect();
    candidates[before[0]] = known(1_000);
    assert_eq!((0..100).map(|session| at(session, &candidates)).collect::<Vec<_>>(), before);
    candidates[2].suspect = true;
    for (session, before) in (0..100).zip(before) {
        assert!(before == 2 || at(session, &candidates) == before, "only those of the lost one move");
    }
}

#[test]
fn turns_go_round() {
    let turns = (0..6).map(|turn| {
        let dice = Dice { turn, ..dice(&mut StdRng::seed_from_u64(turn)) };
        choose(&Affinity::Turn, &mut placed(&[known(9), known(0), known(5)]), &[100], &dice).unwrap().position
    });
    assert_eq!(turns.collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let candidate = (0..3_usize, 0..9_usize, any::<(bool, bool, bool, Option<u32>, u8)>());
    let candidate = candidate.prop_map(|(revision, held, (tried, suspect, local, load, millis))| Candidate {
        revision,
        held,
        tried,
        suspect,
        local,
        distance: Cost::from_millis(millis.into()),
        ..load.map_or_else(unknown, known)
    });
    prop::collection::vec(candidate, 0..12)
}

proptest! {
    #[test]
    fn only_untried_ones_are_chosen(
        candidates in candidates(), weights: [u8; 3], seed: u64,
    ) {
        let asked = Asked::new(0, 8, &[]);
        let mut random = StdRng::seed_from_u64(seed);
        for affinity in [&asked.affinity, &Affinity::Load, &Affinity::Turn, &Affinity::Session(seed)] {
            match choose(affinity, &mut placed(&candidates), &weights, &dice(&mut random)) {
                Some(choice) => prop_assert!(!candidates[choice.position].tried),
                None => prop_assert!(candidates.iter().all(|candidate| candidate.tried)),
            }
        }
    }

    #[test]
    fn what_has_no_weight_gets_nothing_while_another_can(
        candidates in candidates(),
        weights in prop::array::uniform3(0..3_u8),
        seed: u64,
    ) {
        if let Some(chosen) = by_load(&candidates, &weights, seed)
            && weights[candidates[chosen].revision] == 0
        {
            let mut others = candidates.iter().filter(|candidate| !candidate.tried);
            prop_assert!(others.all(|candidate| weights[candidate.revision] == 0));
        }
    }

    /// Each revision gets its weight's share of the requests: more than six standard deviations off is no chance.
    #[test]
    fn shares_follow_the_weights(weights: [u8; 3], counts in prop::array::uniform3(1..4_usize), seed: u64) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let candidates: Vec<Candidate> =
            counts.iter().enumerate().flat_map(|(revision, &count)| vec![of(revision); count]).collect();
        let mut random = StdRng::seed_from_u64(seed);
        let mut got = [0_u32; 3];
        for _ in 0..2_000 {
            got[candidates[by_load(&candidates, &weights, random.random()).unwrap()].revision] += 1;
        }
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for (got, weight) in got.into_iter().zip(weights) {
            let due = f64::from(weight) / total;
            let tolerance = 6.0 * (2_000.0 * due * (1.0 - due)).sqrt() + 5.0;
            prop_assert!((f64::from(got) - 2_000.0 * due).abs() <= tolerance, "{got} of {due}");
        }
    }
}
