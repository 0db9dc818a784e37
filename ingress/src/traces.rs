//! Traces: which requests are recorded, and by which ids their spans are found (W3C Trace Context, level 1).
//!
//! A request whose client says that it is recorded is recorded; one whose client says that it is not, is not; of those
//! without a word a share is. One that is not recorded costs the look at one header, and its header goes on untouched.

mod ids;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use shoal_types::{ClaimId, NodeId};

pub use ids::{SpanId, TraceId};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The span that a request has at one hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// What all spans of the request share.
    pub trace: TraceId,
    /// The span of this hop.
    pub span: SpanId,
    /// That of the hop before; `None` if the trace begins here.
    pub parent: Option<SpanId>,
}

/// The far end of a tunnel: another node's request at one of this node's replicas, which was recorded. The near end tells
/// of the attempt; what lies between both is the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Its span.
    pub trace: TraceContext,
    /// Who sent the request.
    pub from: NodeId,
    /// The replica that was asked for.
    pub claim: ClaimId,
    /// How long it took; it has ended now.
    pub took: Duration,
    /// Why it was not served to its end.
    pub error: Option<String>,
}

impl TraceContext {
    /// That of a request with these headers, if it is to be recorded: `share` of those whose client says nothing of it.
    pub(crate) fn of(headers: &HeaderMap, share: f64) -> Option<Self> {
        match headers.get(TRACEPARENT) {
            Some(header) => Self::sampled_child(header),
            None if share > 0.0 && rand::random::<f64>() < share => {
                Some(Self { trace: TraceId::random(), span: SpanId::random(), parent: None })
            }
            None => None,
        }
    }

    /// That of the hop after one that wrote `headers`, if that one is recorded.
    pub(crate) fn after(headers: &HeaderMap) -> Option<Self> {
        headers.get(TRACEPARENT).and_then(Self::sampled_child)
    }

    fn sampled_child(header: &HeaderValue) -> Option<Self> {
        let (trace, parent, sampled) = parse(header.as_bytes())?;
        sampled.then(|| Self { trace, span: SpanId::random(), parent: Some(parent) })
    }

    /// That of the next hop.
    pub(crate) const fn child(self, span: SpanId) -> Self {
        Self { trace: self.trace, span, parent: Some(self.span) }
    }

    /// Makes whoever gets `headers` go on with this trace.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let text = format!("00-{}-{}-01", self.trace, self.span);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

/// Trace, span and whether it is recorded. A version that is not known is read as far as this one goes.
fn parse(header: &[u8]) -> Option<(TraceId, SpanId, bool)> {
    let text = std::str::from_utf8(header).ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = version == "00" && parts.next().is_none();
    let is_later = version.len() == 2 && version != "00" && version != "ff";
    let flags = u8::from_str_radix(flags, 16).ok().filter(|_| flags.len() == 2)?;
    (is_known || is_later).then_some((trace.parse().ok()?, span.parse().ok()?, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(traceparent: &str) -> HeaderMap {
        [(TRACEPARENT, traceparent.parse().unwrap())].into_iter().collect()
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn the_clients_word_decides_and_else_the_share() {
        let sampled = headers(&format!("00-{TRACE}-b7ad6b7169203331-01"));
        let context = TraceContext::of(&sampled, 0.0).unwrap();
        assert_eq!(context.trace.to_string(), TRACE);
        assert_eq!(context.parent.map(|parent| parent.to_string()).as_deref(), Some("b7ad6b7169203331"));
        let not = headers(&format!("00-{TRACE}-b7ad6b7169203331-00"));
        assert_eq!(TraceContext::of(&not, 1.0), None);
        assert_eq!(TraceContext::of(&HeaderMap::new(), 0.0), None);
        assert_eq!(TraceContext::of(&HeaderMap::new(), 1.0).map(|context| context.parent), Some(None));
    }

    #[test]
    fn what_is_no_trace_is_not_recorded() {
        let zero = "0".repeat(32);
        for odd in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            &format!("00-{zero}-b7ad6b7169203331-01"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            &format!("00-{TRACE}-b7ad6b7169203331-1"),
            &format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}x-b7ad6b7169203331-01"),
        ] {
            assert_eq!(TraceContext::of(&headers(odd), 1.0), None, "{odd}");
        }
        assert!(TraceContext::of(&headers(&format!("01-{TRACE}-b7ad6b7169203331-01-more")), 0.0).is_some());
    }

    #[test]
    fn the_next_hop_reads_what_this_one_wrote() {
        let first = TraceContext::of(&HeaderMap::new(), 1.0).unwrap();
        let mut sent = HeaderMap::new();
        first.child(SpanId::random()).write(&mut sent);
        let next = TraceContext::after(&sent).unwrap();
        assert_eq!(next.trace, first.trace);
        assert_ne!(next.parent, Some(first.span));
    }
}
