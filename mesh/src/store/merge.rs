//! Which of two writes stands. Pure, and the same on every node.

use shoal_types::{Hlc, NodeId, UnixMillis};

/// The place of a write in the one order that all nodes agree on: time, then counter, then deletion, then node. What
/// was written never decides (DESIGN rule 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank {
    time: UnixMillis,
    counter: u32,
    tombstone: bool,
    node: NodeId,
}

impl Rank {
    pub(super) const fn new(version: Hlc, tombstone: bool) -> Self {
        Self { time: version.time, counter: version.counter, tombstone, node: version.node }
    }

    /// The place of a write that no later one takes the place of: the order of time is turned round.
    pub(super) const fn of_first(version: Hlc) -> Self {
        let time = UnixMillis::from_millis(u64::MAX - version.time.as_millis());
        Self { time, counter: u32::MAX - version.counter, tombstone: false, node: version.node }
    }

    /// Its bytes, for hashing.
    pub(super) fn to_bytes(self) -> [u8; 29] {
        let mut bytes = [0; 29];
        bytes[..8].copy_from_slice(&self.time.as_millis().to_be_bytes());
        bytes[8..12].copy_from_slice(&self.counter.to_be_bytes());
        bytes[12] = u8::from(self.tombstone);
        bytes[13..].copy_from_slice(self.node.as_bytes());
        bytes
    }
}

/// Something that was written at one place in the order of writes.
pub(super) trait Ranked {
    fn rank(&self) -> Rank;
}

impl Ranked for super::entry::Entry {
    fn rank(&self) -> Rank {
        Self::rank(self)
    }
}

/// The write that stands when both are known.
pub(super) fn merge<T: Ranked>(a: T, b: T) -> T {
    if b.rank() > a.rank() { b } else { a }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Write {
        version: Hlc,
        deletes: bool,
    }

    impl Ranked for Write {
        fn rank(&self) -> Rank {
            Rank::new(self.version, self.deletes)
        }
    }

    /// Few times, counters and nodes, so that ties are common.
    fn write() -> impl Strategy<Value = Write> {
        (0u64..3, 0u32..2, 0u8..3, any::<bool>()).prop_map(|(time, counter, node, deletes)| Write {
            version: Hlc { time: UnixMillis::from_millis(time), counter, node: NodeId::from_bytes([node; 16]) },
            deletes,
        })
    }

    proptest! {
        #[test]
        fn rule_2_merge_is_commutative(a in write(), b in write()) {
            prop_assert_eq!(merge(a.clone(), b.clone()), merge(b, a));
        }

        #[test]
        fn rule_2_merge_is_associative(a in write(), b in write(), c in write()) {
            prop_assert_eq!(
                merge(merge(a.clone(), b.clone()), c.clone()),
                merge(a, merge(b, c))
            );
        }

        #[test]
        fn rule_2_merge_is_idempotent(a in write(), b in write()) {
            let once = merge(a.clone(), b.clone());
            prop_assert_eq!(merge(once.clone(), b), once.clone());
            prop_assert_eq!(merge(once.clone(), a), once);
        }

        #[test]
        fn rule_2_deletion_beats_a_concurrent_write(a in write(), b in write()) {
            let same_tick = Write { version: Hlc { node: b.version.node, ..a.version }, deletes: false };
            let deletion = Write { deletes: true, ..a };
            prop_assert!(merge(same_tick.clone(), deletion.clone()).deletes);
            prop_assert!(merge(deletion, same_tick).deletes);
        }

        #[test]
        fn rule_2_the_later_write_stands(a in write(), b in write()) {
            prop_assume!(a.version.time < b.version.time);
            prop_assert_eq!(merge(a, b.clone()), b);
        }
    }
}
