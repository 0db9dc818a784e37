//! A set of hashes, for hundreds of them at once: a prompt of 100,000 tokens has 1,600.
//!
//! std's set touches two lines of memory for each that is entered, and waits for both. This one touches one, and the next does
//! not wait for it.

use std::hash::{BuildHasher as _, RandomState};

use super::hash::fold;

/// Places at first.
const PLACES_MIN: usize = 64;

/// A set of hashes. Where they stand is kept from clients, who choose prompts, and could choose such as fall on one another.
#[derive(Debug)]
pub(super) struct Blocks {
    /// A power of two of them, half of them free; a free one is 0.
    places: Box<[u64]>,
    len: usize,
    key: u64,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { places: Box::default(), len: 0, key: RandomState::new().hash_one(0) }
    }
}

impl Blocks {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains(&self, block: u64) -> bool {
        !self.places.is_empty() && self.places[self.place(block)] != 0
    }

    pub(super) fn insert(&mut self, block: u64) {
        if (self.len + 1) * 2 > self.places.len() {
            self.grow();
        }
        let place = self.place(block);
        self.len += usize::from(self.places[place] == 0);
        self.places[place] = stored(block);
    }

    /// Forgets all; the places stay.
    pub(super) fn clear(&mut self) {
        self.places.fill(0);
        self.len = 0;
    }

    /// Where `block` is, or would be. There must be places.
    fn place(&self, block: u64) -> usize {
        let (block, last) = (stored(block), self.places.len() - 1);
        #[allow(clippy::cast_possible_truncation)] // any bits of it will do
        let mut place = fold(block, self.key) as usize & last;
        while self.places[place] != 0 && self.places[place] != block {
            place = (place + 1) & last;
        }
        place
    }

    fn grow(&mut self) {
        let places = vec![0; (self.places.len() * 2).max(PLACES_MIN)].into_boxed_slice();
        let before = std::mem::replace(&mut self.places, places);
        for block in before.into_iter().filter(|block| *block != 0) {
            let place = self.place(block);
            self.places[place] = block;
        }
    }
}

/// 0 stands for none, and its block for another one: that is wrong once in 10^19.
const fn stored(block: u64) -> u64 {
    if block == 0 { 1 } else { block }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_stds_set_would_have(rounds in prop::collection::vec(prop::collection::vec(0..300_u64, 0..200), 1..4)) {
            let mut blocks = Blocks::default();
            for round in rounds {
                let mut expected = HashSet::new();
                for block in round {
                    // 0 and 1 are one.
                    blocks.insert(block + 1);
                    expected.insert(block + 1);
                    prop_assert_eq!(blocks.len(), expected.len());
                }
                for block in 1..302 {
                    prop_assert_eq!(blocks.contains(block), expected.contains(&block));
                }
                blocks.clear();
                prop_assert!(blocks.len() == 0 && (1..302).all(|block| !blocks.contains(block)));
            }
        }
    }
}
