//! A set of hashes, for hundreds of them at once: a prompt of 100,000 tokens has 1,600.
//!
//! std's set touches two lines of memory for each that is entered, and waits for both. This one touches one, and the next does
//! not wait for it. It is read while it is written, and whoever reads writes nothing: not even that it reads, so that what the
//! sets of several replicas have is fetched from memory at once.

use std::{
    hash::{BuildHasher as _, RandomState},
    iter::repeat_with,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use super::hash::fold;

/// Most hashes that it has.
pub(super) const BLOCKS_MAX: usize = 16_384;
/// How many places there are at first, and when half of those are taken. Powers of two. What is grown out of is kept, as whoever
/// reads it is not known; it is a seventh of what there is.
const PLACES: [usize; 4] = [64, 512, 4_096, 2 * BLOCKS_MAX];

/// A set of hashes. Where they stand is kept from clients, who choose prompts, and could choose such as fall on one another.
///
/// Of each it keeps 32 bits, so that twice as many are in the second cache: of those that are not in a full one, it has one in
/// 260,000.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Tags, at least half as many as places; a free place is 0.
    places: [OnceLock<Box<[AtomicU32]>>; PLACES.len()],
    /// Which of them are in use.
    size: AtomicUsize,
    len: AtomicUsize,
    key: u64,
}

impl Default for Blocks {
    fn default() -> Self {
        Self::with_key(RandomState::new().hash_one(0))
    }
}

impl Blocks {
    fn with_key(key: u64) -> Self {
        Self { places: Default::default(), size: AtomicUsize::new(0), len: AtomicUsize::new(0), key }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// How many of the first of `blocks` it has, of which none is in it without those before.
    pub(super) fn leading(&self, blocks: &[u64]) -> usize {
        if blocks.first().is_some_and(|&first| self.contains(first)) {
            blocks.partition_point(|&block| self.contains(block))
        } else {
            0
        }
    }

    fn contains(&self, block: u64) -> bool {
        find(self.places(), self.tag(block)).is_some_and(|place| place.load(Ordering::Relaxed) != 0)
    }

    /// Enters `blocks`, as far as there is room for them. One at a time may do so, or [`Self::clear`]: of two at once, one might
    /// lose what it enters.
    pub(super) fn insert(&self, blocks: &[u64]) {
        self.grow_for(self.len() + blocks.len());
        let places = self.places();
        for block in blocks {
            if self.len() >= places.len() / 2 {
                return;
            }
            if enter(places, self.tag(*block)) {
                self.len.store(self.len() + 1, Ordering::Relaxed);
            }
        }
    }

    /// Forgets all; the places are used again. Whoever reads meanwhile finds less than there was.
    pub(super) fn clear(&self) {
        self.places().iter().for_each(|place| place.store(0, Ordering::Relaxed));
        self.len.store(0, Ordering::Relaxed);
    }

    /// Makes room for `count`, or as much as there may be.
    fn grow_for(&self, count: usize) {
        let size = PLACES.iter().position(|places| places / 2 >= count).unwrap_or(PLACES.len() - 1);
        if size < self.size.load(Ordering::Relaxed) || self.places[size].get().is_some() {
            return;
        }
        let larger: Box<[AtomicU32]> = repeat_with(AtomicU32::default).take(PLACES[size]).collect();
        let tags = self.places().iter().map(|place| place.load(Ordering::Relaxed));
        tags.filter(|tag| *tag != 0).for_each(|tag| {
            enter(&larger, tag);
        });
        let _ = self.places[size].set(larger);
        self.size.store(size, Ordering::Release);
    }

    fn places(&self) -> &[AtomicU32] {
        let places = self.places.get(self.size.load(Ordering::Acquire)).and_then(OnceLock::get);
        places.map(Box::as_ref).unwrap_or_default()
    }

    /// What stands for `block`; never 0.
    fn tag(&self, block: u64) -> u32 {
        #[allow(clippy::cast_possible_truncation)] // any bits of it will do
        let tag = fold(block, self.key) as u32;
        tag.max(1)
    }
}

/// Where `tag` is among `places`, or would be; `None` if there are none. Some of them must be free.
fn find(places: &[AtomicU32], tag: u32) -> Option<&AtomicU32> {
    let last = places.len().checked_sub(1)?;
    let mut place = tag as usize & last;
    loop {
        let found = places[place].load(Ordering::Relaxed);
        if found == 0 || found == tag {
            return places.get(place);
        }
        place = (place + 1) & last;
    }
}

/// Whether `tag` was not there before.
fn enter(places: &[AtomicU32], tag: u32) -> bool {
    let free = find(places, tag).filter(|place| place.load(Ordering::Relaxed) == 0);
    free.inspect(|place| place.store(tag, Ordering::Relaxed)).is_some()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_stds_set_would_have(rounds in prop::collection::vec(prop::collection::vec(1..900_u64, 0..300), 1..6)) {
            // One key, as with others two of them are the same 32 bits once in some hundred runs.
            let (blocks, mut expected) = (Blocks::with_key(7), HashSet::new());
            for round in rounds {
                if round.len() % 10 == 9 {
                    blocks.clear();
                    expected.clear();
                }
                blocks.insert(&round);
                expected.extend(round);
                prop_assert_eq!(blocks.len(), expected.len());
                for block in 1..902 {
                    prop_assert_eq!(blocks.contains(block), expected.contains(&block));
                }
            }
        }
    }

    /// Rule 9: everything is bounded.
    #[test]
    fn rule_9_it_has_no_more_than_there_may_be() {
        let (blocks, all) = (Blocks::default(), (0..2 * BLOCKS_MAX as u64).collect::<Vec<_>>());
        all.chunks(1_000).for_each(|some| blocks.insert(some));
        blocks.insert(&all);
        assert_eq!((blocks.len(), blocks.places().len()), (BLOCKS_MAX, 2 * BLOCKS_MAX));
        blocks.clear();
        blocks.insert(&all[..10]);
        assert_eq!((blocks.len(), blocks.leading(&all)), (10, 10));
    }

    #[test]
    fn what_leads_is_counted_up_to_what_is_not_there() {
        let blocks = Blocks::default();
        assert_eq!((blocks.leading(&[1]), blocks.leading(&[])), (0, 0));
        blocks.insert(&[1, 2, 3]);
        assert_eq!((blocks.leading(&[1, 2, 3, 4, 5]), blocks.leading(&[1]), blocks.leading(&[4])), (3, 1, 0));
    }
}
