//! The arithmetic.

use std::fmt;

use shoal_types::MemorySize;

use super::{
    EngineArgs, ModelShape,
    args::{Length, Number},
};

/// What each GPU is estimated to need.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Weights, once loaded, of all GPUs together.
    pub weights: MemorySize,
    /// GPUs that share them.
    pub gpus: u32,
    /// The same, of one GPU, without what stays in main memory.
    pub weights_each: MemorySize,
    /// Activations, NCCL, CUDA graphs.
    pub overhead: MemorySize,
    /// Keys and values of the longest sequence; `None`: not known.
    pub kv: Option<KvCache>,
    /// What an engine may take of one GPU.
    pub limit: MemorySize,
    /// The memory of the smallest GPU.
    pub memory: MemorySize,
    /// The share of it that the limit is.
    pub utilization: f64,
}

/// Keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvCache {
    /// Of so many tokens.
    pub tokens: u64,
    /// A token's, of all GPUs together.
    pub token: MemorySize,
    /// All of it, on one GPU.
    pub each: MemorySize,
    /// The size that it was given, if it was.
    pub given: Option<MemorySize>,
}

/// A model does not fit: what it needs or has, as a predicate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Misfit {
    /// No whole number of heads for each GPU.
    #[error("has {heads} attention heads, which cannot be divided among {gpus} GPUs")]
    Heads {
        /// The model's.
        heads: u32,
        /// As many as asked for.
        gpus: u32,
    },
    /// More memory than there is.
    #[error("{0}")]
    Memory(Box<Estimate>),
    /// The KV cache was given a size that does not hold one sequence.
    #[error(
        "needs {needed} of KV cache on each GPU for one sequence of {tokens} tokens, and `--kv-cache-memory-bytes` gives \
         it {given}"
    )]
    KvCache {
        /// Longest sequence.
        tokens: u64,
        /// What it needs on each GPU.
        needed: MemorySize,
        /// What it may have there.
        given: MemorySize,
    },
}

impl Estimate {
    /// What each GPU is estimated to need.
    pub fn needed(&self) -> MemorySize {
        let kv = self.kv.map_or(0, |kv| kv.given.unwrap_or(kv.each).as_bytes());
        sum([self.weights_each.as_bytes(), self.overhead.as_bytes(), kv])
    }

    /// What is left of one GPU for the KV cache.
    pub fn left_for_kv(&self) -> MemorySize {
        let taken = sum([self.weights_each.as_bytes(), self.overhead.as_bytes()]);
        MemorySize::from_bytes(self.limit.as_bytes().saturating_sub(taken.as_bytes()))
    }
}

/// Estimates what `shape` needs of GPUs with `memory` each, one for each part of the model. None: it runs without, and
/// nothing is known of that.
///
/// # Errors
/// If it needs more than there is.
pub fn check_fit(shape: &ModelShape, args: &EngineArgs, memory: &[MemorySize]) -> Result<Option<Estimate>, Misfit> {
    let (Some(&smallest), Ok(gpus)) = (memory.iter().min(), u32::try_from(memory.len())) else { return Ok(None) };
    if let Some(heads) = shape.heads
        && heads % gpus != 0
    {
        return Err(Misfit::Heads { heads, gpus });
    }
    let weights = loaded(shape, args);
    let each = weights.div_ceil(u64::from(gpus)).saturating_sub(args.offloaded.as_bytes());
    let kv = kv_cache(shape, args, gpus);
    let utilization = if args.kv_memory.is_some() { 1.0 } else { args.utilization };
    let estimate = Estimate {
        weights: MemorySize::from_bytes(weights),
        gpus,
        weights_each: MemorySize::from_bytes(each),
        overhead: args.overhead,
        kv,
        limit: share(smallest, utilization),
        memory: smallest,
        utilization,
    };
    match kv {
        Some(KvCache { tokens, each: needed, given: Some(given), .. }) if needed > given => {
            Err(Misfit::KvCache { tokens, needed, given })
        }
        _ if estimate.needed() > estimate.limit => Err(Misfit::Memory(Box::new(estimate))),
        _ => Ok(Some(estimate)),
    }
}

/// Bytes of the weights once they are loaded; 0 if that cannot be told.
fn loaded(shape: &ModelShape, args: &EngineArgs) -> u64 {
    let weights = shape.weights.as_bytes();
    if shape.quantized {
        return weights;
    }
    match (args.number, shape.number) {
        (Number::Unknown, _) => 0,
        (Number::Model, Some(4)) => weights / 2,
        (Number::Bytes(to), Some(from)) => (weights / u64::from(from)).saturating_mul(u64::from(to)),
        // Not more than one byte of every two: they are seldom kept in less.
        (Number::Bytes(1), None) => weights / 2,
        (Number::Model, Some(_) | None) | (Number::Bytes(_), None) => weights,
    }
}

fn kv_cache(shape: &ModelShape, args: &EngineArgs, gpus: u32) -> Option<KvCache> {
    let attention = shape.attention?;
    let tokens = match args.length {
        Length::Model => shape.positions?,
        Length::Tokens(tokens) => tokens,
        Length::Any => return None,
    };
    let number = match args.kv_number {
        // What is computed with has two bytes, whatever the weights have on disk.
        Number::Model => 2,
        Number::Bytes(bytes) => u64::from(bytes),
        Number::Unknown => return None,
    };
    // Keys and values.
    let head = (2 * number).saturating_mul(u64::from(attention.layers)).saturating_mul(u64::from(attention.head_dim));
    // With more GPUs than heads, heads are repeated.
    let heads_each = u64::from(attention.kv_heads.div_ceil(gpus));
    Some(KvCache {
        tokens,
        token: MemorySize::from_bytes(head.saturating_mul(u64::from(attention.kv_heads))),
        each: MemorySize::from_bytes(head.saturating_mul(heads_each).saturating_mul(tokens)),
        given: args.kv_memory,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // a share of at most 1
fn share(memory: MemorySize, share: f64) -> MemorySize {
    MemorySize::from_bytes((memory.as_bytes() as f64 * share) as u64)
}

fn sum<const N: usize>(bytes: [u64; N]) -> MemorySize {
    MemorySize::from_bytes(bytes.into_iter().fold(0, u64::saturating_add))
}

impl fmt::Display for Estimate {
    /// All of the arithmetic, in a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weights, gpus, weights_each, overhead, kv, limit, memory, utilization } = self;
        write!(f, "needs {weights} of weights")?;
        if *gpus > 1 {
            write!(f, " / {gpus} GPUs = {weights_each}")?;
        }
        write!(f, " + {overhead} overhead")?;
        if let Some(kv) = kv {
            write!(f, " + {kv}")?;
            if *gpus > 1 && kv.given.is_none() {
                write!(f, " / {gpus})")?;
            } else if kv.given.is_none() {
                f.write_str(")")?;
            }
        }
        write!(f, " = {} on each GPU; {utilization} of {memory} is {limit}", self.needed())
    }
}

impl fmt::Display for KvCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.given {
            Some(given) => write!(f, "{given} KV cache (`--kv-cache-memory-bytes`)"),
            None => write!(f, "{} KV cache for {} tokens ({} a token", self.each, self.tokens, self.token),
        }
    }
}

#[cfg(test)]
mod tests;
