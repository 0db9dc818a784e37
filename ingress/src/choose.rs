//! Which replica gets a request. Pure: the randomness is an argument.

use crate::headroom::Burden;

/// What is known of a replica at the moment of choosing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Candidate {
    /// Index of its revision among the weights; one beyond them has no weight.
    pub(crate) revision: usize,
    /// On this node.
    pub(crate) local: bool,
    /// It, or its node, failed a moment ago.
    pub(crate) suspect: bool,
    /// This request has been at it already.
    pub(crate) tried: bool,
    /// Requests that this node has with it.
    pub(crate) own: u32,
    /// Requests that it says it has, if it has said so.
    pub(crate) known: Option<u32>,
    /// What it has to do, and how many more it may be given. Without room it is not chosen.
    pub(crate) burden: Burden,
    pub(crate) room: u32,
}

impl Candidate {
    /// Whether it can be asked.
    const fn can(&self) -> bool {
        !self.tried && self.room > 0
    }
}

/// The index of the replica to try, or `None` if all have been tried or have no room.
///
/// First the revision, by `weights`, among those that have a replica to try; then its replica: the better of two random
/// ones (Mitzenmacher 2001), so that nodes with the same stale picture do not all run to the same replica. The least
/// loaded replica of this node always takes part: its load is known exactly, and reaching it costs nothing; it wins ties.
/// Suspects are chosen only where nothing else is left, and what has no weight only after them.
pub(crate) fn choose(candidates: &[Candidate], weights: &[u8], random: [u64; 3]) -> Option<usize> {
    let [revision, first, second] = random;
    let best = best_of(candidates, weights);
    let eligible = match draw(candidates, &best, weights, revision) {
        Some(drawn) => best.into_iter().filter(|&index| candidates[index].revision == drawn).collect(),
        None => best,
    };
    let scale = Scale::of(eligible.iter().map(|&index| &candidates[index]));
    let rank = |index: usize| (scale.score(&candidates[index]), !candidates[index].local);
    let home = eligible.iter().copied().filter(|&index| candidates[index].local).min_by_key(|&index| rank(index));
    two_of(&eligible, [first, second]).into_iter().flatten().chain(home).min_by_key(|&index| rank(index))
}

/// Those that can be asked and that nothing speaks against; where there are none, those that the least speaks against.
fn best_of(candidates: &[Candidate], weights: &[u8]) -> Vec<usize> {
    let against = |candidate: &Candidate| (weight(weights, candidate.revision) == 0, candidate.suspect);
    let able = candidates.iter().filter(|candidate| candidate.can());
    let Some(least) = able.map(against).min() else { return Vec::new() };
    indices(candidates, |candidate| candidate.can() && against(candidate) == least)
}

/// One of the revisions that `eligible` are of, by weight. `None` if they have none.
fn draw(candidates: &[Candidate], eligible: &[usize], weights: &[u8], random: u64) -> Option<usize> {
    let is_there = |revision: usize| eligible.iter().any(|&index| candidates[index].revision == revision);
    let there = || (0..weights.len()).filter(|&revision| is_there(revision));
    let total: u64 = there().map(|revision| weight(weights, revision)).sum();
    let mut point = random.checked_rem(total)?;
    there().find(|&revision| {
        let weight = weight(weights, revision);
        let is_it = point < weight;
        point = point.saturating_sub(weight);
        is_it
    })
}

fn weight(weights: &[u8], revision: usize) -> u64 {
    weights.get(revision).copied().map_or(0, u64::from)
}

fn indices(candidates: &[Candidate], keep: impl Fn(&Candidate) -> bool) -> Vec<usize> {
    candidates.iter().enumerate().filter(|(_, candidate)| keep(candidate)).map(|(index, _)| index).collect()
}

/// Two different ones of `eligible`, as far as there are two.
fn two_of(eligible: &[usize], random: [u64; 2]) -> [Option<usize>; 2] {
    let at = |random: u64, bound: usize| usize::try_from(random % bound as u64).unwrap_or(0);
    match eligible {
        [] => [None, None],
        [only] => [Some(*only), None],
        _ => {
            let first = at(random[0], eligible.len());
            let second = at(random[1], eligible.len() - 1);
            let second = if second < first { second } else { second + 1 };
            [Some(eligible[first]), Some(eligible[second])]
        }
    }
}

/// Makes loads comparable where some are unknown: an unknown one counts as the mean of the known, since as zero it
/// would draw all requests and as infinite none.
struct Scale {
    known: u64,
    sum: u64,
}

impl Scale {
    fn of<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Self {
        let known = candidates.filter_map(|candidate| candidate.known);
        known.fold(Self { known: 0, sum: 0 }, |scale, load| Self {
            known: scale.known + 1,
            sum: scale.sum + u64::from(load),
        })
    }

    /// The load times the number of known ones, so that their mean needs no fraction.
    fn score(&self, candidate: &Candidate) -> u64 {
        let unit = self.known.max(1);
        u64::from(candidate.own) * unit + candidate.known.map_or(self.sum, |load| u64::from(load) * unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn known(load: u32) -> Candidate {
        Candidate { known: Some(load), room: 1, ..Candidate::default() }
    }

    /// How often each candidate is chosen in 10,000 draws.
    fn draws(candidates: &[Candidate]) -> Vec<u32> {
        weighted_draws(candidates, &[100])
    }

    fn weighted_draws(candidates: &[Candidate], weights: &[u8]) -> Vec<u32> {
        let mut random = StdRng::seed_from_u64(7);
        let mut counts = vec![0; candidates.len()];
        for _ in 0..10_000 {
            counts[choose(candidates, weights, random.random()).unwrap()] += 1;
        }
        counts
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
    fn an_unknown_load_counts_as_the_mean() {
        let unknown = Candidate { room: 1, ..Candidate::default() };
        assert_eq!(draws(&[unknown, known(0), known(10)])[2], 0);
        let counts = draws(&[unknown, known(4), known(6)]);
        assert!(counts[0] > 0 && counts[1] > counts[0] && counts[2] == 0, "{counts:?}");
        assert!(draws(&[unknown; 2]).iter().all(|count| *count > 4_500));
    }

    #[test]
    fn own_requests_count_before_anybody_tells() {
        let busy = Candidate { own: 3, ..known(1) };
        assert_eq!(draws(&[busy, known(2)])[0], 0);
    }

    #[test]
    fn a_local_replica_wins_ties_and_loses_otherwise() {
        let local = |load| Candidate { local: true, ..known(load) };
        assert_eq!(draws(&[known(2), local(2), known(2), known(2)])[1], 10_000);
        assert_eq!(draws(&[known(2), local(3), known(2)])[1], 0);
    }

    #[test]
    fn a_suspect_is_the_last_resort() {
        let suspect = Candidate { suspect: true, ..known(0) };
        assert_eq!(draws(&[suspect, known(100)])[0], 0);
        assert_eq!(choose(&[suspect], &[100], [0; 3]), Some(0));
        let tried = Candidate { tried: true, ..known(0) };
        assert_eq!(choose(&[suspect, tried], &[100], [0; 3]), Some(0));
    }

    fn of(revision: usize) -> Candidate {
        Candidate { revision, ..known(1) }
    }

    #[test]
    fn requests_are_shared_by_weight_however_many_replicas_there_are() {
        let counts = weighted_draws(&[of(0), of(1), of(1), of(1)], &[10, 90]);
        assert!((800..1_200).contains(&counts[0]), "{counts:?}");
        assert!(counts[1..].iter().all(|count| (2_700..3_300).contains(count)), "{counts:?}");
    }

    #[test]
    fn no_weight_is_the_very_last_resort() {
        let suspect = Candidate { suspect: true, ..of(0) };
        assert_eq!(weighted_draws(&[suspect, of(1), of(2)], &[1, 0]), [10_000, 0, 0]);
        let tried = Candidate { tried: true, ..of(0) };
        let counts = weighted_draws(&[tried, of(1), of(2)], &[1, 0]);
        assert!(counts[0] == 0 && counts[1] > 4_500 && counts[2] > 4_500, "{counts:?}");
    }

    #[test]
    fn another_revision_is_tried_after_the_own_one() {
        let tried = Candidate { tried: true, ..of(0) };
        assert_eq!(choose(&[tried, of(1)], &[99, 1], [0; 3]), Some(1));
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let candidate = (0..3_usize, any::<(bool, bool, bool, Option<u32>)>(), 0..3_u32);
        let candidate = candidate.prop_map(|(revision, (tried, suspect, local, known), room)| Candidate {
            revision,
            tried,
            suspect,
            local,
            known,
            own: 1,
            burden: Burden::default(),
            room,
        });
        prop::collection::vec(candidate, 0..12)
    }

    proptest! {
        #[test]
        fn only_untried_ones_with_room_are_chosen(candidates in candidates(), weights: [u8; 3], random: [u64; 3]) {
            match choose(&candidates, &weights, random) {
                Some(index) => prop_assert!(candidates[index].can()),
                None => prop_assert!(!candidates.iter().any(Candidate::can)),
            }
        }

        #[test]
        fn what_has_no_weight_gets_nothing_while_another_can(
            candidates in candidates(),
            weights in prop::array::uniform3(0..3_u8),
            random: [u64; 3],
        ) {
            if let Some(chosen) = choose(&candidates, &weights, random)
                && weights[candidates[chosen].revision] == 0
            {
                let mut others = candidates.iter().filter(|candidate| candidate.can());
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
                got[candidates[choose(&candidates, &weights, random.random()).unwrap()].revision] += 1;
            }
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            for (got, weight) in got.into_iter().zip(weights) {
                let due = f64::from(weight) / total;
                let tolerance = 6.0 * (2_000.0 * due * (1.0 - due)).sqrt() + 5.0;
                prop_assert!((f64::from(got) - 2_000.0 * due).abs() <= tolerance, "{got} of {due}");
            }
        }
    }
}
