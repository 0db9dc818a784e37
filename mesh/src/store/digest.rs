//! One short text that is equal on two nodes if their stores are.

use std::fmt;

use shoal_types::stable_hash;

use super::{entry::EntryKey, merge::Rank};

/// Count and wrapping sum of one hash per entry: independent of order, and kept up to date one entry at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    count: u64,
    sum: u64,
}

impl Digest {
    /// With one entry more.
    pub(super) fn add(&mut self, key: &EntryKey, rank: Rank) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash(key, rank));
    }

    /// With one entry, which had been added, less.
    pub(super) fn remove(&mut self, key: &EntryKey, rank: Rank) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(hash(key, rank));
    }
}

fn hash(key: &EntryKey, rank: Rank) -> u64 {
    stable_hash(&[b"store", key.to_string().as_bytes(), &rank.to_bytes()])
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.count, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_types::{Hlc, NodeId, UnixMillis};

    use super::*;

    fn item() -> impl Strategy<Value = (EntryKey, Rank)> {
        ("[a-c]", 0u64..4, any::<bool>()).prop_map(|(name, time, tombstone)| {
            let node = NodeId::from_bytes([1; 16]);
            let version = Hlc { time: UnixMillis::from_millis(time), counter: 0, node };
            (EntryKey::Endpoint(name.parse().unwrap()), Rank::new(version, tombstone))
        })
    }

    fn digest<'a>(items: impl IntoIterator<Item = &'a (EntryKey, Rank)>) -> Digest {
        let mut digest = Digest::default();
        for (key, rank) in items {
            digest.add(key, *rank);
        }
        digest
    }

    proptest! {
        #[test]
        fn rule_2_equal_sets_have_equal_digests_in_any_order(items in prop::collection::vec(item(), 0..8)) {
            prop_assert_eq!(digest(&items), digest(items.iter().rev()));
        }

        #[test]
        fn taking_out_is_the_inverse_of_putting_in(items in prop::collection::vec(item(), 0..8), extra in item()) {
            let before = digest(&items);
            let mut after = before;
            after.add(&extra.0, extra.1);
            prop_assert_ne!(after.to_string(), before.to_string());
            after.remove(&extra.0, extra.1);
            prop_assert_eq!(after, before);
        }

        #[test]
        fn a_different_version_or_key_shows(a in item(), b in item()) {
            prop_assume!(a != b);
            prop_assert_ne!(digest([&a]), digest([&b]));
        }
    }
}
