//! Which replica gets a request. Pure: the randomness is an argument.

/// What is known of a replica at the moment of choosing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Candidate {
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
}

/// The index of the replica to try, or `None` if all have been tried.
///
/// The better of two random ones (Mitzenmacher 2001), so that nodes with the same stale picture do not all run to the
/// same replica. The least loaded replica of this node always takes part: its load is known exactly, and reaching it
/// costs nothing; it wins ties. Suspects are chosen only where nothing else is left.
pub(crate) fn choose(candidates: &[Candidate], random: [u64; 2]) -> Option<usize> {
    let untried = indices(candidates, |candidate| !candidate.tried);
    let trusted = indices(candidates, |candidate| !candidate.tried && !candidate.suspect);
    let eligible = if trusted.is_empty() { untried } else { trusted };
    let scale = Scale::of(eligible.iter().map(|&index| &candidates[index]));
    let rank = |index: usize| (scale.score(&candidates[index]), !candidates[index].local);
    let home = eligible.iter().copied().filter(|&index| candidates[index].local).min_by_key(|&index| rank(index));
    two_of(&eligible, random).into_iter().flatten().chain(home).min_by_key(|&index| rank(index))
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
        Candidate { known: Some(load), ..Candidate::default() }
    }

    /// How often each candidate is chosen in 10,000 draws.
    fn draws(candidates: &[Candidate]) -> Vec<u32> {
        let mut random = StdRng::seed_from_u64(7);
        let mut counts = vec![0; candidates.len()];
        for _ in 0..10_000 {
            counts[choose(candidates, random.random()).unwrap()] += 1;
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
        let unknown = Candidate::default();
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
        assert_eq!(choose(&[suspect], [0, 0]), Some(0));
        let tried = Candidate { tried: true, ..known(0) };
        assert_eq!(choose(&[suspect, tried], [0, 0]), Some(0));
    }

    proptest! {
        #[test]
        fn only_untried_ones_are_chosen(tried: Vec<(bool, bool, bool, Option<u32>)>, random: [u64; 2]) {
            let candidates: Vec<Candidate> = tried
                .iter()
                .map(|&(tried, suspect, local, known)| Candidate { tried, suspect, local, known, own: 1 })
                .collect();
            match choose(&candidates, random) {
                Some(index) => prop_assert!(!candidates[index].tried),
                None => prop_assert!(candidates.iter().all(|candidate| candidate.tried)),
            }
        }
    }
}
