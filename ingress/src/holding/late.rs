//! Streams that are answered late: the client gets the head of the answer and signs of life while it waits.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tokio::time::timeout_at;

use super::{HeldStream, Hold};
use crate::{
    Ingress,
    account::Account,
    attempt::Opened,
    error::RequestError,
    pending::Pending,
    reply::{Reply, ReplyBody},
};

/// Most that is read of an answer that is no stream, in bytes.
const ANSWER_MAX: usize = 64 << 10;

impl Ingress {
    /// The head of a stream whose request still waits, and a body that goes on waiting.
    pub(crate) fn answer_late(
        self: Arc<Self>,
        pending: Box<Pending>,
        hold: Box<Hold>,
        account: Box<Account>,
    ) -> Response<ReplyBody> {
        let endpoint = pending.wanted.endpoint.clone();
        let answer = Box::pin(self.late_reply(pending, hold, account));
        let mut response = Response::new(ReplyBody::Held(Box::new(HeldStream::new(&endpoint, answer))));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    /// What follows the signs of life: a replica's stream, or an event that says why there is none.
    async fn late_reply(
        self: Arc<Self>,
        pending: Box<Pending>,
        hold: Box<Hold>,
        mut account: Box<Account>,
    ) -> Result<Reply, Bytes> {
        let shape = pending.outgoing.api.errors();
        let opened = match self.forward_held(&pending, *hold).await {
            Ok(opened) => opened,
            Err(error) => {
                account.refused(&error);
                return Err(error.event(shape, account.id()));
            }
        };
        account.answered(opened.head.status, opened.replica, opened.at);
        if opened.is_token_stream() {
            return Ok(Reply::new(self, pending, opened, account).1);
        }
        let event = told(opened, &pending, &mut account).await;
        account.finished();
        Err(event)
    }
}

/// An answer that is no stream, as an event.
async fn told(mut opened: Box<Opened>, pending: &Pending, account: &mut Account) -> Bytes {
    let (shape, mut answer) = (pending.outgoing.api.errors(), Vec::new());
    for held in &opened.held {
        account.passed(held);
        answer.extend_from_slice(held);
    }
    let read = async {
        while answer.len() < ANSWER_MAX
            && let Some(body) = &mut opened.body
            && let Some(Ok(chunk)) = body.chunk().await
        {
            account.passed(&chunk);
            answer.extend_from_slice(&chunk);
        }
    };
    if timeout_at(pending.deadline, read).await.is_err() {
        let (endpoint, timeout) = (pending.wanted.endpoint.clone(), pending.timeout);
        return RequestError::TimedOut { endpoint, timeout, tried: Default::default() }.event(shape, account.id());
    }
    shape.event_of_answer(opened.head.status, &answer, account.id())
}
