//! Which headers cross the gateway.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The id by which a request is found in the logs of client, nodes and engine.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The node whose replica answered.
pub(crate) const NODE: HeaderName = HeaderName::from_static("x-shoal-node");

/// Longest request id that is taken over from a client, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// Headers that concern one connection only (RFC 9110 section 7.6.1), and `Keep-Alive` and `Proxy-Connection`, which
/// are older than that rule.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Request headers that are not the engine's business: credentials are for this gateway, the length is that of the body
/// as sent, `Expect` has been answered, and a compressed stream could not be looked into.
const NOT_FOR_ENGINES: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::ACCEPT_ENCODING,
];

/// Removes what concerns one connection only, including what `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// What an engine is sent of a request's headers.
pub(crate) fn for_engine(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    for name in &NOT_FOR_ENGINES {
        headers.remove(name);
    }
    headers
}

/// The client's request id if it is one, else `random` as text.
pub(crate) fn request_id(headers: &HeaderMap, random: u128) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        (1..=REQUEST_ID_MAX).contains(&value.len())
            && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        // Hexadecimal digits are a valid header value.
        HeaderValue::from_str(&format!("{random:032x}")).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// Whether an answer with these headers is a stream of events.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn credentials_and_connection_headers_stay_here() {
        let sent = headers(&[
            ("authorization", "Bearer x"),
            ("connection", "keep-alive, x-private"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("host", "a"),
            ("content-type", "application/json"),
            ("traceparent", "00-1-2-01"),
        ]);
        let passed = for_engine(sent);
        let expected = headers(&[("content-type", "application/json"), ("traceparent", "00-1-2-01")]);
        assert_eq!(passed, expected);
    }

    #[test]
    fn a_request_id_is_kept_if_it_is_one() {
        assert_eq!(request_id(&headers(&[("x-request-id", "a-1_B.2")]), 7), "a-1_B.2");
        for bad in ["", "a b", "a\"b", &"a".repeat(REQUEST_ID_MAX + 1)] {
            let id = request_id(&headers(&[("x-request-id", bad)]), 7);
            assert_eq!(id, "00000000000000000000000000000007", "{bad}");
        }
    }

    #[test]
    fn event_streams_are_known_by_their_type() {
        assert!(is_event_stream(&headers(&[("content-type", "Text/Event-Stream ; charset=utf-8")])));
        assert!(!is_event_stream(&headers(&[("content-type", "text/event-streams")])));
        assert!(!is_event_stream(&HeaderMap::new()));
    }
}
