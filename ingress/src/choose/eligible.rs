//! Who may get a request at all, before anything is compared.

use super::Candidate;

/// Brings those of `candidates` to the front that `keep` keeps, and returns how many they are.
pub(super) fn bring(candidates: &mut [Candidate], keep: impl Fn(&Candidate) -> bool) -> usize {
    let mut count = 0;
    for index in 0..candidates.len() {
        if keep(&candidates[index]) {
            if index != count {
                candidates.swap(count, index);
            }
            count += 1;
        }
    }
    count
}

/// Brings the untried ones to the front that nothing speaks against, of one revision, which is drawn by weight; where there are
/// none, those that the least speaks against. Returns how many they are. Suspects are among them only where nothing else is left,
/// and what has no weight only after them.
pub(super) fn bring_eligible(candidates: &mut [Candidate], weights: &[u8], random: u64) -> usize {
    let against = |candidate: &Candidate| (weight(weights, candidate.revision) == 0, candidate.suspect);
    let count = bring(candidates, |candidate| !candidate.tried);
    let Some(least) = candidates[..count].iter().map(against).min() else { return 0 };
    let count = bring(&mut candidates[..count], |candidate| against(candidate) == least);
    match draw(&candidates[..count], weights, random) {
        Some(drawn) => bring(&mut candidates[..count], |candidate| candidate.revision == drawn),
        None => count,
    }
}

/// One of the revisions that `eligible` are of, by weight. `None` if they have none.
fn draw(eligible: &[Candidate], weights: &[u8], random: u64) -> Option<usize> {
    let is_there = |revision: usize| eligible.iter().any(|candidate| candidate.revision == revision);
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
