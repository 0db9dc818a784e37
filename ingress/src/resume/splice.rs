//! The events of the replica that goes on, as events of the stream that the client reads.

use serde_json::value::RawValue;

use super::{
    Transcript,
    event::{Choice, Chunk, Counts, Event},
    json::{Edits, escaped},
    transcript::Identity,
};

/// What is wanted of the replica that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The rest of the text, and the end.
    Text,
    /// Only the end: the text is as long as it may be.
    Length,
    /// Only how many tokens there were: the end has been told.
    Usage,
}

/// How the events that come become the client's.
#[derive(Debug)]
pub(crate) struct Splice {
    goal: Goal,
    /// Tokens of the answer that were in the request, and all of those that the client has.
    kept: u32,
    sent: u32,
    /// What the prompt had, where the lost replica has told.
    prompt: Option<u32>,
    identity: Identity,
    has_role: bool,
    /// White space that the client has and that comes again.
    again: String,
}

impl Splice {
    /// After `sent`, of which the request had all but `again`, and `kept` tokens.
    pub(super) fn new(goal: Goal, kept: u32, again: String, sent: &Transcript) -> Self {
        Self {
            goal,
            kept,
            sent: sent.tokens,
            prompt: sent.counts.map(|counts| counts.prompt_tokens),
            identity: sent.identity.clone().unwrap_or_default(),
            has_role: sent.has_role,
            again,
        }
    }

    /// `event` as the client is to read it; `None` if it is not for the client. What cannot be read stays as it is, for
    /// whoever takes it down to judge.
    pub(super) fn rewrite(&mut self, event: &[u8]) -> Option<Vec<u8>> {
        let rewritten = Event::read(event).and_then(|event| {
            let data = event.data?;
            let chunk: Chunk<'_> = serde_json::from_slice(&data).ok().filter(|chunk: &Chunk<'_>| !chunk.is_error())?;
            Some(self.rewrite_chunk(&data, &chunk))
        });
        rewritten.unwrap_or_else(|| Some(event.to_vec()))
    }

    fn rewrite_chunk(&mut self, data: &[u8], chunk: &Chunk<'_>) -> Option<Vec<u8>> {
        let mut edits = Edits::new(data);
        let Identity { id, created, model } = &self.identity;
        for (theirs, ours) in [(chunk.id, id), (chunk.created, created), (chunk.model, model)] {
            if let (Some(theirs), Some(ours)) = (theirs, ours) {
                edits.replace(theirs.get(), ours.as_bytes());
            }
        }
        if let Some(choice) = chunk.choices().first() {
            self.rewrite_choice(choice, &mut edits)?;
        }
        if let (Some(usage), Some(theirs)) = (chunk.usage, chunk.counts()) {
            self.sum(usage, theirs, &mut edits);
        }
        Some([b"data: ".as_slice(), &edits.apply(), b"\n\n"].concat())
    }

    /// `None` if there is nothing for the client in it.
    fn rewrite_choice(&mut self, choice: &Choice<'_>, edits: &mut Edits<'_>) -> Option<()> {
        let text: Option<String> = choice.text().and_then(|text| serde_json::from_str(text.get()).ok());
        let (raw, text) = (choice.text(), text.unwrap_or_default());
        let is_end = choice.finish_reason.is_some();
        let left = match self.goal {
            Goal::Usage => return None,
            Goal::Length => "",
            Goal::Text => self.skip_known(&text),
        };
        let says_nothing_new = left.is_empty() && (!text.is_empty() || choice.has_role() && self.has_role);
        if !is_end && !choice.has_tool_call() && (says_nothing_new || self.goal == Goal::Length) {
            return None;
        }
        if let Some(raw) = raw.filter(|_| left.len() < text.len()) {
            edits.replace(raw.get(), [b"\"".as_slice(), &escaped(left), b"\""].concat());
        }
        if let Some(reason) = choice.finish_reason.filter(|_| self.goal == Goal::Length) {
            edits.replace(reason.get(), "\"length\"");
        }
        Some(())
    }

    /// `text` without the white space at its beginning that the client has already. Where the model does not write it
    /// again, nothing is left out.
    fn skip_known<'a>(&mut self, text: &'a str) -> &'a str {
        let known = text.bytes().zip(self.again.bytes()).take_while(|(one, other)| one == other).count();
        let known =
            (0..=known).rev().find(|&at| text.is_char_boundary(at) && self.again.is_char_boundary(at)).unwrap_or(0);
        if known == text.len() {
            self.again.drain(..known);
        } else {
            self.again.clear();
        }
        &text[known..]
    }

    /// Makes counts of the rest those of the whole.
    fn sum(&self, usage: &RawValue, theirs: Counts, edits: &mut Edits<'_>) {
        let prompt = self.prompt.unwrap_or_else(|| theirs.prompt_tokens.saturating_sub(self.kept));
        let completion = match self.goal {
            Goal::Text => self.kept.saturating_add(theirs.completion_tokens),
            Goal::Length | Goal::Usage => self.sent,
        };
        let fields: super::eligible::Fields<'_> = serde_json::from_str(usage.get()).unwrap_or_default();
        let sums = [
            ("prompt_tokens", prompt),
            ("completion_tokens", completion),
            ("total_tokens", prompt.saturating_add(completion)),
        ];
        for (name, sum) in sums {
            if let Some(count) = fields.get(name) {
                edits.replace(count.get(), sum.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::resume::Heard;

    fn sent(pieces: &[&str]) -> Transcript {
        let mut transcript = Transcript::default();
        let role = json!({"id": "ours", "created": 1, "model": "m", "choices": [{"delta": {"role": "assistant", "content": ""}}]});
        transcript.push(format!("data: {role}\n\n").as_bytes());
        for piece in pieces {
            let event = json!({"choices": [{"delta": {"content": piece}}]});
            assert_eq!(transcript.push(format!("data: {event}\n\n").as_bytes()), Heard::More);
        }
        transcript
    }

    fn theirs(choice: &Value) -> Vec<u8> {
        let event = json!({"id": "theirs", "created": 2, "model": "alias", "choices": [choice]});
        format!("data: {event}\n\n").into_bytes()
    }

    fn rewritten(splice: &mut Splice, event: &[u8]) -> Option<Value> {
        let event = splice.rewrite(event)?;
        Some(serde_json::from_slice(event.strip_prefix(b"data: ").unwrap()).unwrap())
    }

    fn text(splice: &mut Splice, text: &str) -> Option<String> {
        let event = rewritten(splice, &theirs(&json!({"delta": {"content": text}, "finish_reason": null})))?;
        Some(event["choices"][0]["delta"]["content"].as_str().unwrap().to_owned())
    }

    #[test]
    fn events_get_the_name_that_the_client_knows_and_no_second_role() {
        let mut splice = Splice::new(Goal::Text, 1, String::new(), &sent(&["One"]));
        assert_eq!(rewritten(&mut splice, &theirs(&json!({"delta": {"role": "assistant", "content": ""}}))), None);
        let event = rewritten(&mut splice, &theirs(&json!({"delta": {"content": " two"}}))).unwrap();
        assert_eq!((&event["id"], &event["created"], &event["model"]), (&json!("ours"), &json!(1), &json!("m")));
        assert_eq!(event["choices"][0]["delta"]["content"], " two");
        for event in [b": ping\n\n".as_slice(), b"data: [DONE]\n\n", b"data: {\"error\":{}}\n\n", b"data: what\n\n"] {
            assert_eq!(splice.rewrite(event).as_deref(), Some(event));
        }
    }

    #[test]
    fn white_space_that_comes_again_is_left_out_once() {
        let splice = || Splice::new(Goal::Text, 1, "\n\n ".to_owned(), &sent(&["One\n\n "]));
        let mut one = splice();
        assert_eq!(
            [text(&mut one, "\n"), text(&mut one, "\n a"), text(&mut one, "\n\n b")],
            [None, Some("a".into()), Some("\n\n b".into())]
        );
        let mut other = splice();
        assert_eq!([text(&mut other, "\nOther"), text(&mut other, " x")], [Some("Other".into()), Some(" x".into())]);
    }

    #[test]
    fn counts_are_those_of_the_whole() {
        let usage = |splice: &mut Splice| {
            let event =
                json!({"choices": [], "usage": {"prompt_tokens": 12, "total_tokens": 15, "completion_tokens": 3}});
            rewritten(splice, format!("data: {event}\n\n").as_bytes()).unwrap()["usage"].clone()
        };
        let mut splice = Splice::new(Goal::Text, 2, String::new(), &sent(&["One", " two"]));
        assert_eq!(usage(&mut splice), json!({"prompt_tokens": 10, "total_tokens": 15, "completion_tokens": 5}));
        let mut splice = Splice::new(Goal::Usage, 2, String::new(), &sent(&["One", " two"]));
        assert_eq!(text(&mut splice, "more"), None);
        assert_eq!(usage(&mut splice), json!({"prompt_tokens": 10, "total_tokens": 12, "completion_tokens": 2}));
    }

    #[test]
    fn an_answer_that_is_as_long_as_it_may_be_gets_its_end_and_no_more_text() {
        let mut splice = Splice::new(Goal::Length, 1, String::new(), &sent(&["One"]));
        assert_eq!(text(&mut splice, " two"), None);
        let end =
            rewritten(&mut splice, &theirs(&json!({"delta": {"content": " x"}, "finish_reason": "stop"}))).unwrap();
        assert_eq!(end["choices"][0], json!({"delta": {"content": ""}, "finish_reason": "length"}));
    }

    proptest! {
        #[test]
        fn any_bytes_are_rewritten_without_panic(again: String, events: Vec<Vec<u8>>, texts: Vec<String>) {
            let mut splice = Splice::new(Goal::Text, 1, again, &sent(&["One"]));
            for event in &events {
                let _ = splice.rewrite(event);
            }
            for piece in &texts {
                let _ = text(&mut splice, piece);
            }
        }

        /// However the white space and what follows it come, the client gets what follows it.
        #[test]
        fn pieces_do_not_matter(again in "[ \n\u{a0}]{0,4}", rest in "[a-z][a-z ]{0,8}", cut in 1..4_usize) {
            let mut splice = Splice::new(Goal::Text, 1, again.clone(), &sent(&["One"]));
            let all: Vec<char> = format!("{again}{rest}").chars().collect();
            let pieces = all.chunks(cut).map(|piece| piece.iter().collect::<String>());
            let got: String = pieces.filter_map(|piece| text(&mut splice, &piece)).collect();
            prop_assert_eq!(got, rest);
        }
    }
}
