//! What engines write into `usage`, in the shapes of OpenAI's chat and responses APIs and of Anthropic's messages.

use serde::Deserialize;

/// What an answer has said of its tokens so far; later words count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) prompt: Option<u32>,
    pub(super) completion: Option<u32>,
    pub(super) cached: Option<u32>,
}

#[derive(Deserialize)]
struct Fields {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    /// Anthropic's, which its `input_tokens` do not include.
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Report {
    /// Adds what the object `usage` says. One that is no usage says nothing.
    pub(super) fn add(&mut self, usage: &[u8]) {
        let Ok(fields) = serde_json::from_slice::<Fields>(usage) else { return };
        let completion = fields.completion_tokens.or(fields.output_tokens);
        let details = fields.prompt_tokens_details.or(fields.input_tokens_details);
        let cached = details.and_then(|details| details.cached_tokens).or(fields.cache_read_input_tokens);
        let apart =
            fields.cache_read_input_tokens.unwrap_or(0).saturating_add(fields.cache_creation_input_tokens.unwrap_or(0));
        let input = fields.input_tokens.map(|input| input.saturating_add(apart));
        // Rerankers give the sum only, and generate nothing.
        let rest = fields.total_tokens.map(|total| total.saturating_sub(completion.unwrap_or(0)));
        let prompt = fields.prompt_tokens.or(input).or(rest);
        self.prompt = prompt.map(narrow).or(self.prompt);
        self.completion = completion.map(narrow).or(self.completion);
        self.cached = cached.map(narrow).or(self.cached);
    }
}

fn narrow(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_words_count_where_they_say_something() {
        let mut report = Report::default();
        report.add(
            br#"{"input_tokens":3,"cache_read_input_tokens":2,"cache_creation_input_tokens":4,"output_tokens":1}"#,
        );
        report.add(br#"{"output_tokens":7}"#);
        report.add(br#"{"prompt_tokens":-1}"#);
        report.add(b"{}");
        assert_eq!(report, Report { prompt: Some(9), completion: Some(7), cached: Some(2) });
        report.add(br#"{"prompt_tokens":99999999999}"#);
        assert_eq!(report.prompt, Some(u32::MAX));
    }
}
