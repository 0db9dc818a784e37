//! From the body of a request to what is to be generated.

use serde::Deserialize;

use super::{
    error::ApiError,
    text::{Position, Text, count_tokens, resume, resume_unmarked},
};

/// Most stop strings, as OpenAI has it.
const STOPS_MAX: usize = 4;
/// What `/v1/completions` generates when not told.
const COMPLETION_TOKENS: u32 = 16;
/// Tokens that a chat template adds per message.
const TEMPLATE_TOKENS: u32 = 4;

/// What one request is to be answered with.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) text: Text,
    pub(super) position: Position,
    /// The token at which the text ends by itself.
    pub(super) end: u32,
    pub(super) prompt_tokens: u32,
    pub(super) max_tokens: u32,
    pub(super) stops: Vec<String>,
    /// Given out before the first token.
    pub(super) echo: Option<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

/// Which model serves, and how much it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits<'a> {
    pub(super) model: &'a str,
    pub(super) max_model_len: u32,
}

/// The body of `/v1/chat/completions`, as far as it changes anything here.
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    pub(super) model: Option<String>,
    messages: Vec<Message>,
    max_completion_tokens: Option<u32>,
    continue_final_message: Option<bool>,
    add_generation_prompt: Option<bool>,
    #[serde(flatten)]
    common: Common,
}

/// The body of `/v1/completions`.
#[derive(Debug, Deserialize)]
pub(super) struct CompletionRequest {
    pub(super) model: Option<String>,
    prompt: OneOrMany,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Default, Deserialize)]
struct Common {
    max_tokens: Option<u32>,
    stop: Option<OneOrMany>,
    n: Option<u32>,
    echo: Option<bool>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// One message of a chat.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    role: String,
    content: Option<Content>,
}

/// What a message says.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message; one that is no text counts for nothing.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    text: Option<String>,
}

/// A string or a list of strings.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl Message {
    pub(super) fn new(role: &str, content: Content) -> Self {
        Self { role: role.to_owned(), content: Some(content) }
    }

    fn text(&self) -> String {
        match &self.content {
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().filter_map(|part| part.text.as_deref()).collect(),
            None => String::new(),
        }
    }
}

impl ChatRequest {
    /// One that asks for nothing but text.
    pub(super) fn plain(
        model: Option<String>,
        messages: Vec<Message>,
        max_tokens: Option<u32>,
        stream: Option<bool>,
    ) -> Self {
        Self {
            model,
            messages,
            max_completion_tokens: max_tokens,
            continue_final_message: None,
            add_generation_prompt: None,
            common: Common { stream, ..Common::default() },
        }
    }

    /// What to generate. With `continue_final_message` the last message is the beginning of the answer.
    pub(super) fn into_job(self, limits: Limits<'_>) -> Result<Job, ApiError> {
        let Some((last, before)) = self.messages.split_last() else {
            return Err(ApiError::bad_request(Some("messages"), "`messages` must hold at least one message."));
        };
        let continues = self.continue_final_message.unwrap_or(false);
        // As vLLM, where the default of the other is true.
        if continues && self.add_generation_prompt.unwrap_or(true) {
            let message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True.";
            return Err(ApiError::bad_request(Some("add_generation_prompt"), message));
        }
        let generated = if continues { last.text() } else { String::new() };
        let prompt = template(if continues { before } else { &self.messages });
        // The beginning of an answer stands where an answer would, so it costs no more than its own tokens.
        let turns = if continues { before.len() } else { self.messages.len() };
        let per_message = TEMPLATE_TOKENS * u32::try_from(turns).unwrap_or(u32::MAX / TEMPLATE_TOKENS);
        let texts = self.messages.iter().map(|message| count_tokens(&message.text()));
        let prompt_tokens = texts.fold(per_message, u32::saturating_add);
        let max_tokens = self.max_completion_tokens.or(self.common.max_tokens);
        let resumed = resume(limits.model, &prompt, &generated);
        let echo = (continues && self.common.echo == Some(true)).then_some(generated);
        let max_tokens = limits.check(prompt_tokens, max_tokens, "messages")?;
        self.common.into_job(resumed, prompt_tokens, max_tokens, echo)
    }
}

/// The prompt that the messages make, in the way of a chat template.
fn template(messages: &[Message]) -> String {
    let mut prompt: String =
        messages.iter().map(|message| format!("<|{}|>\n{}\n", message.role, message.text())).collect();
    prompt.push_str("<|assistant|>\n");
    prompt
}

impl CompletionRequest {
    /// What to generate. A prompt that ends with the beginning of its own answer is continued there.
    pub(super) fn into_job(self, limits: Limits<'_>) -> Result<Job, ApiError> {
        let mut prompts = self.prompt.into_vec();
        let (Some(prompt), true) = (prompts.pop(), prompts.is_empty()) else {
            return Err(ApiError::bad_request(Some("prompt"), "The simulated engine takes exactly one prompt."));
        };
        let prompt_tokens = count_tokens(&prompt).max(1);
        let max_tokens = self.common.max_tokens.or(Some(COMPLETION_TOKENS));
        let max_tokens = limits.check(prompt_tokens, max_tokens, "prompt")?;
        let resumed = resume_unmarked(limits.model, &prompt);
        let echo = (self.common.echo == Some(true)).then_some(prompt);
        self.common.into_job(resumed, prompt_tokens, max_tokens, echo)
    }
}

impl Limits<'_> {
    /// How many tokens may be generated.
    fn check(self, prompt: u32, max_tokens: Option<u32>, param: &'static str) -> Result<u32, ApiError> {
        if max_tokens == Some(0) {
            return Err(ApiError::bad_request(Some("max_tokens"), "max_tokens must be at least 1, got 0."));
        }
        let most = self.max_model_len;
        let wanted = max_tokens.unwrap_or(1);
        let requested = prompt.saturating_add(wanted);
        if requested > most {
            let message = format!(
                "This model's maximum context length is {most} tokens. However, you requested {requested} tokens \
                 ({prompt} in the {param}, {wanted} in the completion). Please reduce the length of the {param} or \
                 completion."
            );
            return Err(ApiError::bad_request(Some(param), message));
        }
        Ok(max_tokens.unwrap_or(most - prompt))
    }
}

impl Common {
    fn into_job(
        self,
        (text, position): (Text, Position),
        prompt_tokens: u32,
        max_tokens: u32,
        echo: Option<String>,
    ) -> Result<Job, ApiError> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(ApiError::bad_request(Some("n"), "The simulated engine generates one choice: `n` must be 1."));
        }
        let stops = self.stop.map(OneOrMany::into_vec).unwrap_or_default();
        if stops.len() > STOPS_MAX {
            return Err(ApiError::bad_request(Some("stop"), format!("`stop` takes at most {STOPS_MAX} strings.")));
        }
        Ok(Job {
            end: if self.ignore_eos == Some(true) { u32::MAX } else { text.length() },
            text,
            position,
            prompt_tokens,
            max_tokens,
            stops,
            echo,
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
        })
    }
}
