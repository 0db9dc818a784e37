//! What the ends of a tunnel say to each other. Fields and variants are only ever added at the end, with a new frame
//! version (`shoal_types::wire`).

use std::{borrow::Cow, fmt};

use http::{HeaderMap, Method, StatusCode, uri::PathAndQuery};
use serde::{Deserialize, Serialize};
use shoal_types::{ClaimId, Load};
use tokio::time::Instant;

use super::headers::AnswerHeaders;
use crate::upstream::Head;

/// Hops that a request may make: one, so that routing tables that disagree cannot send it in circles.
pub(crate) const HOPS: u8 = 1;

/// The first frame of a request. Borrowed where it is written, owned where it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestHead<'a> {
    /// The replica that was chosen. A node that does not hold it refuses.
    pub(crate) claim: ClaimId,
    pub(crate) method: Cow<'a, str>,
    /// Path and query.
    pub(crate) target: Cow<'a, str>,
    #[serde(with = "super::headers")]
    pub(crate) headers: Cow<'a, HeaderMap>,
    /// What is left of the request's time in milliseconds; a duration, since clocks differ.
    pub(crate) time_left: u64,
    /// Always [`HOPS`]: it is served where it arrives or not at all.
    pub(crate) hop: u8,
}

impl<'a> RequestHead<'a> {
    /// That of a request for `claim`, which has until `deadline`.
    pub(crate) fn new(claim: ClaimId, target: &'a PathAndQuery, headers: &'a HeaderMap, deadline: Instant) -> Self {
        let time_left = deadline.saturating_duration_since(Instant::now());
        Self {
            claim,
            method: Cow::Borrowed(Method::POST.as_str()),
            target: Cow::Borrowed(target.as_str()),
            headers: Cow::Borrowed(headers),
            time_left: u64::try_from(time_left.as_millis()).unwrap_or(u64::MAX),
            hop: HOPS,
        }
    }
}

/// The far end's first answer, given before an engine is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// It will be tried.
    Accepted,
    /// It will not, and the engine does not know of it.
    NotServing(NotServing),
}

/// Why a node does not serve a request that reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NotServing {
    /// It does not hold that claim, or no longer.
    NoSuchReplica,
    /// Its ingress is stopping.
    Stopping,
    /// It serves as many requests of other nodes as it may, or that replica has as many as it takes.
    Full,
    /// The request has made as many hops as it may, between nodes or through gateways.
    Hops,
    /// The request is not one that is forwarded.
    NotInference,
    /// It could not read the request; the reason is in its log.
    Unreadable,
}

impl NotServing {
    /// Whether the reason will go away by itself, so that trying again later makes sense.
    pub(crate) const fn is_passing(self) -> bool {
        match self {
            Self::NoSuchReplica | Self::Stopping | Self::Full => true,
            Self::Hops | Self::NotInference | Self::Unreadable => false,
        }
    }
}

impl fmt::Display for NotServing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchReplica => "it does not hold that replica any more",
            Self::Stopping => "it is stopping",
            Self::Full => "it has as many requests as it may",
            Self::Hops => "the request was forwarded as often as it may be",
            Self::NotInference => "it does not forward this path to engines",
            Self::Unreadable => "it cannot read the request: the versions of both nodes may be too far apart",
        })
    }
}

/// What came of an accepted request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The engine answers; the body follows.
    Answer {
        /// HTTP status.
        status: u16,
        /// Without those of the connection.
        headers: AnswerHeaders,
    },
    /// There is no answer, and this is why.
    Failed(String),
}

/// The last frame: what the replica has to do now. A struct of its own, as `Load` skips fields, which bincode cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trailer {
    inflight: u32,
    running: Option<u32>,
    waiting: Option<u32>,
    kv_cache: Option<u8>,
}

impl From<Load> for Trailer {
    fn from(load: Load) -> Self {
        let Load { inflight, running, waiting, kv_cache } = load;
        Self { inflight, running, waiting, kv_cache }
    }
}

impl From<Trailer> for Load {
    fn from(trailer: Trailer) -> Self {
        let Trailer { inflight, running, waiting, kv_cache } = trailer;
        Self { inflight, running, waiting, kv_cache }
    }
}

impl Outcome {
    /// An answer with this `head`, by a replica with this `load`.
    pub(crate) fn answer(head: Head, load: Load) -> Self {
        let headers = AnswerHeaders { headers: head.headers, load: Some(load) };
        Self::Answer { status: head.status.as_u16(), headers }
    }
}

/// The head of an answer that crossed the mesh, or `None` if it is not one.
pub(crate) fn head(status: u16, headers: HeaderMap) -> Option<Head> {
    Some(Head::new(StatusCode::from_u16(status).ok()?, headers))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use shoal_types::{NodeId, UnixMillis, wire};

    use super::*;

    #[test]
    fn frames_cross_the_mesh_unchanged() {
        let claim = ClaimId { node: NodeId::from_bytes([3; 16]), generation: UnixMillis::from_millis(5), counter: 1 };
        let request = RequestHead {
            claim,
            method: "POST".into(),
            target: "/v1/completions?x=1".into(),
            headers: Cow::Owned(HeaderMap::from_iter([(
                HeaderName::from_static("a"),
                HeaderValue::from_bytes(&[0xff]).unwrap(),
            )])),
            time_left: 1_000,
            hop: HOPS,
        };
        assert_eq!(wire::decode(&wire::encode(&request).unwrap()), Ok(request));
        let load = Load { inflight: 2, running: None, waiting: Some(1), kv_cache: Some(50) };
        let trailer: Trailer = wire::decode(&wire::encode(&Trailer::from(load)).unwrap()).unwrap();
        assert_eq!(Load::from(trailer), load);
    }
}
