//! Who may get a request at all, before anything is compared.

use super::Candidate;

/// Keeps the untried ones that nothing speaks against, of one revision, which is drawn by weight; where there are none,
/// those that the least speaks against. Suspects are kept only where nothing else is left, and what has no weight only
/// after them.
pub(super) fn keep_eligible(candidates: &mut Vec<Candidate>, weights: &[u8], random: u64) {
    let against = |candidate: &Candidate| (weight(weights, candidate.revision) == 0, candidate.suspect);
    candidates.retain(|candidate| !candidate.tried);
    let Some(least) = candidates.iter().map(against).min() else { return };
    candidates.retain(|candidate| against(candidate) == least);
    if let Some(drawn) = draw(candidates, weights, random) {
        candidates.retain(|candidate| candidate.revision == drawn);
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
