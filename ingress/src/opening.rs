//! The beginning of an answer: held back until it is known to be one, so that another replica can still be tried.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    failure::Failure,
    headers::is_event_stream,
    sse::{FirstEvent, FirstEventFinder},
    upstream::{BrokenBody, Head, UpstreamBody},
};

/// Most bytes that are held back, comments included; a stream that has no event by then is passed on as it is.
const HELD_MAX: usize = 64 << 10;

/// What has come of `body` by the time that the answer is known to be worth passing on.
///
/// A stream is held until its first event is complete, as engines report a crash in a 200 stream that begins with an
/// error event, or has nothing but `[DONE]`. Nothing else is held. A status that says "not here, not now" is a failure;
/// every other one, 4xx and 500 included, is the engine's answer.
pub(crate) async fn hold_back(head: &Head, body: &mut UpstreamBody) -> Result<Vec<Bytes>, Failure> {
    match head.status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::LOOP_DETECTED => Err(Failure::Status(head.status)),
        StatusCode::OK if is_event_stream(&head.headers) => hold_until_first_event(body).await,
        _ => Ok(Vec::new()),
    }
}

async fn hold_until_first_event(body: &mut UpstreamBody) -> Result<Vec<Bytes>, Failure> {
    let (mut finder, mut held, mut size) = (FirstEventFinder::default(), Vec::new(), 0);
    while size < HELD_MAX {
        let Some(chunk) = body.chunk().await else {
            return verdict(finder.finish()).map(|()| held);
        };
        let chunk = chunk?;
        let event = finder.push(&chunk);
        size += chunk.len();
        held.push(chunk);
        if let Some(event) = event {
            return verdict(event).map(|()| held);
        }
    }
    Ok(held)
}

fn verdict(event: FirstEvent) -> Result<(), Failure> {
    match event {
        FirstEvent::Content => Ok(()),
        FirstEvent::Error(message) => Err(Failure::ErrorEvent(message)),
        FirstEvent::Done => Err(Failure::NoTokens),
    }
}

impl From<BrokenBody> for Failure {
    fn from(broken: BrokenBody) -> Self {
        match broken {
            BrokenBody::Engine(error) => Self::BrokeOff(error.to_string()),
            BrokenBody::Tunnel(error) => Self::Tunnel(error),
        }
    }
}
