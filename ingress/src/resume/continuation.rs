//! The request by which another replica goes on with an answer.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Exclusion, Splice, Transcript,
    eligible::{Fields, Generation, eligible, is_set},
    json::{Edits, escaped},
    splice::Goal,
};

/// Tokens that `/v1/completions` gives where the request does not say: OpenAI's reference, and vLLM's and SGLang's default.
const COMPLETION_TOKENS: u32 = 16;

/// What is left to be done for an answer.
#[derive(Debug)]
pub(crate) enum Continuation {
    /// This request is to be sent, and its answer passed on in this way.
    Ask {
        /// The client's request with what it has been sent.
        body: Bytes,
        /// How the events that come become the client's.
        splice: Splice,
    },
    /// All has been said but that it is done.
    Done,
}

/// How the answer to `request` goes on after what `sent` says.
///
/// White space at the end is asked for again and then left out: chat templates trim messages, and a tokenizer joins a
/// space with the word after it, so that a model which is given it goes on differently.
pub(crate) fn continuation(api: Generation, request: &Bytes, sent: &Transcript) -> Result<Continuation, Exclusion> {
    if let Some(unfit) = sent.unfit {
        return Err(unfit);
    }
    let fields = eligible(api, request)?;
    let kept = sent.text.trim_end();
    let tokens = if kept.is_empty() { 0 } else { sent.tokens.saturating_sub(sent.blank) };
    let limit = limit(api, &fields);
    let goal = match limit {
        _ if sent.is_finished && (sent.is_counted || !wants_usage(&fields)) => return Ok(Continuation::Done),
        _ if sent.is_finished => Goal::Usage,
        Some(limit) if sent.tokens >= limit => Goal::Length,
        Some(_) | None => Goal::Text,
    };
    let body = if kept.is_empty() && goal == Goal::Text {
        request.clone()
    } else {
        let body = Body { text: request, fields: &fields, edits: Edits::new(request) };
        body.going_on(api, kept, tokens, limit, goal).ok_or(Exclusion::Prompt)?
    };
    let splice = Splice::new(goal, tokens, sent.text[kept.len()..].to_owned(), sent);
    Ok(Continuation::Ask { body, splice })
}

/// Most tokens of the answer, if there is a limit but that of the model.
fn limit(api: Generation, fields: &Fields<'_>) -> Option<u32> {
    let given = ["max_completion_tokens", "max_tokens"].into_iter().filter_map(|name| number(fields, name)).min();
    given.or_else(|| (api == Generation::Completion).then_some(COMPLETION_TOKENS))
}

fn number(fields: &Fields<'_>, name: &str) -> Option<u32> {
    fields.get(name)?.get().parse().ok()
}

fn wants_usage(fields: &Fields<'_>) -> bool {
    let options: Option<Fields<'_>> =
        fields.get("stream_options").and_then(|options| serde_json::from_str(options.get()).ok());
    options.is_some_and(|options| is_set(&options, "include_usage"))
}

/// The client's request, and what is to be changed in it.
struct Body<'a> {
    text: &'a [u8],
    fields: &'a Fields<'a>,
    edits: Edits<'a>,
}

/// A message as far as it matters whether its text can be appended to.
#[derive(Deserialize)]
struct Message<'a> {
    role: String,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl Body<'_> {
    fn going_on(mut self, api: Generation, kept: &str, tokens: u32, limit: Option<u32>, goal: Goal) -> Option<Bytes> {
        match api {
            Generation::Chat => self.append_message(kept)?,
            Generation::Completion => self.append_prompt(kept)?,
        }
        self.lower(api, tokens, limit, goal)?;
        Some(self.edits.apply().into())
    }

    fn append_message(&mut self, kept: &str) -> Option<()> {
        let messages = self.fields.get("messages")?.get();
        if is_set(self.fields, "continue_final_message") {
            let last: Message<'_> =
                serde_json::from_str(serde_json::from_str::<Vec<&RawValue>>(messages).ok()?.last()?.get()).ok()?;
            return if last.role == "assistant" { self.append_text(last.content?.get(), kept) } else { None };
        }
        // Engines refuse a request without a message.
        let end = messages.strip_prefix('[')?.strip_suffix(']').filter(|all| !all.trim().is_empty())?.len() + 1;
        let at = super::json::span(self.text, messages)?.start + end;
        let message = [b",{\"role\":\"assistant\",\"content\":\"".as_slice(), &escaped(kept), b"\"}"].concat();
        self.edits.insert(at, message);
        self.set("continue_final_message", "true")?;
        self.set("add_generation_prompt", "false")
    }

    fn append_prompt(&mut self, kept: &str) -> Option<()> {
        let prompt = self.fields.get("prompt")?.get();
        match serde_json::from_str::<Vec<&RawValue>>(prompt).ok().as_deref() {
            Some([only]) => self.append_text(only.get(), kept),
            Some(_) => None,
            None => self.append_text(prompt, kept),
        }
    }

    /// Appends `more` to `text`, which is a JSON string.
    fn append_text(&mut self, text: &str, more: &str) -> Option<()> {
        let inner = text.strip_prefix('"')?.strip_suffix('"')?;
        let end = super::json::span(self.text, inner)?.end;
        self.edits.insert(end, escaped(more));
        Some(())
    }

    /// Makes limits of the whole answer those of its rest. Where only the end is wanted, one token brings it.
    fn lower(&mut self, api: Generation, tokens: u32, limit: Option<u32>, goal: Goal) -> Option<()> {
        let left = |most: u32| if goal == Goal::Text { most.saturating_sub(tokens).max(1) } else { 1 };
        let mut is_given = false;
        for name in ["max_completion_tokens", "max_tokens"] {
            if let Some(most) = number(self.fields, name) {
                self.set(name, &left(most).to_string())?;
                is_given = true;
            }
        }
        if !is_given && (goal != Goal::Text || api == Generation::Completion) {
            self.set("max_tokens", &left(limit.unwrap_or(1)).to_string())?;
        }
        if let Some(least) = number(self.fields, "min_tokens") {
            let least = if goal == Goal::Text { least.saturating_sub(tokens) } else { 0 };
            self.set("min_tokens", &least.to_string())?;
        }
        Some(())
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        if let Some(old) = self.fields.get(name) {
            return self.edits.replace(old.get(), value);
        }
        // It has a field, that of its model, so a comma is right.
        let end = self.text.iter().rposition(|&byte| byte == b'}')?;
        self.edits.insert(end, format!(",\"{name}\":{value}"));
        Some(())
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
        for piece in pieces {
            let event = format!("data: {}\n\n", json!({"id": "a", "choices": [{"text": piece}]}));
            assert_eq!(transcript.push(event.as_bytes()), Heard::More);
        }
        transcript
    }

    fn asked(api: Generation, request: &Value, pieces: &[&str]) -> Value {
        let body = Bytes::from(request.to_string());
        match continuation(api, &body, &sent(pieces)).unwrap() {
            Continuation::Ask { body, .. } => serde_json::from_slice(&body).unwrap(),
            Continuation::Done => panic!("nothing is asked"),
        }
    }

    #[test]
    fn a_chat_goes_on_with_a_last_message_that_is_to_be_continued() {
        let request = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10,
            "max_completion_tokens": 8, "min_tokens": 1, "add_generation_prompt": true, "seed": 1e300});
        let next = asked(Generation::Chat, &request, &["a \"b\"", " c", " \n"]);
        let mut expected = request.clone();
        expected["messages"] =
            json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a \"b\" c"}]);
        for (name, value) in [("max_tokens", json!(8)), ("max_completion_tokens", json!(6)), ("min_tokens", json!(0))] {
            expected[name] = value;
        }
        expected["continue_final_message"] = json!(true);
        expected["add_generation_prompt"] = json!(false);
        assert_eq!(next, expected);
    }

    #[test]
    fn the_clients_own_beginning_of_an_answer_grows() {
        let messages = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]);
        let request =
            json!({"model": "m", "messages": messages, "continue_final_message": true, "add_generation_prompt": false});
        let next = asked(Generation::Chat, &request, &[", yes"]);
        assert_eq!(next["messages"][1]["content"], "Well, yes");
        assert_eq!(next["messages"].as_array().unwrap().len(), 2);
        let parts = json!({"model": "m", "continue_final_message": true, "messages":
            [{"role": "assistant", "content": [{"type": "text", "text": "Well"}]}]});
        let body = Bytes::from(parts.to_string());
        assert_eq!(continuation(Generation::Chat, &body, &sent(&["a"])).map(drop), Err(Exclusion::Prompt));
    }

    #[test]
    fn a_completion_goes_on_with_a_longer_prompt() {
        let next = asked(
            Generation::Completion,
            &json!({"model": "m", "prompt": "One", "max_tokens": 5}),
            &[" two", " three"],
        );
        assert_eq!(next, json!({"model": "m", "prompt": "One two three", "max_tokens": 3}));
        let next = asked(Generation::Completion, &json!({"model": "m", "prompt": ["One"]}), &[" two"]);
        assert_eq!(next, json!({"model": "m", "prompt": ["One two"], "max_tokens": 15}));
        for prompt in [json!([1, 2]), json!(["a", "b"]), json!([[1]]), json!(null)] {
            let body = Bytes::from(json!({"model": "m", "prompt": prompt}).to_string());
            assert_eq!(
                continuation(Generation::Completion, &body, &sent(&["a"])).map(drop),
                Err(Exclusion::Prompt),
                "{prompt}"
            );
        }
    }

    #[test]
    fn before_the_first_word_the_request_is_sent_again_as_it_is() {
        let request = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10});
        assert_eq!(asked(Generation::Chat, &request, &[]), request);
        assert_eq!(asked(Generation::Chat, &request, &["\n", " "]), request);
    }

    #[test]
    fn an_answer_that_is_as_long_as_it_may_be_is_only_ended() {
        let request = json!({"model": "m", "prompt": "One", "max_tokens": 2});
        assert_eq!(asked(Generation::Completion, &request, &[" two", " three"])["max_tokens"], 1);
        let finished = || {
            let mut sent = sent(&["a"]);
            sent.is_finished = true;
            sent
        };
        let body = Bytes::from(request.to_string());
        assert!(matches!(continuation(Generation::Completion, &body, &finished()), Ok(Continuation::Done)));
        let body =
            Bytes::from(json!({"model": "m", "prompt": "", "stream_options": {"include_usage": true}}).to_string());
        assert!(matches!(continuation(Generation::Completion, &body, &finished()), Ok(Continuation::Ask { .. })));
    }

    proptest! {
        /// The request that goes on is the client's, byte for byte, but for what is added and the limits.
        #[test]
        fn nothing_else_changes(prompt: String, text in "[a-z\"\\\\\u{e9} ]{0,20}x", spaces in "[ \n\t]{0,3}", other: String) {
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            let (other, prompt_text) = (quoted(&other), quoted(&prompt));
            let body = |prompt: &str| {
                format!("{{{spaces}\"user\":{other},{spaces}\"prompt\" :{spaces}{prompt}, \"seed\":1e999,\"model\":\"m\"}}{spaces}")
            };
            let Ok(Continuation::Ask { body: next, .. }) =
                continuation(Generation::Completion, &Bytes::from(body(&prompt_text)), &sent(&[&text])) else { panic!() };
            let expected = body(&quoted(&format!("{prompt}{text}")));
            let end = expected.rfind('}').unwrap();
            let expected = format!("{},\"max_tokens\":15{}", &expected[..end], &expected[end..]);
            prop_assert_eq!(std::str::from_utf8(&next).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_continued_without_panic(bytes: Vec<u8>, text: String) {
            let bytes = Bytes::from(bytes);
            let _ = (continuation(Generation::Chat, &bytes, &sent(&[&text])), continuation(Generation::Completion, &bytes, &sent(&[&text])));
        }
    }
}
