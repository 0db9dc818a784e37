//! What a client has been sent of a stream: enough to ask another replica for the rest.
//!
//! The events of one stream are the same but for their text. So the first event with text is understood, and of every
//! one that begins and ends like it only the text is looked at; whatever looks different is understood again. That
//! costs less than counting events would, and finds events that are none.

use serde_json::value::RawValue;

use super::{
    Exclusion,
    event::{Choice, Chunk, Counts, Event},
    json::span,
};
use crate::sse::{FirstEvent, judge};

/// Longest text that is kept, in bytes: the answers of most models are shorter, and a thousand streams with so much are 1 GiB.
const TEXT_MAX: usize = 1 << 20;

/// What an event means for the stream that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The stream goes on after it.
    More,
    /// It is the last one.
    Done,
    /// It must not be passed on: the replica is not well.
    Broken(String),
}

/// What a client has been sent.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    shape: Option<Shape>,
    pub(super) identity: Option<Identity>,
    /// All text of the answer.
    pub(super) text: String,
    /// Tokens that the text is made of, as far as events tell.
    pub(super) tokens: u32,
    /// Events without text since the last one with some: tokens whose text is not complete.
    silent: u32,
    /// Of the last events with text, how many have nothing but white space.
    pub(super) blank: u32,
    pub(super) has_role: bool,
    /// Why the answer ended has been said.
    pub(super) is_finished: bool,
    /// An error that is the client's own was passed on: it ends the answer.
    is_refused: bool,
    pub(super) is_done: bool,
    /// The last counts that the engine gave.
    pub(super) counts: Option<Counts>,
    /// The event with nothing but counts has come, which follows the end where a client asks for it.
    pub(super) is_counted: bool,
    pub(super) unfit: Option<Exclusion>,
}

/// What is the same in all events with text.
#[derive(Debug)]
struct Shape {
    before: Box<[u8]>,
    after: Box<[u8]>,
}

/// What a client knows a stream by, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: Option<Box<str>>,
    pub(super) created: Option<Box<str>>,
    pub(super) model: Option<Box<str>>,
}

impl Transcript {
    /// Takes `event` down if it is one, and has text and nothing else of interest. Returns whether it has.
    pub(super) fn push_text(&mut self, event: &[u8]) -> bool {
        let Some(text) = self.shape.as_ref().and_then(|shape| shape.text(event)) else { return false };
        self.add(text);
        true
    }

    /// Takes down the next event.
    pub(crate) fn push(&mut self, event: &[u8]) -> Heard {
        if self.push_text(event) {
            return Heard::More;
        }
        let Some(Event { data, is_error }) = Event::read(event) else { return malformed(event) };
        let Some(data) = data else { return Heard::More };
        if data.trim_ascii() == b"[DONE]" {
            return self.done();
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&data) else { return malformed(event) };
        if chunk.is_error() || is_error {
            match judge(&data, is_error) {
                FirstEvent::Error(message) => return Heard::Broken(format!("it reports an error: {message}")),
                FirstEvent::Content | FirstEvent::Done => self.is_refused = true,
            }
        }
        self.take_down(event, &chunk);
        Heard::More
    }

    /// Whether the stream may end here.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_done || self.is_finished || self.is_refused
    }

    fn done(&mut self) -> Heard {
        if !self.is_whole() {
            return Heard::Broken("its stream ended without a reason".to_owned());
        }
        self.is_done = true;
        Heard::Done
    }

    fn take_down(&mut self, event: &[u8], chunk: &Chunk<'_>) {
        if self.identity.is_none() && chunk.id.is_some() {
            let owned = |value: Option<&RawValue>| value.map(|value| value.get().into());
            self.identity =
                Some(Identity { id: owned(chunk.id), created: owned(chunk.created), model: owned(chunk.model) });
        }
        self.counts = chunk.counts().or(self.counts);
        self.is_counted |= self.is_finished && chunk.counts().is_some() && chunk.choices().is_empty();
        for choice in chunk.choices() {
            self.take_down_choice(choice);
        }
        if let [only] = chunk.choices()
            && chunk.usage.is_none()
        {
            self.shape = Shape::of(event, only).or_else(|| self.shape.take());
        }
    }

    fn take_down_choice(&mut self, choice: &Choice<'_>) {
        if let Some(exclusion) = against(choice) {
            self.unfit.get_or_insert(exclusion);
        }
        let text: Option<String> = choice.text().and_then(|text| serde_json::from_str(text.get()).ok());
        match text {
            Some(text) if !text.is_empty() => self.add(&text),
            Some(_) if !choice.has_role() && choice.finish_reason.is_none() && !self.text.is_empty() => {
                self.silent += 1
            }
            Some(_) | None => {}
        }
        self.has_role |= choice.has_role();
        self.is_finished |= choice.finish_reason.is_some();
    }

    fn add(&mut self, text: &str) {
        self.tokens = self.tokens.saturating_add(1 + std::mem::take(&mut self.silent));
        self.blank = if text.trim().is_empty() { self.blank + 1 } else { 0 };
        if self.text.len() + text.len() <= TEXT_MAX {
            self.text.push_str(text);
        } else {
            self.unfit.get_or_insert(Exclusion::TooLong);
        }
    }
}

/// What `choice` has that cannot be continued.
fn against(choice: &Choice<'_>) -> Option<Exclusion> {
    let found = [
        (!choice.is_first(), Exclusion::Choices),
        (choice.logprobs.is_some(), Exclusion::Logprobs),
        (choice.has_tool_call(), Exclusion::ToolCall),
        (choice.has_reasoning(), Exclusion::Reasoning),
        (choice.has_audio(), Exclusion::Audio),
    ];
    found.into_iter().find(|(is_so, _)| *is_so).map(|(_, exclusion)| exclusion)
}

fn malformed(event: &[u8]) -> Heard {
    /// Longest part of such an event that is repeated, in bytes.
    const EXCERPT: usize = 100;
    let excerpt = String::from_utf8_lossy(&event[..event.len().min(EXCERPT)]);
    Heard::Broken(format!("what it sent is no event of a stream: {}", excerpt.trim_end().escape_debug()))
}

impl Shape {
    /// That of `event`, if it has text and nothing else of interest.
    fn of(event: &[u8], choice: &Choice<'_>) -> Option<Self> {
        let is_plain = choice.is_first() && choice.finish_reason.is_none() && !choice.has_role();
        if !is_plain || against(choice).is_some() {
            return None;
        }
        let text = choice.text().filter(|text| text.get().len() > 2)?;
        // Within the quotes.
        let span = span(event, text.get())?;
        Some(Self { before: event[..=span.start].into(), after: event[span.end - 1..].into() })
    }

    /// The text of `event`, if it is like this and its text is written as it is.
    fn text<'a>(&self, event: &'a [u8]) -> Option<&'a str> {
        let text = event.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        let is_plain = !text.is_empty() && text.iter().all(|&byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        if is_plain { std::str::from_utf8(text).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(value: &serde_json::Value) -> Vec<u8> {
        format!("data: {value}\n\n").into_bytes()
    }

    fn text(text: &str) -> Vec<u8> {
        event(&json!({"id": "a", "created": 7, "model": "m", "choices": [{"index": 0, "delta": {"content": text},
            "finish_reason": null}]}))
    }

    fn heard<'a>(events: impl IntoIterator<Item = &'a [u8]>) -> Transcript {
        let mut transcript = Transcript::default();
        for event in events {
            assert_eq!(transcript.push(event), Heard::More, "{}", String::from_utf8_lossy(event));
        }
        transcript
    }

    #[test]
    fn a_stream_is_taken_down_to_its_end() {
        let role = event(&json!({"id": "a", "created": 7, "model": "m",
            "choices": [{"delta": {"role": "assistant", "content": ""}}]}));
        let mut transcript = heard([role.as_slice(), b": ping\n\n", &text("One"), &text(" \"two\""), &text(" \n")]);
        assert_eq!((transcript.text.as_str(), transcript.tokens, transcript.blank), ("One \"two\" \n", 3, 1));
        assert!(transcript.has_role && !transcript.is_whole());
        let identity = transcript.identity.clone().unwrap();
        assert_eq!((identity.id.as_deref(), identity.created.as_deref()), (Some("\"a\""), Some("7")));
        assert!(matches!(transcript.push(b"data: [DONE]\n\n"), Heard::Broken(_)), "nobody has said why");
        let finish = event(&json!({"choices": [{"delta": {}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 3}}));
        assert_eq!((transcript.push(&finish), transcript.push(b"data: [DONE]\n\n")), (Heard::More, Heard::Done));
        assert_eq!(transcript.counts, Some(Counts { prompt_tokens: 2, completion_tokens: 3 }));
    }

    #[test]
    fn what_cannot_be_continued_is_noticed_among_text_of_the_same_shape() {
        let choice = |choice| event(&json!({"choices": [choice]}));
        for (event, exclusion) in [
            (choice(json!({"index": 1, "text": "a"})), Exclusion::Choices),
            (choice(json!({"text": "a", "logprobs": {"tokens": []}})), Exclusion::Logprobs),
            (choice(json!({"delta": {"tool_calls": [{"index": 0}]}})), Exclusion::ToolCall),
            (choice(json!({"delta": {"reasoning_content": "hm"}})), Exclusion::Reasoning),
        ] {
            assert_eq!(heard([text("a").as_slice(), &event, &text("b")]).unfit, Some(exclusion));
        }
        assert_eq!(heard([text("a").as_slice(), &text(&"x".repeat(TEXT_MAX))]).unfit, Some(Exclusion::TooLong));
    }

    #[test]
    fn what_is_no_event_is_a_broken_stream_and_the_clients_own_error_is_not() {
        let broken =
            ["data: {\"choices\":[\n\n", "data: nonsense\n\n", "<html>\n\n", "data: {\"error\":{\"code\":500}}\n\n"];
        for event in broken {
            let mut transcript = heard([text("a").as_slice()]);
            assert!(matches!(transcript.push(event.as_bytes()), Heard::Broken(_)), "{event}");
            assert_eq!(transcript.text, "a");
        }
        let mut transcript = heard([text("a").as_slice(), b"data: {\"error\":{\"code\":400}}\n\n"]);
        assert_eq!(transcript.push(b"data: [DONE]\n\n"), Heard::Done);
    }

    #[test]
    fn tokens_without_text_count_once_their_text_is_there() {
        let transcript = heard([text("a").as_slice(), &text(""), &text(""), &text("\u{1f41f}"), &text("")]);
        assert_eq!(transcript.tokens, 4);
    }

    proptest! {
        /// Whether an event is understood or only compared, the same is taken down.
        #[test]
        fn shortcuts_do_not_matter(pieces: Vec<String>) {
            let events: Vec<Vec<u8>> = pieces.iter().map(|piece| text(piece)).collect();
            let transcript = heard(events.iter().map(Vec::as_slice));
            prop_assert_eq!(&transcript.text, &pieces.concat());
            let spaced: Vec<Vec<u8>> = events.iter().enumerate().map(|(index, event)| {
                // Each one looks different.
                let spaces = " ".repeat(index % 3 + 1);
                [b"data:", spaces.as_bytes(), &event[6..]].concat()
            }).collect();
            let slow = heard(spaced.iter().map(Vec::as_slice));
            prop_assert_eq!((slow.text, slow.tokens, slow.blank), (transcript.text, transcript.tokens, transcript.blank));
        }

        #[test]
        fn any_bytes_are_taken_down_without_panic(events: Vec<Vec<u8>>) {
            let mut transcript = Transcript::default();
            for event in &events {
                let _ = (transcript.push(&text("a")), transcript.push(event));
            }
        }
    }
}
