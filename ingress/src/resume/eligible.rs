//! Which requests another replica can go on with, exactly where the first one was.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::Exclusion;
use crate::api::Api;

/// The fields of an object, as they are written.
pub(super) type Fields<'a> = HashMap<String, &'a RawValue>;

/// What a request generates, as far as it can be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    Chat,
    Completion,
}

impl Generation {
    /// What is asked for by `api`; `None` for what is never continued.
    pub(crate) const fn of(api: Api) -> Option<Self> {
        match api {
            Api::ChatCompletions => Some(Self::Chat),
            Api::Completions => Some(Self::Completion),
            Api::Responses
            | Api::Embeddings
            | Api::Moderations
            | Api::Messages
            | Api::CountTokens
            | Api::Rerank
            | Api::Score
            | Api::Classify
            | Api::Pooling
            | Api::Tokenize
            | Api::Detokenize
            | Api::Speech
            | Api::Transcriptions
            | Api::Translations => None,
        }
    }
}

/// The fields of `body`, if a request with them can be continued.
pub(super) fn eligible(api: Generation, body: &[u8]) -> Result<Fields<'_>, Exclusion> {
    let fields: Fields<'_> = serde_json::from_slice(body).map_err(|_| Exclusion::Unreadable)?;
    let against = |exclusion: &Exclusion| is_excluded(*exclusion, api, &fields);
    match Exclusion::ALL.iter().find(|exclusion| against(exclusion)) {
        Some(exclusion) => Err(*exclusion),
        None => Ok(fields),
    }
}

fn is_excluded(exclusion: Exclusion, api: Generation, fields: &Fields<'_>) -> bool {
    let set = |name: &str| is_set(fields, name);
    match exclusion {
        Exclusion::Choices => more_than_one(fields, "n") || more_than_one(fields, "best_of") || set("use_beam_search"),
        Exclusion::Logprobs => {
            // 0 asks for the probability of the token itself.
            let asks =
                |name| fields.get(name).is_some_and(|value: &&RawValue| !matches!(value.get(), "null" | "false"));
            asks("logprobs") || set("top_logprobs") || asks("prompt_logprobs")
        }
        Exclusion::Guided => {
            let enforced =
                |name: &str| name.starts_with("guided_") || name == "structured_outputs" || name == "grammar";
            fields.keys().any(|name| enforced(name) && set(name)) || !has_free_form(fields)
        }
        Exclusion::ForcedTool => {
            let choice = fields.get("tool_choice").map(|choice| choice.get());
            choice.is_some_and(|choice| !matches!(choice, "null" | "\"none\"" | "\"auto\""))
        }
        Exclusion::Echo => set("echo"),
        Exclusion::Prompt => {
            let without_header = api == Generation::Chat && is_false(fields, "add_generation_prompt");
            ["suffix", "prompt_embeds", "truncate_prompt_tokens"].into_iter().any(set)
                || without_header && !set("continue_final_message")
        }
        Exclusion::StopIncluded => set("include_stop_str_in_output"),
        Exclusion::TokenIds => set("return_token_ids") || set("return_tokens_as_token_ids"),
        Exclusion::Audio => {
            set("audio") || fields.get("modalities").is_some_and(|modalities| modalities.get().contains("\"audio\""))
        }
        // Not seen from a request.
        Exclusion::Off
        | Exclusion::Api
        | Exclusion::Room
        | Exclusion::Unreadable
        | Exclusion::ToolCall
        | Exclusion::Reasoning
        | Exclusion::TooLong => false,
    }
}

/// Whether a field is there and says more than nothing.
pub(super) fn is_set(fields: &Fields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !matches!(value.get(), "null" | "false" | "0" | "\"\"" | "{}" | "[]"))
}

fn is_false(fields: &Fields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| value.get() == "false")
}

fn more_than_one(fields: &Fields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !matches!(value.get(), "null" | "1"))
}

/// Whether the answer may be any text.
fn has_free_form(fields: &Fields<'_>) -> bool {
    let Some(format) = fields.get("response_format").filter(|format| format.get() != "null") else { return true };
    let format: Option<Fields<'_>> = serde_json::from_str(format.get()).ok();
    format.is_some_and(|format| format.get("type").is_some_and(|kind| kind.get() == "\"text\""))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(api: Generation, field: &Value) -> Result<(), Exclusion> {
        let mut body = json!({"model": "m", "stream": true, "messages": [], "prompt": ""});
        for (name, value) in field.as_object().unwrap() {
            body[name] = value.clone();
        }
        eligible(api, body.to_string().as_bytes()).map(drop)
    }

    #[test]
    fn what_cannot_be_continued_exactly_is_excluded_by_name() {
        for (field, exclusion) in [
            (json!({"n": 2}), Exclusion::Choices),
            (json!({"best_of": 3}), Exclusion::Choices),
            (json!({"use_beam_search": true}), Exclusion::Choices),
            (json!({"logprobs": true}), Exclusion::Logprobs),
            (json!({"logprobs": 0}), Exclusion::Logprobs),
            (json!({"top_logprobs": 3}), Exclusion::Logprobs),
            (json!({"prompt_logprobs": 1}), Exclusion::Logprobs),
            (json!({"response_format": {"type": "json_object"}}), Exclusion::Guided),
            (json!({"response_format": {"type": "json_schema", "json_schema": {}}}), Exclusion::Guided),
            (json!({"guided_choice": ["a"]}), Exclusion::Guided),
            (json!({"structured_outputs": {"regex": "a"}}), Exclusion::Guided),
            (json!({"tool_choice": "required"}), Exclusion::ForcedTool),
            (json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}), Exclusion::ForcedTool),
            (json!({"echo": true}), Exclusion::Echo),
            (json!({"suffix": "x"}), Exclusion::Prompt),
            (json!({"add_generation_prompt": false}), Exclusion::Prompt),
            (json!({"include_stop_str_in_output": true}), Exclusion::StopIncluded),
            (json!({"return_token_ids": true}), Exclusion::TokenIds),
            (json!({"modalities": ["text", "audio"]}), Exclusion::Audio),
        ] {
            assert_eq!(judged(Generation::Chat, &field), Err(exclusion), "{field}");
        }
        assert_eq!(eligible(Generation::Chat, b"[]").map(drop), Err(Exclusion::Unreadable));
    }

    #[test]
    fn what_changes_nothing_is_not_in_the_way() {
        for field in [
            json!({"n": 1, "best_of": null, "logprobs": false, "echo": false, "suffix": null}),
            json!({"tools": [{"type": "function"}], "tool_choice": "auto"}),
            json!({"response_format": {"type": "text"}, "structured_outputs": null}),
            json!({"stop": ["a"], "seed": 1, "temperature": 0.7, "stream_options": {"include_usage": true}}),
            json!({"add_generation_prompt": false, "continue_final_message": true}),
        ] {
            assert_eq!(judged(Generation::Chat, &field), Ok(()), "{field}");
        }
        assert_eq!(judged(Generation::Completion, &json!({"add_generation_prompt": false})), Ok(()));
    }
}
