//! The words that labels may have.

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Success,
    Redirect,
    ClientError,
    ServerError,
    /// Broken off after the answer had begun.
    Broken,
    /// Given up by the client.
    Cancelled,
}

impl Code {
    /// In the order of their declaration, as series are.
    pub(super) const ALL: [Self; 6] =
        [Self::Success, Self::Redirect, Self::ClientError, Self::ServerError, Self::Broken, Self::Cancelled];

    /// The class of a whole answer with `status`.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// The word in metrics and logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    Local,
    Remote,
    /// By the ingress itself.
    Nowhere,
}

impl Served {
    /// In the order of their declaration, as series are.
    pub(super) const ALL: [Self; 3] = [Self::Local, Self::Remote, Self::Nowhere];

    /// The word in metrics and logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Nowhere => "none",
        }
    }
}

/// What is asked of a model, in the words of OpenTelemetry's conventions for generative AI (`gen_ai.operation.name`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The next message of a conversation.
    Chat,
    /// The rest of a text.
    TextCompletion,
    /// Vectors.
    Embeddings,
    /// One that the conventions have no word for.
    #[default]
    Other,
}

impl Operation {
    /// In the order of their declaration, as series are.
    pub(super) const ALL: [Self; 4] = [Self::Chat, Self::TextCompletion, Self::Embeddings, Self::Other];

    /// What a request to `path` asks.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" | "/v1/responses" | "/v1/messages" => Self::Chat,
            "/v1/completions" => Self::TextCompletion,
            "/v1/embeddings" => Self::Embeddings,
            _ => Self::Other,
        }
    }

    /// The word in metrics, logs and traces.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Embeddings => "embeddings",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_the_order_of_their_series() {
        assert!(Code::ALL.iter().enumerate().all(|(index, word)| *word as usize == index));
        assert!(Served::ALL.iter().enumerate().all(|(index, word)| *word as usize == index));
        assert!(Operation::ALL.iter().enumerate().all(|(index, word)| *word as usize == index));
    }
}
