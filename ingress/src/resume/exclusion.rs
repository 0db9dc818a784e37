//! Why a stream cannot go on with another replica as if nothing had happened.

use std::fmt;

/// What stands against continuing an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exclusion {
    /// The endpoint's spec says no.
    Off,
    /// Not chat or completions.
    Api,
    /// This node held as many bodies as it may, so it did not keep the request's.
    Room,
    /// The request cannot be read well enough.
    Unreadable,
    /// More than one answer, or several from which the best is taken.
    Choices,
    /// Probabilities of tokens: those of the prompt, or after a text that was tokenised anew, are others.
    Logprobs,
    /// The form of the answer is enforced, by an automaton whose state is lost.
    Guided,
    /// A tool must be called.
    ForcedTool,
    /// A tool is being called.
    ToolCall,
    /// The model has thought aloud: chat templates leave out the thoughts of earlier turns.
    Reasoning,
    /// The answer is to begin with its prompt.
    Echo,
    /// Something that only counts from the beginning of the prompt, or in a template of its own.
    Prompt,
    /// The stop string is to be a part of the answer, so engines do not hold its beginning back.
    StopIncluded,
    /// Ids of tokens are to be a part of the answer.
    TokenIds,
    /// Speech.
    Audio,
    /// Too long to be kept.
    TooLong,
}

impl Exclusion {
    pub(crate) const ALL: [Self; 16] = [
        Self::Off,
        Self::Api,
        Self::Room,
        Self::Unreadable,
        Self::Choices,
        Self::Logprobs,
        Self::Guided,
        Self::ForcedTool,
        Self::ToolCall,
        Self::Reasoning,
        Self::Echo,
        Self::Prompt,
        Self::StopIncluded,
        Self::TokenIds,
        Self::Audio,
        Self::TooLong,
    ];

    /// The word in metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Api => "api",
            Self::Room => "room",
            Self::Unreadable => "unreadable",
            Self::Choices => "choices",
            Self::Logprobs => "logprobs",
            Self::Guided => "guided",
            Self::ForcedTool => "forced-tool",
            Self::ToolCall => "tool-call",
            Self::Reasoning => "reasoning",
            Self::Echo => "echo",
            Self::Prompt => "prompt",
            Self::StopIncluded => "stop-included",
            Self::TokenIds => "token-ids",
            Self::Audio => "audio",
            Self::TooLong => "too-long",
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "the endpoint's `routing.resume` is off",
            Self::Api => "only chat and completions can be continued",
            Self::Room => "this node had no room to keep the request",
            Self::Unreadable => "the request is not in a form that can be continued",
            Self::Choices => "it has several answers (`n`, `best_of`)",
            Self::Logprobs => "it asks for logprobs",
            Self::Guided => "the form of its answer is enforced",
            Self::ForcedTool => "its `tool_choice` enforces a call",
            Self::ToolCall => "a tool call was in progress",
            Self::Reasoning => "the model had thought aloud",
            Self::Echo => "it asks for its prompt as a part of the answer",
            Self::Prompt => "its prompt is not one text that can be appended to",
            Self::StopIncluded => "it asks for the stop string as a part of the answer",
            Self::TokenIds => "it asks for token ids",
            Self::Audio => "it asks for audio",
            Self::TooLong => "its answer is too long to be kept",
        })
    }
}
