//! What a replica is believed to have in its prefix cache: the blocks of the prompts that this ingress has sent it, as
//! far as they are not too long ago. Nothing is asked of engines, and nothing is told to other ingresses.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use super::blocks::{BLOCKS_MAX, Blocks};

/// The latest blocks of one replica: 2 M tokens in both generations, more than the KV cache of any engine of today holds, and
/// 0.3 MB here. Two generations stand for an order of use: what is used is in the younger one, and when that is full, it becomes
/// the older one, whose blocks are forgotten.
///
/// Prompts are entered whole, so that each generation that has a block has all that come before it.
///
/// Every choice reads it, of every replica, and most prompts are known where they go: reading takes no lock and writes nothing.
#[derive(Debug, Default)]
pub(super) struct Belief {
    generations: [Blocks; 2],
    /// Which of them is the younger one.
    young: AtomicUsize,
    /// Held by whoever enters a prompt.
    entering: Mutex<()>,
}

impl Belief {
    /// Enters the prompt of these blocks.
    pub(super) fn enter(&self, blocks: &[u64]) {
        if self.young().leading(blocks) == blocks.len() {
            return;
        }
        let _entering = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        let young = self.young();
        let known = young.leading(blocks);
        if young.len() + (blocks.len() - known) <= BLOCKS_MAX {
            return young.insert(&blocks[known..]);
        }
        let old = 1 - self.young.load(Ordering::Relaxed);
        self.generations[old].clear();
        self.generations[old].insert(blocks);
        self.young.store(old, Ordering::Release);
    }

    /// How many of `blocks` it has. Of most prompts, most replicas have nothing.
    pub(super) fn held(&self, blocks: &[u64]) -> usize {
        let [one, other] = &self.generations;
        one.leading(blocks).max(other.leading(blocks))
    }

    fn young(&self) -> &Blocks {
        &self.generations[self.young.load(Ordering::Acquire)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::hash::fold;

    /// The blocks of prompt `number`, which shares its first with all others.
    fn prompt(number: u64, blocks: u64) -> Vec<u64> {
        (0..blocks).map(|block| if block == 0 { 7 } else { fold(number, block) }).collect()
    }

    #[test]
    fn what_was_entered_is_held_up_to_where_it_differs() {
        let belief = Belief::default();
        belief.enter(&prompt(1, 10));
        assert_eq!(belief.held(&prompt(1, 20)), 10);
        assert_eq!(belief.held(&prompt(1, 5)), 5);
        assert_eq!(belief.held(&prompt(2, 20)), 1);
    }

    /// Rule 9: and what is forgotten is what was not used.
    #[test]
    fn rule_9_what_is_not_used_is_forgotten() {
        let belief = Belief::default();
        let (used, unused) = (prompt(0, 100), prompt(1, 100));
        belief.enter(&unused);
        for number in 2..1_000 {
            belief.enter(&used);
            belief.enter(&prompt(number, 100));
            assert!(belief.generations.iter().all(|generation| generation.len() <= BLOCKS_MAX));
            assert_eq!(belief.held(&used), 100);
        }
        assert_eq!(belief.held(&unused), 1, "but for what all have");
        assert_eq!(belief.held(&prompt(999, 100)), 100);
    }
}
