//! What a replica is believed to have in its prefix cache: the blocks of the prompts that this ingress has sent it, as
//! far as they are not too long ago. Nothing is asked of engines, and nothing is told to other ingresses.

use super::blocks::Blocks;

/// Blocks that are remembered of one replica at most, in both generations: 2 M tokens, more than the KV cache of any
/// engine of today holds, and 0.5 MB here.
const BLOCKS_MAX: usize = 32_768;

/// The latest blocks of one replica. Two generations stand for an order of use: what is used is in the younger one, and
/// when that is full, it becomes the older one, whose blocks are forgotten.
///
/// Prompts are entered whole, so that each generation that has a block has all that come before it.
#[derive(Debug, Default)]
pub(super) struct Belief {
    young: Blocks,
    old: Blocks,
}

impl Belief {
    /// Enters the prompt of these blocks.
    pub(super) fn enter(&mut self, blocks: &[u64]) {
        if self.young.len() + blocks.len() > BLOCKS_MAX / 2 {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        blocks.iter().for_each(|block| self.young.insert(*block));
    }

    /// Whether it has the block that hashes to `block`, and hence all before that.
    pub(super) fn has(&self, block: u64) -> bool {
        self.young.contains(block) || self.old.contains(block)
    }

    /// How many of `blocks` it has. Of most prompts, most replicas have nothing.
    pub(super) fn held(&self, blocks: &[u64]) -> usize {
        if !blocks.first().is_some_and(|&first| self.has(first)) {
            return 0;
        }
        blocks.partition_point(|&block| self.has(block))
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
        let mut belief = Belief::default();
        belief.enter(&prompt(1, 10));
        assert_eq!(belief.held(&prompt(1, 20)), 10);
        assert_eq!(belief.held(&prompt(1, 5)), 5);
        assert_eq!(belief.held(&prompt(2, 20)), 1);
        assert!(belief.has(prompt(1, 10)[9]) && !belief.has(prompt(2, 10)[9]));
    }

    /// Rule 9: and what is forgotten is what was not used.
    #[test]
    fn rule_9_what_is_not_used_is_forgotten() {
        let mut belief = Belief::default();
        let (used, unused) = (prompt(0, 100), prompt(1, 100));
        belief.enter(&unused);
        for number in 2..1_000 {
            belief.enter(&used);
            belief.enter(&prompt(number, 100));
            assert!(belief.young.len() + belief.old.len() <= BLOCKS_MAX);
            assert_eq!(belief.held(&used), 100);
        }
        assert_eq!(belief.held(&unused), 1, "but for what all have");
        assert_eq!(belief.held(&prompt(999, 100)), 100);
    }
}
