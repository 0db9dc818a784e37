//! The paths that are forwarded to engines, and what differs between them.
//!
//! | path | names its model in | errors of the ingress look like |
//! |---|---|---|
//! | `/v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/embeddings`, `/v1/moderations` | JSON | OpenAI's |
//! | `/v1/messages`, `/v1/messages/count_tokens` | JSON | Anthropic's |
//! | `/v1/rerank`, `/v2/rerank`, `/rerank`, `/v1/score`, `/score`, `/classify`, `/pooling` | JSON | OpenAI's |
//! | `/tokenize`, `/detokenize` | JSON | OpenAI's |
//! | `/v1/audio/speech` | JSON | OpenAI's |
//! | `/v1/audio/transcriptions`, `/v1/audio/translations` | a form | OpenAI's |
//!
//! All of them are asked by POST. Which of them an engine has is its own business: what it answers to one that it has not
//! is passed on.

use crate::error::ErrorShape;

/// One of the paths that are forwarded; nothing else of an engine can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    ChatCompletions,
    Completions,
    Responses,
    Embeddings,
    Moderations,
    /// Anthropic's API, which engines have besides OpenAI's.
    Messages,
    CountTokens,
    Rerank,
    Score,
    Classify,
    Pooling,
    Tokenize,
    Detokenize,
    Speech,
    Transcriptions,
    Translations,
}

/// How a request says what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON object.
    Json,
    /// `multipart/form-data`.
    Form,
}

impl Api {
    /// Which one `path` is.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::ChatCompletions,
            "/v1/completions" => Self::Completions,
            "/v1/responses" => Self::Responses,
            "/v1/embeddings" => Self::Embeddings,
            "/v1/moderations" => Self::Moderations,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            "/v1/rerank" | "/v2/rerank" | "/rerank" => Self::Rerank,
            "/v1/score" | "/score" => Self::Score,
            "/classify" => Self::Classify,
            "/pooling" => Self::Pooling,
            "/tokenize" => Self::Tokenize,
            "/detokenize" => Self::Detokenize,
            "/v1/audio/speech" => Self::Speech,
            "/v1/audio/transcriptions" => Self::Transcriptions,
            "/v1/audio/translations" => Self::Translations,
            _ => return None,
        })
    }

    /// How its requests are written.
    pub(crate) const fn format(self) -> Format {
        match self {
            Self::Transcriptions | Self::Translations => Format::Form,
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Moderations
            | Self::Messages
            | Self::CountTokens
            | Self::Rerank
            | Self::Score
            | Self::Classify
            | Self::Pooling
            | Self::Tokenize
            | Self::Detokenize
            | Self::Speech => Format::Json,
        }
    }

    /// How its clients are told of errors.
    pub(crate) const fn errors(self) -> ErrorShape {
        match self {
            Self::Messages | Self::CountTokens => ErrorShape::Anthropic,
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Moderations
            | Self::Rerank
            | Self::Score
            | Self::Classify
            | Self::Pooling
            | Self::Tokenize
            | Self::Detokenize
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations => ErrorShape::OpenAi,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_inference_is_forwarded() {
        for path in
            ["/sleep", "/v1/load_lora_adapter", "/metrics", "/v1/models", "/v1/chat/completions/", "/V1/COMPLETIONS"]
        {
            assert_eq!(Api::of(path), None, "{path}");
        }
        assert_eq!(Api::of("/v1/messages").map(Api::errors), Some(ErrorShape::Anthropic));
        assert_eq!(Api::of("/v1/audio/transcriptions").map(Api::format), Some(Format::Form));
    }
}
