//! What engines write into `usage`, in the shapes of OpenAI's chat and responses APIs and of Anthropic's messages.

use crate::members::{Member, first_members, members};

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
    /// Those of the object that `usage` begins with, and where it ends; `None` if it is no usage.
    fn read(usage: &[u8]) -> Option<(Self, usize)> {
        let (mut fields, mut members) = (Self::default(), first_members(usage));
        for member in members.by_ref() {
            let Member { name, value, .. } = member.ok()?;
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
        Some((fields, members.end()))
    }
}

/// What `details` say of the cache.
fn cached(details: &[u8]) -> Option<Option<u64>> {
    let mut cached = None;
    for member in members(details) {
        let Member { name, value, .. } = member.ok()?;
        if name == b"cached_tokens" {
            cached = number(&details[value])?;
        }
    }
    Some(cached)
}

/// A number, or nothing said; `None` if it is neither.
fn number(value: &[u8]) -> Option<Option<u64>> {
    if value == b"null" {
        return Some(None);
    }
    let digits = |sum: u64, byte: &u8| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    };
    value.iter().try_fold(0, digits).filter(|_| !value.is_empty()).map(Some)
}

impl Report {
    /// Adds what the object says that `bytes` begin with, and returns where it ends. `None` if it does not end, or is no usage:
    /// that says nothing.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Option<usize> {
        let (fields, end) = Fields::read(bytes)?;
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
        Some(end)
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
