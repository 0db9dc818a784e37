//! An engine with a prefix cache: prompts are computed one after the other, answers are generated side by side.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use shoal_types::Load;

/// Bytes of one block of its cache: 16 tokens, as of vLLM.
const BLOCK: usize = 64;
/// Seconds that a byte of a prompt takes: 20,000 tokens per second.
const PER_BYTE: f64 = 1.0 / 80_000.0;

/// One engine.
#[derive(Debug)]
pub struct Engine {
    cache: Lru,
    /// When it will have computed all prompts that it has.
    computed: f64,
    /// When each of those that wait is begun with.
    begins: VecDeque<f64>,
    /// Requests that are not finished.
    pub inflight: u32,
    /// Bytes of prompts, and of those what was in the cache.
    pub bytes: (usize, usize),
}

impl Engine {
    /// One whose cache holds so many tokens.
    pub fn new(tokens: usize) -> Self {
        Self { cache: Lru::new(tokens * 4 / BLOCK), computed: 0.0, begins: VecDeque::new(), inflight: 0, bytes: (0, 0) }
    }

    /// It is sent `prompt` at `now`. Returns when its first token comes.
    pub fn take(&mut self, prompt: &str, now: f64) -> f64 {
        let cached = self.cache.touch(prompt.as_bytes());
        self.bytes = (self.bytes.0 + prompt.len(), self.bytes.1 + cached);
        self.inflight += 1;
        let begins = self.computed.max(now);
        self.begins.push_back(begins);
        self.computed = begins + (prompt.len() - cached) as f64 * PER_BYTE;
        self.computed
    }

    /// What it would say of its load at `now`.
    pub fn load(&mut self, now: f64) -> Load {
        while self.begins.front().is_some_and(|begins| *begins <= now) {
            self.begins.pop_front();
        }
        let waiting = u32::try_from(self.begins.len()).unwrap_or(u32::MAX);
        let running = self.inflight.saturating_sub(waiting);
        Load { inflight: self.inflight, running: Some(running), waiting: Some(waiting), kv_cache: None }
    }
}

/// The blocks that were used last, each known by all that comes before it.
#[derive(Debug)]
struct Lru {
    capacity: usize,
    used: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
    clock: u64,
}

impl Lru {
    fn new(capacity: usize) -> Self {
        Self { capacity, used: HashMap::new(), order: BTreeMap::new(), clock: 0 }
    }

    /// Uses the blocks of `prompt`; returns how many of its first bytes were there.
    fn touch(&mut self, prompt: &[u8]) -> usize {
        let (mut hash, mut cached, mut is_cached) = (0, 0, true);
        for block in prompt.chunks_exact(BLOCK) {
            let mut hasher = DefaultHasher::new();
            (hash, block).hash(&mut hasher);
            hash = hasher.finish();
            self.clock += 1;
            match self.used.insert(hash, self.clock) {
                Some(before) => {
                    self.order.remove(&before);
                }
                None => is_cached = false,
            }
            self.order.insert(self.clock, hash);
            if is_cached {
                cached += BLOCK;
            }
        }
        while self.used.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.used.remove(&oldest);
        }
        cached
    }
}
