//! What a replica is believed to have in its prefix cache: the blocks of the prompts that this ingress has sent it, as
//! far as they are not too long ago. Nothing is asked of engines, and nothing is told to other ingresses.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::blocks::Blocks;

/// Blocks that are remembered of one replica at most, in both generations: 2 M tokens, more than the KV cache of any
/// engine of today holds, and 0.25 MB here.
const BLOCKS_MAX: usize = 32_768;

/// The latest blocks of one replica. Two generations stand for an order of use: what is used is in the younger one, and
/// when that is full, it becomes the older one, whose blocks are forgotten.
///
/// Prompts are entered whole, so that each generation that has a block has all that come before it.
///
/// Every choice reads it, of every replica, and most prompts are known where they go: reading takes no lock and writes nothing.
#[derive(Debug, Default)]
pub(super) struct Belief {
    kept: ArcSwap<Generations>,
    /// Held by whoever enters a prompt.
    entering: Mutex<()>,
}

#[derive(Debug, Default)]
struct Generations {
    young: Arc<Blocks>,
    old: Arc<Blocks>,
}

impl Belief {
    /// Enters the prompt of these blocks.
    pub(super) fn enter(&self, blocks: &[u64]) {
        if self.kept.load().young.leading(blocks) == blocks.len() {
            return;
        }
        let _entering = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.kept.load_full();
        let known = kept.young.leading(blocks);
        if kept.young.len() + (blocks.len() - known) > BLOCKS_MAX / 2 {
            // The places of what is forgotten are used again: whoever reads them just now finds less than there was.
            let is_empty = kept.old.empty_for(blocks.len());
            let young = if is_empty { Arc::clone(&kept.old) } else { Arc::new(kept.young.anew_for(blocks.len())) };
            young.insert(blocks);
            self.kept.store(Arc::new(Generations { young, old: Arc::clone(&kept.young) }));
        } else if let Some(larger) = kept.young.grown_for(blocks.len() - known) {
            larger.insert(&blocks[known..]);
            self.kept.store(Arc::new(Generations { young: Arc::new(larger), old: Arc::clone(&kept.old) }));
        } else {
            kept.young.insert(&blocks[known..]);
        }
    }

    /// How many of `blocks` it has. Of most prompts, most replicas have nothing.
    pub(super) fn held(&self, blocks: &[u64]) -> usize {
        if blocks.is_empty() {
            return 0;
        }
        self.kept.load().held(blocks)
    }
}

impl Generations {
    fn held(&self, blocks: &[u64]) -> usize {
        self.young.leading(blocks).max(self.old.leading(blocks))
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
            let kept = belief.kept.load();
            assert!(kept.young.len() + kept.old.len() <= BLOCKS_MAX);
            assert_eq!(belief.held(&used), 100);
        }
        assert_eq!(belief.held(&unused), 1, "but for what all have");
        assert_eq!(belief.held(&prompt(999, 100)), 100);
    }
}
