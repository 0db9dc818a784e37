//! The beginning of a prompt as a chain of hashes: what an engine's prefix cache could know of it.
//!
//! Bytes are hashed, not tokens: two prompts that begin with the same bytes begin with the same tokens, and no tokenizer
//! is needed to see that. Engines cache blocks of 16 tokens or more; 64 are enough to tell who has most of a prompt.

use memchr::memrchr;

use super::hash::chain;
use crate::{head::Prompt, members::Turns};

/// Bytes of one block: 64 tokens at four bytes each.
pub(crate) const BLOCK: usize = 256;
/// Blocks that are looked at, which are 131,072 tokens: what is beyond them goes where the beginning goes.
const BLOCKS_MAX: usize = 2_048;
/// How much of a prompt without messages is its root, in bytes.
const ROOT: usize = 1_024;
/// The part of a prompt that it must have in common with other conversations to be sent where they are.
const SHARED: (usize, usize) = (4, 5);

/// The hashes of a prompt's blocks, each with all before it, so that two prompts have the same first `n` if they begin
/// with the same `n` blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix {
    blocks: Vec<u64>,
    bytes: usize,
    root: u64,
    shared_root: Option<u64>,
    root_blocks: usize,
}

/// Where the parts of a list of messages end, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opening {
    /// What comes before the first word of the user: the same for all conversations of an application.
    shared: usize,
    /// Up to the end of the first message of the user: the same for the whole of one conversation.
    root: usize,
    /// Whether something follows it.
    goes_on: bool,
}

impl Prefix {
    /// That of `prompt`, whose hashes begin with `seed`. `None` if it has not one block: then nothing is worth finding.
    pub(crate) fn new(seed: u64, prompt: &Prompt<'_>) -> Option<Self> {
        let preamble: usize = prompt.preamble.iter().map(|part| part.len()).sum();
        let body = prompt.body;
        let bytes = preamble + body.len();
        if bytes < BLOCK {
            return None;
        }
        let mut blocks = Vec::with_capacity((bytes / BLOCK + prompt.preamble.len()).min(BLOCKS_MAX));
        let mut last = seed;
        let mut push = |part: &[u8]| {
            last = chain(last, part);
            blocks.push(last);
        };
        prompt.preamble.iter().flat_map(|part| part.chunks(BLOCK)).take(BLOCKS_MAX).for_each(&mut push);
        let before = prompt.preamble.iter().map(|part| part.len().div_ceil(BLOCK)).sum::<usize>().min(BLOCKS_MAX);
        // The last bytes are no whole block yet: they will be others when the conversation goes on.
        body.chunks_exact(BLOCK).take(BLOCKS_MAX - before).for_each(&mut push);
        let opening = Opening::of(body, prompt.turns);
        let of_body = |at: usize| (before + at / BLOCK).min(blocks.len());
        let hash = |at: usize, rest: &[u8]| {
            let whole = of_body(at);
            let rest = if whole == BLOCKS_MAX { &[] } else { rest };
            chain(whole.checked_sub(1).map_or(seed, |index| blocks[index]), rest)
        };
        let root = hash(opening.root, &body[opening.root / BLOCK * BLOCK..opening.root]);
        let is_shared = (preamble + opening.shared) * SHARED.1 >= bytes * SHARED.0;
        // A later turn looks for the first one. And less than a block is no root: all prompts of a model would have one home.
        let has_shared_root = is_shared && !opening.goes_on && of_body(opening.shared) > 0;
        let shared_root = has_shared_root.then(|| hash(opening.shared, &[]));
        let root_blocks = if opening.goes_on { of_body(opening.root) } else { 0 };
        Some(Self { blocks, bytes, root, shared_root, root_blocks })
    }

    /// The hashes, the first block's first.
    pub(crate) fn blocks(&self) -> &[u64] {
        &self.blocks
    }

    /// Bytes of the whole prompt.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What decides about the home of its conversation: all nodes come to the same without having heard of each other.
    pub(crate) const fn root(&self) -> u64 {
        self.root
    }

    /// The same of what it has in common with other conversations, if it is mostly that, and the first turn of its own.
    pub(super) const fn shared_root(&self) -> Option<u64> {
        self.shared_root
    }

    /// How many of its blocks its first turn had, if it is a later one.
    pub(super) const fn root_blocks(&self) -> usize {
        self.root_blocks
    }
}

impl Opening {
    /// That of `body`, a list of messages with these `turns`, or whatever else a prompt is.
    fn of(body: &[u8], turns: Turns) -> Self {
        let body = &body[..body.len().min(BLOCK * BLOCKS_MAX)];
        let within = |at: Option<usize>| at.filter(|&at| at < body.len());
        let Some(user) = within(turns.user) else {
            return Self { shared: 0, root: body.len().min(ROOT), goes_on: false };
        };
        let next = within(turns.next);
        let after = next.unwrap_or(body.len());
        let end = memrchr(b'}', &body[user..after]).map_or(after, |end| user + end + 1);
        Self { shared: memrchr(b'{', &body[..user]).unwrap_or(0), root: end, goes_on: next.is_some() }
    }
}

#[cfg(test)]
mod tests;
