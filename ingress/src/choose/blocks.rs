//! A set of hashes, for hundreds of them at once: a prompt of 100,000 tokens has 1,600.
//!
//! std's set touches two lines of memory for each that is entered, and waits for both. This one touches one, and the next does
//! not wait for it. It is read while it is written: whoever reads may miss what is being entered.

use std::{
    hash::{BuildHasher as _, RandomState},
    iter::repeat_with,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
};

use super::hash::fold;

/// Places at first.
const PLACES_MIN: usize = 64;

/// A set of hashes. Where they stand is kept from clients, who choose prompts, and could choose such as fall on one another.
///
/// Of each it keeps 32 bits, so that twice as many are in the second cache: of those that are not in a full generation, it has one in
/// 260,000.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Tags. A power of two of places, at least half of them free; a free one is 0.
    places: Box<[AtomicU32]>,
    len: AtomicUsize,
    key: u64,
}

impl Default for Blocks {
    fn default() -> Self {
        Self::with_places(0, RandomState::new().hash_one(0))
    }
}

impl Blocks {
    /// None yet, and as many places, or room for `count`.
    pub(super) fn anew_for(&self, count: usize) -> Self {
        Self::with_places(self.places.len().max(places_for(count)), self.key)
    }

    /// Forgets all, if there is room for `count` then.
    pub(super) fn empty_for(&self, count: usize) -> bool {
        let has_room = places_for(count) <= self.places.len();
        if has_room {
            self.places.iter().for_each(|place| place.store(0, Relaxed));
            self.len.store(0, Relaxed);
        }
        has_room
    }

    fn with_places(places: usize, key: u64) -> Self {
        let places = repeat_with(AtomicU32::default).take(places).collect();
        Self { places, len: AtomicUsize::new(0), key }
    }

    /// What is in it, and room for `more`, if there is none in it.
    pub(super) fn grown_for(&self, more: usize) -> Option<Self> {
        let places = places_for(self.len() + more);
        (places > self.places.len()).then(|| {
            let grown = Self::with_places(places, self.key);
            let tags = self.places.iter().map(|place| place.load(Relaxed));
            tags.filter(|tag| *tag != 0).for_each(|tag| grown.enter(tag));
            grown
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// How many of the first of `blocks` it has, of which none is in it without those before.
    pub(super) fn leading(&self, blocks: &[u64]) -> usize {
        if blocks.first().is_some_and(|&first| self.contains(first)) {
            blocks.partition_point(|&block| self.contains(block))
        } else {
            0
        }
    }

    pub(super) fn contains(&self, block: u64) -> bool {
        !self.places.is_empty() && self.place(self.tag(block)).load(Relaxed) != 0
    }

    /// Enters `blocks`, for which there must be room. Of two that enter at once, one may lose what it enters.
    pub(super) fn insert(&self, blocks: &[u64]) {
        blocks.iter().for_each(|block| self.enter(self.tag(*block)));
    }

    fn enter(&self, tag: u32) {
        let place = self.place(tag);
        if place.load(Relaxed) == 0 {
            place.store(tag, Relaxed);
            self.len.store(self.len() + 1, Relaxed);
        }
    }

    /// What stands for `block`; never 0.
    fn tag(&self, block: u64) -> u32 {
        #[allow(clippy::cast_possible_truncation)] // any bits of it will do
        let tag = fold(block, self.key) as u32;
        tag.max(1)
    }

    /// Where `tag` is, or would be. There must be places.
    fn place(&self, tag: u32) -> &AtomicU32 {
        let last = self.places.len() - 1;
        let mut place = tag as usize & last;
        loop {
            let found = self.places[place].load(Relaxed);
            if found == 0 || found == tag {
                return &self.places[place];
            }
            place = (place + 1) & last;
        }
    }
}

/// Twice as many as `count` at least.
fn places_for(count: usize) -> usize {
    (count * 2).next_power_of_two().max(PLACES_MIN)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_stds_set_would_have(rounds in prop::collection::vec(prop::collection::vec(1..300_u64, 0..200), 1..4)) {
            // One key, as with others two of them are the same 32 bits once in some hundred runs.
            let (mut blocks, mut expected) = (Blocks::with_places(0, 7), HashSet::new());
            for round in rounds {
                blocks = blocks.grown_for(round.len()).unwrap_or(blocks);
                blocks.insert(&round);
                expected.extend(round);
                prop_assert_eq!(blocks.len(), expected.len());
                for block in 1..302 {
                    prop_assert_eq!(blocks.contains(block), expected.contains(&block));
                }
            }
            let places = blocks.places.len();
            prop_assert!(!blocks.empty_for(places + 1) && blocks.len() == expected.len());
            prop_assert!(blocks.empty_for(places / 2) == (places >= PLACES_MIN));
            prop_assert!(places == 0 || blocks.len() == 0 && (1..302).all(|block| !blocks.contains(block)));
        }
    }

    #[test]
    fn what_leads_is_counted_up_to_what_is_not_there() {
        let blocks = Blocks::default().grown_for(3).unwrap();
        assert_eq!((Blocks::default().leading(&[1]), blocks.leading(&[])), (0, 0));
        blocks.insert(&[1, 2, 3]);
        assert_eq!((blocks.leading(&[1, 2, 3, 4, 5]), blocks.leading(&[1]), blocks.leading(&[4])), (3, 1, 0));
    }
}
