//! The two APIs that vLLM has besides completions: OpenAI's responses and Anthropic's messages, as far as a client that asks
//! for text needs them. Text and timing are those of a chat with the same messages.

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::ApiError,
    generation::{Finish, Generation, Piece},
    request::{ChatRequest, Content, Message},
};

/// The body of `/v1/responses`.
#[derive(Debug, Deserialize)]
pub(super) struct ResponsesRequest {
    pub(super) model: Option<String>,
    input: Input,
    instructions: Option<String>,
    max_output_tokens: Option<u32>,
    stream: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Messages(Vec<Message>),
}

/// The body of `/v1/messages`.
#[derive(Debug, Deserialize)]
pub(super) struct MessagesRequest {
    pub(super) model: Option<String>,
    system: Option<Content>,
    messages: Vec<Message>,
    max_tokens: u32,
    stream: Option<bool>,
}

impl From<ResponsesRequest> for ChatRequest {
    fn from(request: ResponsesRequest) -> Self {
        let system = request.instructions.map(|text| Message::new("system", Content::Text(text)));
        let messages = match request.input {
            Input::Text(text) => vec![Message::new("user", Content::Text(text))],
            Input::Messages(messages) => messages,
        };
        let messages = system.into_iter().chain(messages).collect();
        Self::plain(request.model, messages, request.max_output_tokens, request.stream)
    }
}

impl From<MessagesRequest> for ChatRequest {
    fn from(request: MessagesRequest) -> Self {
        let system = request.system.map(|content| Message::new("system", content));
        let messages = system.into_iter().chain(request.messages).collect();
        Self::plain(request.model, messages, Some(request.max_tokens), request.stream)
    }
}

/// Which of the two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Responses,
    Messages,
}

/// What is the same in every part of one answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) dialect: Dialect,
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
}

impl Answer {
    /// The answer in one piece, when it is complete.
    pub(super) async fn whole(self, mut generation: Generation) -> Response {
        let mut text = String::new();
        let finish = loop {
            match generation.next().await {
                Piece::Text(more) => text.push_str(&more),
                Piece::Finished(finish) => break finish,
                Piece::Aborted => return ApiError::aborted().into_response(),
            }
        };
        Json(self.body(&text, Some(&finish), &generation)).into_response()
    }

    /// The answer as it comes. Dropping the response ends the generation.
    pub(super) fn streamed(self, generation: Generation) -> Response {
        let (text, pending) = (String::new(), VecDeque::new());
        let events = Events { answer: self, generation, text, pending, number: 0, begun: false, done: false };
        let body = stream::unfold(events, |mut events| async move {
            let event = events.next().await?;
            Some((Ok::<_, Infallible>(event), events))
        });
        ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], Body::from_stream(body)).into_response()
    }

    /// What there is so far, with `finish` all of it.
    fn body(&self, text: &str, finish: Option<&Finish>, generation: &Generation) -> Value {
        let (input, output) = (generation.prompt_tokens(), generation.generated());
        let usage = json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output});
        match self.dialect {
            Dialect::Responses => {
                let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
                let message = json!({
                    "type": "message", "id": format!("msg_{}", self.id), "status": "completed", "role": "assistant",
                    "content": content,
                });
                let (status, output, usage) = match finish {
                    None => ("in_progress", json!([]), Value::Null),
                    Some(Finish::Length) => ("incomplete", json!([message]), usage),
                    Some(Finish::Stop(_)) => ("completed", json!([message]), usage),
                };
                json!({
                    "id": self.id, "object": "response", "created_at": self.created, "model": self.model, "status": status,
                    "output": output, "usage": usage, "error": null, "parallel_tool_calls": false,
                    "tool_choice": "auto", "tools": [],
                })
            }
            Dialect::Messages => {
                let content = finish.map_or_else(|| json!([]), |_| json!([{"type": "text", "text": text}]));
                json!({
                    "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
                    "stop_reason": finish.map(stop_reason), "stop_sequence": null, "usage": usage,
                })
            }
        }
    }
}

const fn stop_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Length => "max_tokens",
        Finish::Stop(_) => "end_turn",
    }
}

/// The events of one answer.
struct Events {
    answer: Answer,
    generation: Generation,
    text: String,
    pending: VecDeque<Bytes>,
    number: u32,
    begun: bool,
    done: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        while self.pending.is_empty() && !self.done {
            let piece = self.generation.next().await;
            if !std::mem::replace(&mut self.begun, true) {
                self.begin();
            }
            match piece {
                Piece::Text(text) => self.delta(&text),
                Piece::Finished(finish) => self.finish(&finish),
                Piece::Aborted => {
                    self.push("error", ApiError::aborted().body());
                    self.done = true;
                }
            }
        }
        self.pending.pop_front()
    }

    fn begin(&mut self) {
        let body = self.answer.body("", None, &self.generation);
        match self.answer.dialect {
            Dialect::Responses => self.push("response.created", json!({"response": body})),
            Dialect::Messages => {
                self.push("message_start", json!({"message": body}));
                self.push("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}}));
            }
        }
    }

    fn delta(&mut self, text: &str) {
        self.text.push_str(text);
        match self.answer.dialect {
            Dialect::Responses => {
                let item = format!("msg_{}", self.answer.id);
                let delta =
                    json!({"item_id": item, "output_index": 0, "content_index": 0, "delta": text, "logprobs": []});
                self.push("response.output_text.delta", delta);
            }
            Dialect::Messages => {
                let delta = json!({"index": 0, "delta": {"type": "text_delta", "text": text}});
                self.push("content_block_delta", delta);
            }
        }
    }

    fn finish(&mut self, finish: &Finish) {
        let body = self.answer.body(&self.text, Some(finish), &self.generation);
        match (self.answer.dialect, finish) {
            (Dialect::Responses, Finish::Length) => self.push("response.incomplete", json!({"response": body})),
            (Dialect::Responses, Finish::Stop(_)) => self.push("response.completed", json!({"response": body})),
            (Dialect::Messages, finish) => {
                self.push("content_block_stop", json!({"index": 0}));
                let delta = json!({"stop_reason": stop_reason(finish), "stop_sequence": null});
                self.push("message_delta", json!({"delta": delta, "usage": body["usage"]}));
                self.push("message_stop", json!({}));
            }
        }
        self.done = true;
    }

    /// An event is named, and its data says its name again.
    fn push(&mut self, name: &str, mut data: Value) {
        data["type"] = name.into();
        if self.answer.dialect == Dialect::Responses {
            data["sequence_number"] = self.number.into();
            self.number += 1;
        }
        self.pending.push_back(format!("event: {name}\ndata: {data}\n\n").into());
    }
}
