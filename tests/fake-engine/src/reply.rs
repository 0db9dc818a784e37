//! Answers in vLLM's shape, whole or as server-sent events.

use std::{collections::VecDeque, convert::Infallible, fmt::Display};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde_json::{Value, json};

use crate::{
    error::ApiError,
    generation::{Generation, Piece},
};

const FINGERPRINT: &str = "vllm-0.32.0-fake";
/// When all answers were made, in seconds since 1970.
const CREATED: u64 = 1_795_376_841;

/// Which of the two APIs answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completion,
}

/// What is the same in every part of one answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) api: Api,
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) include_usage: bool,
}

impl Reply {
    pub(crate) async fn whole(self, mut generation: Generation) -> Response {
        let mut text = String::new();
        loop {
            match generation.next().await {
                Piece::Token(token) => text.push_str(&token),
                Piece::Finished => break,
                Piece::Failed => return ApiError::dead().into_response(),
                Piece::Forgotten => return ApiError::draining().into_response(),
            }
        }
        let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": "length", "stop_reason": null});
        match self.api {
            Api::Chat => choice["message"] = json!({"role": "assistant", "content": text, "refusal": null}),
            Api::Completion => choice["text"] = text.into(),
        }
        let mut body = self.envelope(self.object(false), json!([choice]));
        body["usage"] = usage(&generation);
        Json(body).into_response()
    }

    pub(crate) fn streamed(self, generation: Generation) -> Response {
        let events = Events { reply: self, generation, pending: VecDeque::new(), done: false };
        let body = stream::unfold(events, |mut events| async move {
            let event = events.next().await?;
            Some((Ok::<_, Infallible>(event), events))
        });
        ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], Body::from_stream(body)).into_response()
    }

    const fn object(&self, chunk: bool) -> &'static str {
        match (self.api, chunk) {
            (Api::Chat, false) => "chat.completion",
            (Api::Chat, true) => "chat.completion.chunk",
            (Api::Completion, _) => "text_completion",
        }
    }

    fn envelope(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": CREATED, "model": self.model,
            "system_fingerprint": FINGERPRINT, "choices": choices,
        })
    }

    fn chunk(&self, text: &str, finish: Option<&str>) -> Value {
        let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": finish});
        match self.api {
            Api::Chat => choice["delta"] = json!({"content": text}),
            Api::Completion => choice["text"] = text.into(),
        }
        self.envelope(self.object(true), json!([choice]))
    }

    fn role(&self) -> Value {
        let delta = json!({"role": "assistant", "content": ""});
        self.envelope(self.object(true), json!([{"index": 0, "delta": delta, "finish_reason": null}]))
    }
}

/// The events of one answer.
struct Events {
    reply: Reply,
    generation: Generation,
    pending: VecDeque<Bytes>,
    done: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        while self.pending.is_empty() && !self.done {
            match self.generation.next().await {
                Piece::Token(text) => {
                    if self.reply.api == Api::Chat && self.generation.generated == 1 {
                        self.push(&self.reply.role());
                    }
                    self.push(&self.reply.chunk(&text, None));
                }
                Piece::Finished => self.finish(),
                Piece::Failed => {
                    self.push(&ApiError::dead().event());
                    self.end();
                }
                Piece::Forgotten => self.end(),
            }
        }
        self.pending.pop_front()
    }

    fn finish(&mut self) {
        self.push(&self.reply.chunk("", Some("length")));
        if self.reply.include_usage {
            let mut chunk = self.reply.envelope(self.reply.object(true), json!([]));
            chunk["usage"] = usage(&self.generation);
            self.push(&chunk);
        }
        self.end();
    }

    fn end(&mut self) {
        self.pending.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.done = true;
    }

    fn push(&mut self, event: &impl Display) {
        self.pending.push_back(format!("data: {event}\n\n").into());
    }
}

fn usage(generation: &Generation) -> Value {
    let (prompt, completion) = (generation.prompt_tokens, generation.generated);
    json!({"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion})
}
