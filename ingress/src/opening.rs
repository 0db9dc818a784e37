//! The beginning of an answer: held back until it is known to be one, so that another replica can still be tried.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    failure::Failure,
    headers::Media,
    sse::{FirstEvent, FirstEventFinder},
    upstream::{BrokenBody, Head, UpstreamBody},
};

/// Most bytes that are held back, comments included; a stream that has no event by then is passed on as it is.
const HELD_MAX: usize = 64 << 10;

/// Most bytes of an answer in JSON that are held until it is whole: all but the largest batches of embeddings. What is
/// over it is passed on as it comes.
const WHOLE_MAX: usize = 1 << 20;

/// What has come of an answer.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pub(crate) held: Vec<Bytes>,
    /// There is no more.
    pub(crate) is_whole: bool,
}

/// What has come of `body` by the time that the answer is known to be worth passing on.
///
/// A stream is held until its first event is complete, as engines report a crash in a 200 stream that begins with an
/// error event, or has nothing but `[DONE]`. JSON is held until it is whole: a part of it is of no use to anybody, and
/// engines write it at once. Nothing else is held. A status that says "not here, not now" is a failure; every other one,
/// 4xx and 500 included, is the engine's answer.
pub(crate) async fn hold_back(head: &Head, body: &mut UpstreamBody) -> Result<Opening, Failure> {
    match head.status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::LOOP_DETECTED => Err(Failure::Status(head.status)),
        StatusCode::OK if head.media == Media::Events => {
            hold_until_first_event(body).await.map(|held| Opening { held, is_whole: false })
        }
        _ if head.media == Media::Json => hold_until_whole(body).await,
        _ => Ok(Opening::default()),
    }
}

async fn hold_until_whole(body: &mut UpstreamBody) -> Result<Opening, Failure> {
    let (mut held, mut size) = (Vec::new(), 0);
    while size <= WHOLE_MAX {
        let Some(chunk) = body.chunk().await else { return Ok(Opening { held, is_whole: true }) };
        let chunk = chunk?;
        size += chunk.len();
        held.push(chunk);
    }
    Ok(Opening { held, is_whole: false })
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
