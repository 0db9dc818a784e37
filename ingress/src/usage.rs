//! How many tokens a request took: as its answer says, else as far as its framing tells.

mod report;
mod scanner;

use crate::tokens::TokenCounter;
use report::Report;
use scanner::Scanner;

/// Bytes of a prompt's JSON that count as one token where nobody has counted: English text has about four a token.
const BYTES_PER_TOKEN: usize = 4;

/// Tokens of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Of the prompt, the cached ones included.
    pub(crate) prompt: u32,
    /// Generated.
    pub(crate) completion: u32,
    /// Of the prompt, those that the engine had computed before, as far as it says so.
    pub(crate) cached: u32,
    /// Whether the engine counted them; else `prompt` is guessed by its bytes and `completion` is the number of events.
    pub(crate) exact: bool,
}

/// Looks at an answer as it passes, to know its tokens at its end. Takes a few words of memory, and at most 4 KiB more
/// while a `usage` passes.
#[derive(Debug, Default)]
pub(crate) struct UsageMeter {
    counter: TokenCounter,
    /// Events that carried something.
    events: u32,
    scanner: Scanner,
    report: Report,
}

impl UsageMeter {
    /// Looks at the next bytes. Returns how many tokens they seem to be, see [`TokenCounter`].
    pub(crate) fn push(&mut self, bytes: &[u8]) -> u32 {
        let events = self.counter.push(bytes);
        self.events = self.events.saturating_add(events);
        self.scanner.push(bytes, |usage| self.report.add(usage));
        events
    }

    /// Counts an event that has the text of a token, and nothing else, where a line would begin.
    pub(crate) const fn push_text(&mut self) {
        self.events = self.events.saturating_add(1);
    }

    /// Looks at `bytes` of an answer that is no stream.
    pub(crate) fn push_value(&mut self, bytes: &[u8]) {
        self.scanner.push(bytes, |usage| self.report.add(usage));
    }

    /// The tokens of a request with a prompt of `prompt` bytes, whose answer passed to its end if it is `whole`. What is
    /// said in the middle of an answer counts for nothing that came after it, so only a whole one is exact.
    pub(crate) fn usage(&self, prompt: usize, whole: bool) -> Usage {
        let Report { prompt: said, completion, cached } = self.report;
        let guessed = || u32::try_from(prompt / BYTES_PER_TOKEN).unwrap_or(u32::MAX);
        let exact = whole && said.is_some() && (completion.is_some() || self.events == 0);
        Usage {
            prompt: said.unwrap_or_else(guessed),
            completion: match completion {
                Some(completion) if exact => completion,
                completion => completion.unwrap_or(0).max(self.events),
            },
            cached: cached.unwrap_or(0),
            exact,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAT: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}],\"usage\":null}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"total_tokens\":18,\"completion_tokens\":7,\
        \"prompt_tokens_details\":{\"cached_tokens\":8}}}\n\ndata: [DONE]\n\n";
    const MESSAGES: &str = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":3,\
        \"cache_read_input_tokens\":8,\"output_tokens\":1}}}\n\n\
        event: message_delta\ndata: {\"delta\":{},\"usage\":{\"output_tokens\":7}}\n\n";

    fn usage(answer: &str, whole: bool) -> Usage {
        let mut meter = UsageMeter::default();
        meter.push(answer.as_bytes());
        meter.usage(400, whole)
    }

    #[test]
    fn what_an_answer_says_of_its_tokens_is_exact_in_every_shape() {
        let expected = Usage { prompt: 11, completion: 7, cached: 8, exact: true };
        let responses = r#"{"output":[],"usage":{"input_tokens":11,"input_tokens_details":{"cached_tokens":8},
            "output_tokens":7,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":18},"user":null}"#;
        let plain = r#"{"choices":[],"usage" : {"prompt_tokens":11,"completion_tokens":7,"prompt_tokens_details":
            {"cached_tokens":8}}}"#;
        for answer in [CHAT, MESSAGES, responses, plain] {
            assert_eq!(usage(answer, true), expected, "{answer}");
        }
        let embeddings = r#"{"data":[],"usage":{"prompt_tokens":9,"total_tokens":9,"prompt_tokens_details":null}}"#;
        assert_eq!(usage(embeddings, true), Usage { prompt: 9, exact: true, ..Usage::default() });
        let rerank = r#"{"usage":{"total_tokens":9},"results":[]}"#;
        assert_eq!(usage(rerank, true), Usage { prompt: 9, exact: true, ..Usage::default() });
    }

    #[test]
    fn what_nobody_says_is_guessed_and_said_to_be() {
        let stream = "data: {\"a\":1}\n\ndata: {\"b\":2}\n\ndata: [DONE]\n\n";
        assert_eq!(usage(stream, true), Usage { prompt: 100, completion: 2, cached: 0, exact: false });
        for answer in
            [r#"{"choices":[]}"#, r#"{"usage":null}"#, r#"{"usage":"none"}"#, r#"{"usage":{"prompt_tokens":"x"}}"#]
        {
            assert_eq!(usage(answer, true), Usage { prompt: 100, ..Usage::default() }, "{answer}");
        }
    }

    #[test]
    fn a_broken_answer_has_at_least_the_tokens_that_passed() {
        let (start, _) = MESSAGES.split_once("event: message_delta").unwrap();
        let stream = format!("{start}data: {{}}\n\ndata: {{}}\n\n");
        assert_eq!(usage(&stream, false), Usage { prompt: 11, completion: 3, cached: 8, exact: false });
    }

    #[test]
    fn what_a_client_wrote_is_not_taken_for_the_engines_count() {
        let text = r#"{"choices":[{"message":{"content":"{\"usage\":{\"prompt_tokens\":0}}"}}]}"#;
        assert_eq!(usage(text, true), Usage { prompt: 100, ..Usage::default() });
        let echo = r#"{"tools":[{"usage":{"input_tokens":0,"output_tokens":0}}],"usage":{"input_tokens":5,"output_tokens":6}}"#;
        assert_eq!(usage(echo, true), Usage { prompt: 5, completion: 6, cached: 0, exact: true });
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(cuts in prop::collection::vec(1..9_usize, 0..60), which in 0..2_usize) {
            let stream = [CHAT, MESSAGES][which];
            let (mut meter, mut rest) = (UsageMeter::default(), stream.as_bytes());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                meter.push(chunk);
                rest = tail;
            }
            prop_assert_eq!(meter.usage(400, true), usage(stream, true));
        }

        /// Rule 9: everything is bounded.
        #[test]
        fn any_bytes_are_looked_at_within_bounds(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..20), length in 0..9_000_usize) {
            let mut meter = UsageMeter::default();
            meter.push(b"\"usage\":{\"a\":\"");
            for chunk in &chunks {
                meter.push(chunk);
            }
            meter.push(&vec![b' '; length]);
            prop_assert!(meter.scanner.held() <= scanner::VALUE_MAX);
            meter.usage(usize::MAX, true);
        }
    }
}
