//! The text of a simulated answer.
//!
//! With `h` for [`stable_hash`], the answer to `prompt` by `model` has the seed `s = h("sim", model, prompt)`. Its token
//! 0 is the label `[simulated]`; token `i` is a space and the word number `h(s, i) mod 64` of a fixed list. It ends by
//! itself after `32 + s mod 97` tokens. Nothing else counts: not the node, the time, or how often it was asked.
//!
//! A prompt that ends with the beginning of its own answer is therefore known again ([`resume`]), and goes on where
//! that ends: an answer that breaks off can be continued by another engine without a seam.

use std::borrow::Cow;

use shoal_types::stable_hash;

/// Token 0 of every answer.
pub(super) const LABEL: &str = "[simulated]";
/// How many labels in a prompt are tried as the beginning of its answer, from the last.
const RESUMES_MAX: usize = 8;

const WORDS: [&str; 64] = [
    "shoal", "of", "fish", "turns", "as", "one", "without", "a", "leader", "each", "keeps", "to", "its", "near",
    "ones", "and", "the", "whole", "bends", "around", "what", "comes", "at", "it", "water", "carries", "word",
    "faster", "than", "any", "could", "swim", "when", "some", "are", "lost", "others", "close", "gap", "light",
    "falls", "through", "slow", "tide", "over", "sand", "stone", "reef", "where", "current", "meets", "shore", "they",
    "gather", "feed", "scatter", "again", "before", "dawn", "under", "silver", "moon", "then", "rest",
];

/// The whole answer to one prompt, never held as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    seed: u64,
}

/// A place in a text: before byte `offset` of token `token`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) token: u32,
    pub(super) offset: usize,
}

impl Text {
    /// The answer of `model` to `prompt`.
    pub(super) fn new(model: &str, prompt: &str) -> Self {
        Self { seed: stable_hash(&[b"sim", model.as_bytes(), prompt.as_bytes()]) }
    }

    /// One token.
    pub(super) fn token(self, token: u32) -> Cow<'static, str> {
        if token == 0 {
            return Cow::Borrowed(LABEL);
        }
        let hash = stable_hash(&[&self.seed.to_be_bytes(), &token.to_be_bytes()]);
        #[allow(clippy::cast_possible_truncation)] // below 64
        let word = WORDS[(hash % WORDS.len() as u64) as usize];
        Cow::Owned(format!(" {word}"))
    }

    /// After how many tokens it ends by itself.
    pub(super) const fn length(self) -> u32 {
        #[allow(clippy::cast_possible_truncation)] // below 129
        let length = 32 + (self.seed % 97) as u32;
        length
    }

    /// Where `generated` ends, if it is a beginning of this text. The last token may be a part of one.
    fn position_after(self, generated: &str) -> Option<Position> {
        let mut rest = generated;
        for token in 0..u32::MAX {
            let text = self.token(token);
            match rest.strip_prefix(&*text) {
                _ if rest.is_empty() => return Some(Position { token, offset: 0 }),
                Some(after) => rest = after,
                None if text.starts_with(rest) => return Some(Position { token, offset: rest.len() }),
                None => return None,
            }
        }
        None
    }
}

/// The text that `prompt` followed by `generated` asks for, and where it goes on: that of `prompt` if `generated` is a
/// beginning of it, else that of both together.
pub(super) fn resume(model: &str, prompt: &str, generated: &str) -> (Text, Position) {
    let text = Text::new(model, prompt);
    match text.position_after(generated) {
        Some(position) => (text, position),
        None => (Text::new(model, &[prompt, generated].concat()), Position::default()),
    }
}

/// The same for a prompt that does not say where its answer begins: at one of its labels, if at all.
pub(super) fn resume_unmarked(model: &str, prompt: &str) -> (Text, Position) {
    let resumed = prompt.rmatch_indices(LABEL).take(RESUMES_MAX).find_map(|(label, _)| {
        let (before, generated) = prompt.split_at(label);
        let text = Text::new(model, before);
        Some((text, text.position_after(generated)?))
    });
    resumed.unwrap_or_else(|| (Text::new(model, prompt), Position::default()))
}

/// Tokens of a prompt: words, since a token of an answer is one.
pub(super) fn count_tokens(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(text: Text, tokens: u32) -> String {
        (0..tokens).map(|token| text.token(token)).collect()
    }

    #[test]
    fn the_answer_is_fixed_by_model_and_prompt() {
        let text = beginning(Text::new("llama", "Hello"), 8);
        // Written out: whoever changes it breaks the continuation of answers between versions.
        assert_eq!(text, "[simulated] gather a bends at then at reef");
        assert_ne!(text, beginning(Text::new("llama", "Hello!"), 8));
        assert_ne!(text, beginning(Text::new("qwen", "Hello"), 8));
        assert!((32..129).contains(&Text::new("llama", "Hello").length()));
    }

    #[test]
    fn any_beginning_of_an_answer_is_continued_where_it_ends() {
        let whole = Text::new("llama", "Tell me");
        let answer = beginning(whole, 40);
        for end in 0..=answer.len() {
            let (text, position) = resume("llama", "Tell me", &answer[..end]);
            assert_eq!(text, whole);
            let mut continued = answer[..end].to_owned();
            continued.push_str(&text.token(position.token)[position.offset..]);
            continued.extend((position.token + 1..60).map(|token| text.token(token)));
            assert_eq!(continued, beginning(whole, 60), "from byte {end}");
        }
    }

    #[test]
    fn an_unmarked_continuation_is_found_behind_its_label() {
        let whole = Text::new("llama", "A [simulated] joke: ");
        let prompt = format!("A [simulated] joke: {}", beginning(whole, 5));
        assert_eq!(resume_unmarked("llama", &prompt), (whole, Position { token: 5, offset: 0 }));
    }

    #[test]
    fn what_is_not_its_answer_is_part_of_the_prompt() {
        let changed = beginning(Text::new("llama", "Tell me"), 5) + " nonsense";
        let (text, position) = resume("llama", "Tell me", &changed);
        assert_eq!((text, position), (Text::new("llama", &format!("Tell me{changed}")), Position::default()));
        let unmarked = format!("Tell me{changed}");
        assert_eq!(resume_unmarked("llama", &unmarked), (Text::new("llama", &unmarked), Position::default()));
    }
}
