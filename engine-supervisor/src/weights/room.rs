//! Whether a model fits onto the disk, in numbers and in words.

use std::{fmt, path::PathBuf};

use shoal_types::MemorySize;

/// What is known when room is looked for. All in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    /// Still to be fetched of this model.
    pub(super) needed: u64,
    /// Free on the file system.
    pub(super) free: u64,
    /// To stay free.
    pub(super) reserve: u64,
    /// Still to be written for other models that are being fetched.
    pub(super) promised: u64,
    /// Taken by all models.
    pub(super) used: u64,
    /// Most that all models may take.
    pub(super) budget: Option<u64>,
    /// Taken by models that no claim holds, and could be evicted.
    pub(super) evictable: u64,
}

/// The disk cannot hold a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NoRoom {
    pub(super) model: String,
    pub(super) cache: PathBuf,
    /// Of it, on the disk already.
    pub(super) present: u64,
    pub(super) room: Box<Room>,
}

impl Room {
    /// Bytes that must be evicted before the model can be fetched; `None` if even all that could go would not do.
    pub(super) fn to_evict(&self) -> Option<u64> {
        let missing = self.short_of_disk().max(self.short_of_budget());
        (missing <= self.evictable).then_some(missing)
    }

    fn short_of_disk(&self) -> u64 {
        self.needed.saturating_add(self.promised).saturating_add(self.reserve).saturating_sub(self.free)
    }

    fn short_of_budget(&self) -> u64 {
        let whole = self.used.saturating_add(self.promised).saturating_add(self.needed);
        self.budget.map_or(0, |budget| whole.saturating_sub(budget))
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = MemorySize::from_bytes;
        let Room { needed, free, reserve, promised, used, budget, evictable } = *self.room;
        write!(f, "`{}` needs {} of disk", self.model, size(needed))?;
        if self.present > 0 {
            write!(f, " ({} of {} are there already)", size(self.present), size(self.present.saturating_add(needed)))?;
        }
        if self.room.short_of_disk() > evictable {
            let cache = self.cache.display();
            write!(f, "; {cache} has {} free, of which {} stay free (`weights.reserve`)", size(free), size(reserve))?;
        }
        if self.room.short_of_budget() > evictable {
            let budget = size(budget.unwrap_or_default());
            write!(f, "; of {budget} for all models (`weights.budget`) {} are used", size(used))?;
        }
        if promised > 0 {
            write!(f, "; {} are still to come of other models", size(promised))?;
        }
        match budget {
            Some(_) => write!(f, "; models that no claim holds could give {}", size(evictable)),
            None => f.write_str("; nothing is evicted, since there is no `weights.budget`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn room() -> Room {
        Room { needed: 100 * GIB, free: 150 * GIB, reserve: 20 * GIB, promised: 0, used: 0, budget: None, evictable: 0 }
    }

    fn words(room: Room) -> String {
        NoRoom { model: "a/b".to_owned(), cache: "/cache".into(), present: 30 * GIB, room: Box::new(room) }.to_string()
    }

    #[test]
    fn the_arithmetic_is_in_the_words() {
        assert_eq!(
            words(Room { free: 110 * GIB, promised: 5 * GIB, ..room() }),
            "`a/b` needs 100GiB of disk (30GiB of 130GiB are there already); /cache has 110GiB free, of which 20GiB \
             stay free (`weights.reserve`); 5GiB are still to come of other models; nothing is evicted, since there is \
             no `weights.budget`"
        );
        assert_eq!(
            words(Room { used: 450 * GIB, budget: Some(500 * GIB), evictable: 40 * GIB, ..room() }),
            "`a/b` needs 100GiB of disk (30GiB of 130GiB are there already); of 500GiB for all models \
             (`weights.budget`) 450GiB are used; models that no claim holds could give 40GiB"
        );
    }

    #[test]
    fn only_what_is_missing_is_evicted() {
        assert_eq!(room().to_evict(), Some(0));
        assert_eq!(Room { free: 110 * GIB, evictable: 10 * GIB, ..room() }.to_evict(), Some(10 * GIB));
        assert_eq!(Room { free: 110 * GIB, evictable: 10 * GIB - 1, ..room() }.to_evict(), None);
        let over = Room { used: 80 * GIB, budget: Some(150 * GIB), evictable: 80 * GIB, ..room() };
        assert_eq!(over.to_evict(), Some(30 * GIB));
        assert_eq!(Room { promised: 40 * GIB, ..over }.to_evict(), Some(70 * GIB));
    }

    proptest! {
        #[test]
        fn after_eviction_the_reserve_and_the_budget_hold(
            needed in 0_u64..1000, free in 0_u64..1000, reserve in 0_u64..100, promised in 0_u64..100,
            used in 0_u64..1000, budget in proptest::option::of(0_u64..1500), share in 0_u64..=100,
        ) {
            let evictable = used * share / 100;
            let room = Room { needed, free, reserve, promised, used, budget, evictable };
            let fits = |evicted: u64| {
                free + evicted >= needed + promised + reserve
                    && budget.is_none_or(|budget| used - evicted + promised + needed <= budget)
            };
            match room.to_evict() {
                Some(evicted) => {
                    prop_assert!(evicted <= evictable && fits(evicted));
                    prop_assert!(evicted == 0 || !fits(evicted - 1), "more than needed was evicted");
                }
                None => prop_assert!(!fits(evictable)),
            }
        }
    }
}
