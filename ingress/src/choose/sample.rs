//! Picking some of many.

use super::{
    Candidate,
    cost::{Cost, NEAR},
};

/// Two different ones of those that `keep` keeps, as far as there are two: the better of two random ones is nearly as
/// good as the best (Mitzenmacher 2001), and nodes with the same stale picture do not all run to the same replica.
pub(super) fn two_of(
    candidates: &[Candidate],
    keep: impl Fn(&Candidate) -> bool,
    random: [u64; 2],
) -> impl Iterator<Item = &Candidate> {
    let count = candidates.iter().filter(|candidate| keep(candidate)).count();
    let first = below(random[0], count);
    let second = below(random[1], count.saturating_sub(1));
    let second = if second < first { second } else { second + 1 };
    let mut found = [None; 2];
    for (rank, candidate) in candidates.iter().filter(|candidate| keep(candidate)).enumerate() {
        if rank == first {
            found[0] = Some(candidate);
        } else if rank == second {
            found[1] = Some(candidate);
        }
    }
    found.into_iter().flatten()
}

/// A number below `bound`, or 0: the upper half of the product, which costs less than what is left of a division.
fn below(random: u64, bound: usize) -> usize {
    usize::try_from((u128::from(random) * bound as u128) >> 64).unwrap_or(0)
}

/// Up to which distance a replica is as near as the nearest.
pub(super) fn nearest(candidates: &[Candidate]) -> Cost {
    candidates.iter().map(|candidate| candidate.distance).min().unwrap_or_default() + NEAR
}
