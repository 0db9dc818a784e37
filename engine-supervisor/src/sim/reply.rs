//! Answers in vLLM's shape, whole or as server-sent events.

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde_json::{Value, json};

use super::{
    error::ApiError,
    generation::{Finish, Generation, Piece},
};

/// Says in every answer that no model was at work.
const FINGERPRINT: &str = "shoal-sim";

/// Which of the two APIs answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Completion,
}

/// What is the same in every part of one answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) api: Api,
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
}

impl Reply {
    /// The answer in one piece, when it is complete.
    pub(super) async fn whole(self, mut generation: Generation) -> Response {
        let mut text = generation.take_echo().unwrap_or_default();
        let finish = loop {
            match generation.next().await {
                Piece::Text(more) => text.push_str(&more),
                Piece::Finished(finish) => break finish,
                Piece::Aborted => return ApiError::aborted().into_response(),
            }
        };
        let (finish_reason, stop_reason) = reasons(&finish);
        let mut choice = json!({
            "index": 0, "logprobs": null, "finish_reason": finish_reason, "stop_reason": stop_reason,
        });
        match self.api {
            Api::Chat => choice["message"] = json!({"role": "assistant", "content": text, "tool_calls": []}),
            Api::Completion => choice["text"] = text.into(),
        }
        let mut body = self.envelope(self.object(false), json!([choice]));
        body["usage"] = usage(&generation);
        Json(body).into_response()
    }

    /// The answer as it comes. Dropping the response ends the generation.
    pub(super) fn streamed(self, generation: Generation, include_usage: bool) -> Response {
        let events =
            Events { reply: self, generation, include_usage, pending: VecDeque::new(), begun: false, done: false };
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
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": FINGERPRINT, "choices": choices,
        })
    }

    fn chunk(&self, text: &str, finish: Option<&Finish>) -> Value {
        let (finish_reason, stop_reason) = finish.map_or((Value::Null, Value::Null), reasons);
        let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": finish_reason});
        match self.api {
            Api::Chat => choice["delta"] = json!({"content": text}),
            Api::Completion => choice["text"] = text.into(),
        }
        if finish.is_some() || self.api == Api::Completion {
            choice["stop_reason"] = stop_reason;
        }
        self.envelope(self.object(true), json!([choice]))
    }

    fn role_chunk(&self) -> Value {
        let delta = json!({"role": "assistant", "content": ""});
        self.envelope(self.object(true), json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]))
    }
}

/// The events of one answer.
struct Events {
    reply: Reply,
    generation: Generation,
    include_usage: bool,
    pending: VecDeque<Bytes>,
    begun: bool,
    done: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        while self.pending.is_empty() && !self.done {
            let piece = self.generation.next().await;
            self.begin();
            match piece {
                Piece::Text(text) => self.push(&self.reply.chunk(&text, None)),
                Piece::Finished(finish) => self.finish(&finish),
                // As vLLM does when its engine dies: an error inside of a 200.
                Piece::Aborted => {
                    self.push(&ApiError::aborted().body());
                    self.end();
                }
            }
        }
        self.pending.pop_front()
    }

    /// As in vLLM, nothing is sent before there is something to send: no byte leaves while the request waits.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        if self.reply.api == Api::Chat {
            self.push(&self.reply.role_chunk());
        }
        if let Some(echo) = self.generation.take_echo() {
            self.push(&self.reply.chunk(&echo, None));
        }
    }

    fn finish(&mut self, finish: &Finish) {
        self.push(&self.reply.chunk("", Some(finish)));
        if self.include_usage {
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

    fn push(&mut self, event: &Value) {
        self.pending.push_back(format!("data: {event}\n\n").into());
    }
}

fn reasons(finish: &Finish) -> (Value, Value) {
    match finish {
        Finish::Length => (json!("length"), Value::Null),
        Finish::Stop(stop) => (json!("stop"), json!(stop)),
    }
}

fn usage(generation: &Generation) -> Value {
    let (prompt, completion) = (generation.prompt_tokens(), generation.generated());
    json!({"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion})
}
