//! The beginning of a prompt as a chain of hashes: what an engine's prefix cache could know of it.
//!
//! Bytes are hashed, not tokens: two prompts that begin with the same bytes begin with the same tokens, and no tokenizer
//! is needed to see that. Engines cache blocks of 16 tokens or more; 64 are enough to tell who has most of a prompt.

use memchr::{memchr, memmem, memrchr};

use super::hash::chain;
use crate::head::Prompt;

/// Bytes of one block: 64 tokens at four bytes each.
pub(crate) const BLOCK: usize = 256;
/// Blocks that are looked at, which are 131,072 tokens: what is beyond them goes where the beginning goes.
const BLOCKS_MAX: usize = 2_048;
/// How much of a prompt without messages is its root, in bytes.
const ROOT: usize = 1_024;
/// The root of a prompt is what it shares with others, if it has that in common with them to four fifths; else it
/// is what it will share with the rest of its conversation.
const SHARED: (usize, usize) = (4, 5);

/// The hashes of a prompt's blocks, each with all before it, so that two prompts have the same first `n` if they begin
/// with the same `n` blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix {
    blocks: Vec<u64>,
    bytes: usize,
    root: u64,
    known_by: Option<usize>,
}

/// Where the parts of a list of messages end, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opening {
    /// What comes before the first word of the user: the same for all conversations of an application.
    shared: usize,
    /// Up to the end of the first message of the user: the same for the whole of one conversation.
    root: usize,
}

impl Prefix {
    /// That of `prompt`, whose hashes begin with `seed`. `None` if it has not one block: then nothing is worth finding.
    pub(crate) fn new(seed: u64, prompt: &Prompt<'_>) -> Option<Self> {
        let preamble: usize = prompt.preamble.iter().map(|part| part.len()).sum();
        let body = prompt.body.as_bytes();
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
        prompt.preamble.iter().flat_map(|part| part.as_bytes().chunks(BLOCK)).take(BLOCKS_MAX).for_each(&mut push);
        let before = prompt.preamble.iter().map(|part| part.len().div_ceil(BLOCK)).sum::<usize>().min(BLOCKS_MAX);
        // The last bytes are no whole block yet: they will be others when the conversation goes on.
        body.chunks_exact(BLOCK).take(BLOCKS_MAX - before).for_each(&mut push);
        let opening = Opening::of(body);
        let at = opening.root(preamble, before, body.len());
        let root_blocks = (before + at / BLOCK).min(blocks.len());
        let whole = root_blocks.checked_sub(1).map_or(seed, |index| blocks[index]);
        let root = chain(whole, if root_blocks == BLOCKS_MAX { &[] } else { &body[at / BLOCK * BLOCK..at] });
        let known_by = Some(root_blocks).filter(|&blocks| blocks > before + opening.shared / BLOCK);
        Some(Self { blocks, bytes, root, known_by })
    }

    /// The hashes, the first block's first.
    pub(crate) fn blocks(&self) -> &[u64] {
        &self.blocks
    }

    /// Bytes of the whole prompt.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What decides about its home: all nodes come to the same without having heard of each other.
    pub(crate) const fn root(&self) -> u64 {
        self.root
    }

    /// By how many of its first blocks a replica is known to have had the same conversation before; `None` if these are
    /// in others as well.
    pub(super) const fn known_by(&self) -> Option<usize> {
        self.known_by
    }
}

impl Opening {
    /// That of `body`, a list of messages, or whatever else a prompt is. A key or a value of one is found by its quotes:
    /// within a text they are escaped.
    fn of(body: &[u8]) -> Self {
        let body = &body[..body.len().min(BLOCK * BLOCKS_MAX)];
        let is_list = memchr(b'[', &body[..body.len().min(1)]).is_some();
        let Some(user) = memmem::find(body, b"\"user\"").filter(|_| is_list) else {
            return Self { shared: 0, root: body.len().min(ROOT) };
        };
        let next = memmem::find(&body[user..], b"\"role\"").map_or(body.len(), |next| user + next);
        let end = memrchr(b'}', &body[user..next]).map_or(next, |end| user + end + 1);
        Self { shared: memrchr(b'{', &body[..user]).unwrap_or(0), root: end }
    }

    /// Up to where in the body of `len` bytes, which come after `preamble` bytes in `before` blocks, the root goes.
    const fn root(self, preamble: usize, before: usize, len: usize) -> usize {
        let (part, whole) = SHARED;
        let is_shared = (preamble + self.shared) * whole >= (preamble + len) * part;
        // Less than a block is no root: all prompts of a model would have the same home.
        if is_shared && before + self.shared / BLOCK > 0 { self.shared / BLOCK * BLOCK } else { self.root }
    }
}

#[cfg(test)]
mod tests;
