//! What other nodes have let through, from what they say. Pure.

use std::collections::HashMap;

use shoal_types::{KeyId, KeyUse, View};

/// What the ingresses of all other nodes have let through by key, added up; and the tokens of `day`.
///
/// Of a node that is not there only the day counts: what was spent is spent, but its requests have ended, and what it let
/// through in its last minute is soon too old to count.
pub(super) fn elsewhere(view: &View, day: u32) -> HashMap<KeyId, KeyUse> {
    let mut all: HashMap<KeyId, KeyUse> = HashMap::new();
    for node in view.nodes.values().filter(|node| node.id != view.me) {
        for (key, used) in &node.key_uses {
            let sum = all.entry(*key).or_insert_with(|| KeyUse { day, ..KeyUse::default() });
            if node.is_alive() {
                sum.requests = sum.requests.saturating_add(used.requests);
                sum.tokens = sum.tokens.saturating_add(used.tokens);
                sum.inflight = sum.inflight.saturating_add(used.inflight);
            }
            if used.day == day {
                sum.tokens_of_day = sum.tokens_of_day.saturating_add(used.tokens_of_day);
            }
        }
    }
    all
}

/// `count` with its three highest bits, as counts are gossiped.
pub(super) const fn rounded(count: u64) -> u64 {
    let Some(dropped) = (u64::BITS - count.leading_zeros()).checked_sub(3) else { return count };
    let half = (1 << dropped) >> 1;
    (count.saturating_add(half) >> dropped) << dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_rounded_to_an_eighth() {
        for count in [0, 1, 7, 9, 33, 1_000, 123_456, u64::MAX] {
            let error = rounded(count).abs_diff(count);
            assert!(error <= count / 8, "{count} becomes {}", rounded(count));
        }
    }
}
