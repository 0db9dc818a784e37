//! What is counted of one endpoint, in place: a request finds it once, and then only adds.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    Code, Latency, Operation, Served,
    latency::{BETWEEN_TOKENS, FIRST_BYTE, FIRST_TOKEN, WHOLE},
};
use crate::usage::Usage;

/// Numbers of one endpoint since it has been asked here first.
#[derive(Debug)]
pub(crate) struct Series {
    pub(super) requests: [[AtomicU64; Served::ALL.len()]; Code::ALL.len()],
    /// By whether the client asked for a stream.
    pub(super) first_byte: [Latency; 2],
    pub(super) between_tokens: Latency,
    pub(super) retries: AtomicU64,
    /// Of prompts, generated, and of prompts but cached.
    pub(super) tokens: [AtomicU64; 3],
    pub(super) operations: [OperationSeries; Operation::ALL.len()],
}

/// What is told apart by operation, as the conventions for generative AI want it.
#[derive(Debug)]
pub(super) struct OperationSeries {
    pub(super) first_token: Latency,
    pub(super) per_token: Latency,
    pub(super) whole: Latency,
}

/// How a request went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Went {
    pub(crate) operation: Operation,
    pub(crate) code: Code,
    pub(crate) served: Served,
    /// From its arrival to its end.
    pub(crate) took: Duration,
    /// From its arrival to the first token of a stream.
    pub(crate) first_token: Option<Duration>,
    /// From its arrival to the last token of a stream.
    pub(crate) last_token: Option<Duration>,
    pub(crate) usage: Usage,
}

impl Series {
    pub(crate) fn new() -> Self {
        Self {
            requests: Default::default(),
            first_byte: [const { Latency::new(FIRST_BYTE) }; 2],
            between_tokens: Latency::new(BETWEEN_TOKENS),
            retries: AtomicU64::new(0),
            tokens: Default::default(),
            operations: [const {
                OperationSeries {
                    first_token: Latency::new(FIRST_TOKEN),
                    per_token: Latency::new(BETWEEN_TOKENS),
                    whole: Latency::new(WHOLE),
                }
            }; Operation::ALL.len()],
        }
    }

    /// The first byte of an answer has been passed on.
    pub(crate) fn first_byte(&self, stream: bool, after: Duration) {
        let [whole, streamed] = &self.first_byte;
        if stream { streamed } else { whole }.observe(after);
    }

    /// `tokens` came `gap` after the ones before them.
    pub(crate) fn between_tokens(&self, gap: Duration, tokens: u32) {
        self.between_tokens.observe_each(gap, tokens);
    }

    /// One more replica is tried after one that gave no answer.
    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is over.
    pub(crate) fn ended(&self, went: &Went) {
        self.requests[went.code as usize][went.served as usize].fetch_add(1, Ordering::Relaxed);
        let usage = went.usage;
        for (sum, tokens) in self.tokens.iter().zip([usage.prompt, usage.completion, usage.cached]) {
            sum.fetch_add(tokens.into(), Ordering::Relaxed);
        }
        let series = &self.operations[went.operation as usize];
        series.whole.observe(went.took);
        if let Some(first) = went.first_token {
            series.first_token.observe(first);
            let rest = went.last_token.unwrap_or(first).saturating_sub(first);
            if let Some(each) = rest.checked_div(usage.completion.saturating_sub(1)) {
                series.per_token.observe(each);
            }
        }
    }
}
