//! What the ingress reads of a request body: model and stream, how long the answer may be and how many there are, whose
//! session it is of, and where the prompt is. The body itself goes to the engine as it came.

mod form;

use std::{borrow::Cow, ops::Range, str};

use http::{HeaderMap, header};
use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    api::Format,
    members::{Member, Turns, members},
};

pub(crate) use form::FormError;

/// Why a body cannot be routed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the request body is not a JSON object")]
    NotAnObject,
    #[error("the request body is not valid JSON, or `model` or `stream` is not what it should be: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the request body is not a form that can be read: {0}")]
    Form(#[from] FormError),
    #[error("the request names no model: set `model` to one of those that GET /v1/models lists")]
    NoModel,
}

/// The fields of a request body that routing needs, borrowed from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) model: Cow<'a, str>,
    pub(crate) stream: bool,
    /// Tokens that the answer may have, if the request says so. Of several limits the largest: engines do not agree on which
    /// one counts.
    pub(crate) longest: Option<u32>,
    /// Answers that are computed for one prompt, at least 1: of several counts the largest, and of one that cannot be read the
    /// largest that there is, so that nobody is better off by writing it in another way.
    pub(crate) choices: u32,
    pub(crate) prompt: Prompt<'a>,
}

/// The parts of a prompt as they are in the body: JSON, of which nothing is understood. A part that is not there is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Prompt<'a> {
    /// What templates put before all messages: `tools`, `system` (Anthropic's) and `instructions` (of responses).
    pub(crate) preamble: [&'a [u8]; 3],
    /// `messages`, `prompt`, or `input`, whichever is there.
    pub(crate) body: &'a [u8],
    /// Those of `body`.
    pub(crate) turns: Turns,
    /// `cache_salt`: prompts with another one share no cache.
    pub(crate) salt: Option<&'a [u8]>,
    /// `prompt_cache_key`: OpenAI's way to say which requests are likely to have a prompt in common.
    pub(crate) session: Option<&'a [u8]>,
}

impl<'a> Prompt<'a> {
    /// One of nothing but `body`.
    pub(crate) fn of_body(body: &'a [u8]) -> Self {
        Self { body, turns: Turns::of(body), ..Self::default() }
    }
}

/// Names of what a prompt consists of.
const PARTS: [&[u8]; 8] =
    [b"messages", b"prompt", b"input", b"tools", b"system", b"instructions", b"cache_salt", b"prompt_cache_key"];

/// Names of what limits an answer: of chat and completions, and Anthropic's; of chat; of responses.
const LIMITS: [&[u8]; 3] = [b"max_tokens", b"max_completion_tokens", b"max_output_tokens"];

/// Names of how many answers are computed: those that are given, and those that the best are taken of.
const CHOICES: [&[u8]; 2] = [b"n", b"best_of"];

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<Name<'a>>,
    stream: Option<bool>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_salt: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    fn prompt(&self) -> Prompt<'a> {
        let bytes = |value: Option<&'a RawValue>| value.map_or(&b""[..], |value| value.get().as_bytes());
        Prompt {
            preamble: [self.tools, self.system, self.instructions].map(bytes),
            salt: self.cache_salt.map(|salt| salt.get().as_bytes()),
            session: self.prompt_cache_key.map(|session| session.get().as_bytes()),
            ..Prompt::of_body(bytes(self.messages.or(self.prompt).or(self.input)))
        }
    }
}

// serde borrows into a `Cow` only where the field's type is literally one, hence not within an `Option`.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Head<'a> {
    /// Reads the head of `body`, which came with `headers`.
    pub(crate) fn read(format: Format, headers: &HeaderMap, body: &'a [u8]) -> Result<Self, HeadError> {
        match format {
            Format::Json => Self::parse(body),
            Format::Form => Self::of_form(headers, body),
        }
    }

    /// Reads the head of a JSON `body`. Fields that are not known here are skipped without being understood; a known one that
    /// appears twice is an error, because engines do not agree on which one counts.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, HeadError> {
        // What is unclear is read again, at ten times the cost, by who can say what is wrong with it.
        Self::skim(body).map_or_else(|| Self::parse_all(body), Ok)
    }

    /// The head of `body`, if nothing of it is written in an unusual way.
    fn skim(body: &'a [u8]) -> Option<Self> {
        let (mut model, mut stream, mut parts) = (None, None, [None; PARTS.len()]);
        let (mut longest, mut choices) = (None, None);
        for member in members(body) {
            let Member { name, value, turns } = member.ok()?;
            let value = &body[value];
            let is_second = match name {
                b"model" => model.replace(plain_string(value)?).is_some(),
                b"stream" => stream.replace(serde_json::from_slice::<bool>(value).ok()?).is_some(),
                name => match PARTS.iter().position(|part| *part == name) {
                    None => {
                        longest = longest.max(count(&LIMITS, name, value));
                        choices = choices.max(self::choices(name, value));
                        false
                    }
                    // As if it were not there, but not twice.
                    Some(part) if value == b"null" => parts[part].replace((&value[..0], turns)).is_some(),
                    Some(part) => parts[part].replace((value, turns)).is_some(),
                },
            };
            if is_second {
                return None;
            }
        }
        let [messages, prompt, input, tools, system, instructions, salt, session] =
            parts.map(|part| part.filter(|(text, _)| !text.is_empty()));
        let (body, turns) = messages.or(prompt).or(input).unwrap_or_default();
        let preamble = [tools, system, instructions].map(|part| part.unwrap_or_default().0);
        let [salt, session] = [salt, session].map(|part| part.map(|(text, _)| text));
        let prompt = Prompt { preamble, body, turns, salt, session };
        let choices = choices.unwrap_or(1).max(1);
        Some(Self { model: model?.into(), stream: stream.unwrap_or(false), longest, choices, prompt })
    }

    fn parse_all(body: &'a [u8]) -> Result<Self, HeadError> {
        // serde would also read the fields from an array.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(HeadError::NotAnObject);
        }
        let fields: Fields<'a> = serde_json::from_slice(body)?;
        let prompt = fields.prompt();
        let Name(model) = fields.model.ok_or(HeadError::NoModel)?;
        let (mut longest, mut choices) = (None, None);
        for member in members(body) {
            match member {
                Ok(Member { name, value, .. }) => {
                    longest = longest.max(count(&LIMITS, name, &body[value.clone()]));
                    choices = choices.max(self::choices(name, &body[value]));
                }
                // What follows is not looked for.
                Err(_) => choices = Some(u32::MAX),
            }
        }
        let choices = choices.unwrap_or(1).max(1);
        Ok(Self { model, stream: fields.stream.unwrap_or(false), longest, choices, prompt })
    }

    fn of_form(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, HeadError> {
        let spans = form::spans(content_type(headers), body)?;
        // What is no text is the name of nothing.
        let model = spans.model.and_then(|span| str::from_utf8(&body[span]).ok()).ok_or(HeadError::NoModel)?;
        let stream = spans.stream.is_some_and(|span| is_true(&body[span]));
        // What is spoken has no prefix that an engine would keep.
        Ok(Self { model: model.into(), stream, longest: None, choices: 1, prompt: Prompt::default() })
    }
}

/// The count that a member says, if its name is one of `names`; what is no count is for the engine to refuse.
fn count(names: &[&[u8]], name: &[u8], value: &[u8]) -> Option<u32> {
    if !names.contains(&name) {
        return None;
    }
    let count: u64 = str::from_utf8(value).ok()?.parse().ok()?;
    Some(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The answers that a member says are computed. Engines read a count that is written in another way, too.
fn choices(name: &[u8], value: &[u8]) -> Option<u32> {
    let is_said = CHOICES.contains(&name) && value != b"null";
    is_said.then(|| count(&CHOICES, name, value).unwrap_or(u32::MAX))
}

/// The text of a JSON string without escapes.
pub(crate) fn plain_string(value: &[u8]) -> Option<&str> {
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr(b'\\', text).is_some() { None } else { str::from_utf8(text).ok() }
}

fn content_type(headers: &HeaderMap) -> &[u8] {
    headers.get(header::CONTENT_TYPE).map_or(b"", |value| value.as_bytes())
}

/// What engines written with Pydantic take for true in a form.
fn is_true(value: &[u8]) -> bool {
    [&b"true"[..], b"1", b"on", b"t", b"y", b"yes"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

#[derive(Deserialize)]
struct ModelText<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

/// Where in `body`, which came with `headers`, the value of `model` stands: in JSON with its quotes.
pub(crate) fn model_span(format: Format, headers: &HeaderMap, body: &[u8]) -> Result<Range<usize>, HeadError> {
    match format {
        Format::Json => json_model_span(body),
        Format::Form => form::spans(content_type(headers), body)?.model.ok_or(HeadError::NoModel),
    }
}

fn json_model_span(body: &[u8]) -> Result<Range<usize>, HeadError> {
    if let Some(span) = skim_model_span(body) {
        return Ok(span);
    }
    let model = serde_json::from_slice::<ModelText<'_>>(body)?.model.ok_or(HeadError::NoModel)?.get();
    // It is a part of `body`, not a copy.
    let start = model.as_ptr().addr().checked_sub(body.as_ptr().addr()).ok_or(HeadError::NoModel)?;
    let span = start..start + model.len();
    if body.get(span.clone()) == Some(model.as_bytes()) { Ok(span) } else { Err(HeadError::NoModel) }
}

/// The span of the only `model` of `body`, if nothing of it is written in an unusual way.
fn skim_model_span(body: &[u8]) -> Option<Range<usize>> {
    let mut span = None;
    for member in members(body) {
        let Member { name, value, .. } = member.ok()?;
        if name == b"model" && (body[value.clone()].first() != Some(&b'"') || span.replace(value).is_some()) {
            return None;
        }
    }
    span
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<(String, bool), HeadError> {
        Head::parse(body.as_bytes()).map(|head| (head.model.into_owned(), head.stream))
    }

    #[test]
    fn the_fields_are_found_among_whatever_else() {
        let body = r#" {"messages":[{"role":"user","content":[{"model":"no"}]}],"seed":1e999,"n":-123456789012345678901234567890,
            "stream":true,"logit_bias":{"model":"no"},"model":"llama-70b","x":null}"#;
        assert_eq!(parse(body).unwrap(), ("llama-70b".to_owned(), true));
        assert!(matches!(Head::parse(br#"{"model":"a"}"#).unwrap().model, Cow::Borrowed("a")));
        assert_eq!(parse(r#"{"model":"\u006dodel","stream":null}"#).unwrap(), ("model".to_owned(), false));
    }

    #[test]
    fn the_parts_of_a_prompt_are_borrowed_as_they_are() {
        let (preamble, turns) = ([&b"[1]"[..], b"", b""], Turns::default());
        let (salt, session) = (Some(&b"\"s\""[..]), Some(&b"\"k\""[..]));
        let expected = Prompt { preamble, body: br#"[ {"content":"\u0068"} ]"#, turns, salt, session };
        // Also where the head is written in an unusual way.
        for model in ["a", r"\u0061"] {
            let rest = r#""messages": [ {"content":"\u0068"} ] ,"tools":[1],"cache_salt":"s","input":"no""#;
            let body = format!(r#"{{"model":"{model}",{rest},"prompt_cache_key":"k"}}"#);
            assert_eq!(Head::parse(body.as_bytes()).unwrap().prompt, expected);
        }
        assert_eq!(Head::parse(br#"{"model":"a","prompt":"x"}"#).unwrap().prompt.body, b"\"x\"");
        assert_eq!(Head::parse(br#"{"model":"a","messages":null}"#).unwrap().prompt, Prompt::default());
        let without = br#"{"model":"a","messages":null,"prompt":"x","prompt_cache_key":null,"cache_salt":null}"#;
        assert_eq!(Head::parse(without).unwrap().prompt, Prompt::of_body(b"\"x\""));
        assert!(
            Head::skim(without).is_some(),
            "serde is not needed where clients say of what they do not use that it is null"
        );
        assert!(Head::parse(br#"{"model":"a","messages":null,"messages":[]}"#).is_err());
    }

    #[test]
    fn turns_are_found_in_whichever_part_is_the_prompt() {
        for model in ["llama", r"\u006clama"] {
            let tools = r#""tools":["user"],"input":["user","role"]"#;
            let body =
                format!(r#"{{{tools},"messages": [{{"role":"user"}},{{"role":"assistant"}}],"model":"{model}"}}"#);
            assert_eq!(Head::parse(body.as_bytes()).unwrap().prompt.turns, Turns { user: Some(9), next: Some(18) });
        }
    }

    #[test]
    fn a_field_given_twice_is_an_error_only_where_it_decides() {
        assert!(matches!(parse(r#"{"model":"a","model":"b"}"#), Err(HeadError::Malformed(_))));
        assert!(parse(r#"{"model":"a","n":1,"n":2}"#).is_ok());
    }

    #[test]
    fn the_largest_limit_of_an_answer_counts_if_it_is_a_number() {
        for (limits, longest) in [
            (r#""n":1"#, None),
            (r#""max_tokens":16"#, Some(16)),
            (r#""max_completion_tokens":8192"#, Some(8192)),
            (r#""max_output_tokens": 7 "#, Some(7)),
            (r#""max_tokens":16,"max_completion_tokens":2000"#, Some(2000)),
            (r#""max_tokens":2000,"max_tokens":16"#, Some(2000)),
            (r#""max_tokens":0"#, Some(0)),
            (r#""max_tokens":99999999999999999999"#, None),
            (r#""max_tokens":9999999999"#, Some(u32::MAX)),
            (r#""max_tokens":null"#, None),
            (r#""max_tokens":-1"#, None),
            (r#""max_tokens":"16""#, None),
            (r#""x":{"max_tokens":16}"#, None),
        ] {
            // Also where the head is written in an unusual way.
            for model in ["llama", r"\u006clama"] {
                let body = format!(r#"{{"model":"{model}",{limits},"messages":[]}}"#);
                assert_eq!(Head::parse(body.as_bytes()).unwrap().longest, longest, "{body}");
            }
        }
    }

    #[test]
    fn as_many_answers_count_as_are_computed() {
        for (members, choices) in [
            (r#""x":1"#, 1),
            (r#""n":4"#, 4),
            (r#""n":2,"best_of":8"#, 8),
            (r#""n":0"#, 1),
            (r#""n":null"#, 1),
            (r#""n":99999999999"#, u32::MAX),
            (r#""n":"64""#, u32::MAX),
            (r#""n":64.0"#, u32::MAX),
        ] {
            // Also where the head is written in an unusual way.
            for model in ["llama", r"\u006clama"] {
                let body = format!(r#"{{"model":"{model}",{members},"messages":[]}}"#);
                assert_eq!(Head::parse(body.as_bytes()).unwrap().choices, choices, "{body}");
            }
        }
        for hidden in [r#""\u006e":64"#, r#""\u0078":1,"n":64"#] {
            let body = format!(r#"{{"model":"llama",{hidden},"messages":[]}}"#);
            assert_eq!(Head::parse(body.as_bytes()).unwrap().choices, u32::MAX, "{body}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for body in [r#"["a",true]"#, "", "  ", "null", "\"model\"", "1"] {
            assert!(matches!(parse(body), Err(HeadError::NotAnObject)), "{body}");
        }
        for body in [r#"{"model":1}"#, r#"{"model":"a","stream":"yes"}"#, r#"{"model":"a"} x"#, r#"{"model":"a""#] {
            assert!(matches!(parse(body), Err(HeadError::Malformed(_))), "{body}");
        }
        assert!(matches!(parse(r#"{"model":null}"#), Err(HeadError::NoModel)));
        assert!(matches!(parse(r#"{"stream":true}"#), Err(HeadError::NoModel)));
    }

    #[test]
    fn depth_costs_no_stack() {
        let body = format!(r#"{{"x":{}{},"model":"a"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let _ = parse(&body);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Head::parse(&bytes);
        }
    }
}
