//! What was used, by key and endpoint.

use serde::{Deserialize, Serialize};
use shoal_types::{EndpointName, KeyId};

/// Requests and their tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyCounts {
    /// Requests that ended, whichever way.
    pub requests: u64,
    /// Tokens of their prompts, the cached ones included.
    pub prompt: u64,
    /// Tokens of their answers.
    pub completion: u64,
    /// Of the prompts' tokens, those that engines had computed before.
    pub cached: u64,
}

impl KeyCounts {
    /// Adds `more`.
    pub const fn add(&mut self, more: &Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.prompt = self.prompt.saturating_add(more.prompt);
        self.completion = self.completion.saturating_add(more.completion);
        self.cached = self.cached.saturating_add(more.cached);
    }

    /// All tokens.
    pub const fn tokens(&self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }
}

/// What one key used of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUsage {
    /// Who.
    pub key: KeyId,
    /// Of what.
    pub endpoint: EndpointName,
    /// How much.
    pub counts: KeyCounts,
}
