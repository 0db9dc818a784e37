//! What engines write into `usage`, in the shapes of OpenAI's chat and responses APIs and of Anthropic's messages.

use std::str;

use crate::members::{Member, members};

/// What an answer has said of its tokens so far; later words count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) prompt: Option<u32>,
    pub(super) completion: Option<u32>,
    pub(super) cached: Option<u32>,
}

/// What one object says.
#[derive(Default)]
struct Fields {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    /// Of either kind of details.
    cached_tokens: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    /// Anthropic's, which its `input_tokens` do not include.
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl Fields {
    /// Those of `usage`; `None` if it is none.
    fn read(usage: &[u8]) -> Option<Self> {
        let mut fields = Self::default();
        for member in members(usage) {
            let Member { name, value } = member.ok()?;
            let value = &usage[value];
            let field = match name {
                b"prompt_tokens" => &mut fields.prompt_tokens,
                b"completion_tokens" => &mut fields.completion_tokens,
                b"total_tokens" => &mut fields.total_tokens,
                b"input_tokens" => &mut fields.input_tokens,
                b"output_tokens" => &mut fields.output_tokens,
                b"cache_read_input_tokens" => &mut fields.cache_read_input_tokens,
                b"cache_creation_input_tokens" => &mut fields.cache_creation_input_tokens,
                b"prompt_tokens_details" | b"input_tokens_details" if value != b"null" => {
                    fields.cached_tokens = cached(value)?.or(fields.cached_tokens);
                    continue;
                }
                _ => continue,
            };
            *field = number(value)?;
        }
        Some(fields)
    }
}

/// What `details` say of the cache.
fn cached(details: &[u8]) -> Option<Option<u64>> {
    let mut cached = None;
    for member in members(details) {
        let Member { name, value } = member.ok()?;
        if name == b"cached_tokens" {
            cached = number(&details[value])?;
        }
    }
    Some(cached)
}

/// A number, or nothing said; `None` if it is neither.
fn number(value: &[u8]) -> Option<Option<u64>> {
    if value == b"null" { Some(None) } else { str::from_utf8(value).ok()?.parse().ok().map(Some) }
}

impl Report {
    /// Adds what the object `usage` says. One that is no usage says nothing.
    pub(super) fn add(&mut self, usage: &[u8]) {
        let Some(fields) = Fields::read(usage) else { return };
        let completion = fields.completion_tokens.or(fields.output_tokens);
        let cached = fields.cached_tokens.or(fields.cache_read_input_tokens);
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
