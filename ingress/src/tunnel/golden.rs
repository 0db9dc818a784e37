//! Frames of forwarded requests, of every version.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};
use shoal_types::{ClaimId, Load, NodeId, UnixMillis};

use super::{
    frames::{HOPS, NotServing, Outcome, RequestHead, Trailer, Verdict},
    headers::AnswerHeaders,
};
use crate::kept::{check, kept};

fn headers() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

#[test]
fn golden_frames_of_version_1_are_read() {
    let generation = UnixMillis::from_millis(1_700_000_000_000);
    let head = RequestHead {
        claim: ClaimId { node: NodeId::from_bytes([3; 16]), generation, counter: 7 },
        method: "POST".into(),
        target: "/v1/chat/completions".into(),
        headers: Cow::Owned(headers()),
        time_left: 30_000,
        hop: HOPS,
    };
    let no = Verdict::NotServing;
    let answer = |load| Outcome::Answer { status: 200, headers: AnswerHeaders { headers: headers(), load } };
    let busy = Load { inflight: 5, running: Some(4), waiting: Some(1), kv_cache: Some(60) };
    let unknown = Load { inflight: 0, running: None, waiting: None, kv_cache: None };
    check(
        "tunnel",
        1,
        &[
            kept("request", &head),
            kept("accepted", &Verdict::Accepted),
            kept("no-such-replica", &no(NotServing::NoSuchReplica)),
            kept("stopping", &no(NotServing::Stopping)),
            kept("full", &no(NotServing::Full)),
            kept("hops", &no(NotServing::Hops)),
            kept("not-inference", &no(NotServing::NotInference)),
            kept("unreadable", &no(NotServing::Unreadable)),
            kept("answer", &answer(None)),
            kept("answer-with-load", &answer(Some(busy))),
            kept("failed", &Outcome::Failed("connection refused".to_owned())),
            kept("load", &Trailer::from(busy)),
            kept("load-unknown", &Trailer::from(unknown)),
        ],
    );
}
