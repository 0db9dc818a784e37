//! What one event of a stream says, as far as it must be known to continue it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::framing::lines;

/// The data of an event, and whether the event is called an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// `None` for comments and whatever else carries no data.
    pub(super) data: Option<Cow<'a, [u8]>>,
    pub(super) is_error: bool,
}

impl<'a> Event<'a> {
    /// Reads the lines of an event. `None` if one of them is no field of an event stream: the standard has clients pass
    /// over such lines, but an engine that writes them is not well.
    pub(super) fn read(event: &'a [u8]) -> Option<Self> {
        let mut read = Self { data: None, is_error: false };
        for line in lines(event) {
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &line[..colon] {
                b"data" => read.add(value),
                b"event" => read.is_error = value == b"error",
                // A comment, or the empty line.
                b"" | b"id" | b"retry" => {}
                _ => return None,
            }
        }
        Some(read)
    }

    fn add(&mut self, value: &'a [u8]) {
        match &mut self.data {
            None => self.data = Some(Cow::Borrowed(value)),
            Some(data) => {
                let data = data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
    }
}

/// An object of a stream of `/v1/chat/completions` or `/v1/completions`.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) created: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) model: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    object: Option<Cow<'a, str>>,
}

/// One of the answers that a stream is about.
#[derive(Debug, Deserialize)]
pub(super) struct Choice<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow)]
    audio: Option<&'a RawValue>,
}

/// Tokens, as engines count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
}

impl<'a> Chunk<'a> {
    /// Whether it says that the answer has failed.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some() || self.object.as_deref() == Some("error")
    }

    pub(super) fn choices(&self) -> &[Choice<'a>] {
        self.choices.as_deref().unwrap_or_default()
    }

    pub(super) fn counts(&self) -> Option<Counts> {
        serde_json::from_str(self.usage?.get()).ok()
    }
}

impl<'a> Choice<'a> {
    pub(super) const fn is_first(&self) -> bool {
        matches!(self.index, None | Some(0))
    }

    /// The text that it adds, as JSON.
    pub(super) fn text(&self) -> Option<&'a RawValue> {
        self.delta.as_ref().map_or(self.text, |delta| delta.content)
    }

    pub(super) fn has_role(&self) -> bool {
        self.delta.as_ref().is_some_and(|delta| delta.role.is_some())
    }

    pub(super) fn has_reasoning(&self) -> bool {
        let delta = self.delta.as_ref();
        delta.is_some_and(|delta| [delta.reasoning_content, delta.reasoning].into_iter().flatten().any(carries))
    }

    pub(super) fn has_tool_call(&self) -> bool {
        let delta = self.delta.as_ref();
        delta.is_some_and(|delta| [delta.tool_calls, delta.function_call].into_iter().flatten().any(carries))
    }

    pub(super) fn has_audio(&self) -> bool {
        self.delta.as_ref().is_some_and(|delta| delta.audio.is_some_and(carries))
    }
}

/// Whether it is more than an empty text, list or object.
fn carries(value: &RawValue) -> bool {
    !matches!(value.get(), "\"\"" | "[]" | "{}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_an_event_are_read_as_the_standard_has_them() {
        let read = |event: &'static str| Event::read(event.as_bytes());
        let data = |text: &'static str| Some(Cow::Borrowed(text.as_bytes()));
        assert_eq!(read("data: {}\n\n"), Some(Event { data: data("{}"), is_error: false }));
        assert_eq!(read("event: error\r\ndata:a\r\ndata: b\r\n\r\n").unwrap().data, data("a\nb"));
        assert!(read("event: error\ndata: x\n\n").unwrap().is_error);
        assert_eq!(read(": ping\nid: 1\nretry: 3\n\n").unwrap().data, None);
        for odd in ["<html>\n\n", "oops\n\n", "data: {}\nDATA: {}\n\n"] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_chunk_is_read_in_both_apis_shapes() {
        let chat =
            r#"{"id":"a","choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#;
        let chat: Chunk<'_> = serde_json::from_str(chat).unwrap();
        let choice = &chat.choices()[0];
        assert!(choice.is_first() && choice.has_role() && choice.finish_reason.is_none() && chat.counts().is_none());
        assert_eq!(choice.text().unwrap().get(), "\"\"");
        let completion = r#"{"choices":[{"index":1,"text":" a"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        let completion: Chunk<'_> = serde_json::from_str(completion).unwrap();
        assert_eq!(completion.counts(), Some(Counts { prompt_tokens: 3, completion_tokens: 1 }));
        assert!(!completion.choices()[0].is_first() && completion.choices()[0].text().is_some());
        let thought: Chunk<'_> =
            serde_json::from_str(r#"{"choices":[{"delta":{"reasoning":"hm","tool_calls":[]}}]}"#).unwrap();
        assert!(thought.choices()[0].has_reasoning() && !thought.choices()[0].has_tool_call());
        let error: Chunk<'_> = serde_json::from_str(r#"{"object":"error","message":"x"}"#).unwrap();
        assert!(error.is_error());
    }
}
