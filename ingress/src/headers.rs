//! Which headers cross the gateway.

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use shoal_types::Priority;

/// The id by which a request is found in the logs of client, nodes and engine.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The node whose replica answered.
pub(crate) const NODE: HeaderName = HeaderName::from_static("x-shoal-node");

/// The trailer that says how often a stream has gone on with another replica.
pub(crate) const RESUMED: HeaderName = HeaderName::from_static("x-shoal-resumed");
/// How urgent a client says that its request is: `high`, `normal` or `low`.
pub(crate) const PRIORITY: HeaderName = HeaderName::from_static("x-shoal-priority");

/// Through how many gateways a request has come, over all meshes on its way.
pub(crate) const HOPS: HeaderName = HeaderName::from_static("x-shoal-hops");
/// Through how many it may come: from one mesh to another's cluster and back are two. More is a circle.
pub(crate) const HOPS_MAX: u8 = 3;

/// Most headers of a request: hyper's own bound for HTTP/1.1, held to over HTTP/2 as well.
pub(crate) const HEADERS_MAX: usize = 100;
/// Longest path with its query, in bytes: as long as nginx takes them.
pub(crate) const URI_MAX: usize = 8 << 10;

/// Longest request id that is taken over from a client, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// Which of the headers that mean something to this gateway a request has. One pass over the few that there are costs less
/// than to look up each that there could be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Present {
    /// One that holds a key.
    pub(crate) key: bool,
    pub(crate) request_id: bool,
    pub(crate) hops: bool,
    pub(crate) priority: bool,
    pub(crate) te: bool,
}

impl Present {
    /// Of a request with these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "authorization" | "api-key" | "x-api-key" => present.key = true,
                "x-request-id" => present.request_id = true,
                "x-shoal-hops" => present.hops = true,
                "x-shoal-priority" => present.priority = true,
                "te" => present.te = true,
                _ => {}
            }
        }
        present
    }
}

/// Whether `header` concerns one connection only (RFC 9110 section 7.6.1); `Keep-Alive` and `Proxy-Connection` are older than
/// that rule.
pub(crate) fn is_hop_by_hop(header: &str) -> bool {
    matches!(
        header,
        "connection"
            | "transfer-encoding"
            | "upgrade"
            | "te"
            | "trailer"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
    )
}

/// Whether `header` of a request is the engine's business: credentials are for this gateway (`api-key` is Azure's way of sending
/// one, `x-api-key` Anthropic's), the length is that of the body as sent, `Expect` has been answered, and a compressed stream
/// could not be looked into.
fn is_for_engines(header: &str) -> bool {
    !matches!(
        header,
        "authorization" | "api-key" | "x-api-key" | "cookie" | "content-length" | "expect" | "accept-encoding"
    )
}

/// Whether `header` of a request is for a service as well as for an engine: whose account a client means is for the service's
/// own key to say, and who it is concerns nobody outside.
fn is_for_services(header: &str) -> bool {
    !matches!(
        header,
        "openai-organization"
            | "openai-project"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-proto"
            | "x-real-ip"
    )
}

/// Whether `header` of a service's answer is for clients, and neither between it and this node nor about this host.
fn is_from_services(header: &str) -> bool {
    !matches!(header, "set-cookie" | "www-authenticate" | "alt-svc" | "strict-transport-security")
}

/// What an engine is sent of a request's headers, and whom it is sent to.
pub(crate) fn for_engine(mut headers: HeaderMap) -> HeaderMap {
    let passes = |header: &str| !is_hop_by_hop(header) && is_for_engines(header);
    // Those that come from another node all pass, and what names others does not pass itself.
    if !headers.keys().all(|name| passes(name.as_str())) {
        remove_named_by_connection(&mut headers);
        keep(&mut headers, passes);
    }
    headers.insert(header::HOST, HeaderValue::from_static("engine"));
    headers
}

/// Removes what `Connection` names.
pub(crate) fn remove_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes what does not pass `passes`. Looks at the few headers that there are: to look up each that there could be costs more.
fn keep(headers: &mut HeaderMap, passes: impl Fn(&str) -> bool) {
    const AT_ONCE: usize = 8;
    loop {
        let mut gone = [const { None }; AT_ONCE];
        let names = headers.keys().filter(|name| !passes(name.as_str())).cloned();
        let count = gone.iter_mut().zip(names).map(|(place, name)| *place = Some(name)).count();
        for name in gone.into_iter().flatten() {
            headers.remove(name);
        }
        if count < AT_ONCE {
            return;
        }
    }
}

/// What a gateway's service is sent of the headers that an engine would be, and one hop more.
pub(crate) fn for_service(mut headers: HeaderMap) -> HeaderMap {
    keep(&mut headers, is_for_services);
    let hops = hops(&headers).saturating_add(1);
    headers.insert(HOPS, HeaderValue::from(u16::from(hops)));
    headers
}

/// Removes what a client is not told of a service's answer.
pub(crate) fn strip_service(headers: &mut HeaderMap) {
    keep(headers, is_from_services);
}

/// Through how many gateways a request with these headers has come. A count that cannot be read is not taken for small.
pub(crate) fn hops(headers: &HeaderMap) -> u8 {
    let count = |value: &HeaderValue| value.to_str().ok()?.parse().ok();
    headers.get_all(HOPS).iter().map(|value| count(value).unwrap_or(u8::MAX)).max().unwrap_or(0)
}

/// The request id in a client's `headers` if it is one, else `random` as text.
pub(crate) fn request_id(headers: Option<&HeaderMap>, random: u128) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        (1..=REQUEST_ID_MAX).contains(&value.len())
            && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    headers.and_then(|headers| headers.get(REQUEST_ID)).filter(sane).cloned().unwrap_or_else(|| {
        let mut digits = [0; 32];
        HEXLOWER.encode_mut(&random.to_be_bytes(), &mut digits);
        // Hexadecimal digits are a valid header value.
        HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// `allowed`, or less if these headers say that less is enough. `None` if they say something else.
pub(crate) fn priority(headers: &HeaderMap, allowed: Priority) -> Option<Priority> {
    let Some(value) = headers.get(PRIORITY) else { return Some(allowed) };
    let said = Priority::ALL.into_iter().find(|priority| value.as_bytes() == priority.as_str().as_bytes());
    said.map(|said| said.max(allowed))
}

/// What an answer is, as far as it is treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// A stream of events.
    Events,
    Json,
    Other,
}

impl Media {
    /// That of an answer with these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/json") {
            Self::Json
        } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
            Self::Events
        } else {
            Self::Other
        }
    }
}

/// Whether a client that sent these headers reads trailers.
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    values.any(|value| value.trim_ascii().eq_ignore_ascii_case(b"trailers"))
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
            ("api-key", "x"),
            ("x-api-key", "x"),
            ("connection", "keep-alive, x-private"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("host", "a"),
            ("content-type", "application/json"),
            ("traceparent", "00-1-2-01"),
        ]);
        let passed = for_engine(sent);
        let expected =
            headers(&[("content-type", "application/json"), ("traceparent", "00-1-2-01"), ("host", "engine")]);
        assert_eq!(passed, expected);
    }

    #[test]
    fn what_a_request_has_is_found_by_the_names_that_are_looked_up_later() {
        assert_eq!(Present::of(&headers(&[("accept", "*/*")])), Present::default());
        let names = [&REQUEST_ID, &HOPS, &PRIORITY, &header::TE, &header::AUTHORIZATION];
        let all = names.map(|name| (name.as_str(), "x"));
        let present = Present { key: true, request_id: true, hops: true, priority: true, te: true };
        assert_eq!(Present::of(&headers(&all)), present);
        for name in ["api-key", "x-api-key"] {
            assert!(Present::of(&headers(&[(name, "x")])).key, "{name}");
        }
    }

    #[test]
    fn a_service_gets_one_hop_more_and_nothing_of_who_asks() {
        let sent = headers(&[("openai-organization", "o"), ("x-forwarded-for", "10.0.0.1"), ("accept", "*/*")]);
        assert_eq!(for_service(sent), headers(&[("accept", "*/*"), ("x-shoal-hops", "1")]));
        assert_eq!(for_service(headers(&[("x-shoal-hops", "2")])), headers(&[("x-shoal-hops", "3")]));
    }

    #[test]
    fn hops_are_the_most_that_anybody_has_counted() {
        assert_eq!(hops(&HeaderMap::new()), 0);
        let mut twice = headers(&[("x-shoal-hops", "2")]);
        twice.append(HOPS, HeaderValue::from_static("1"));
        assert_eq!(hops(&twice), 2);
        for odd in ["", "-1", "two", "256", "1, 2"] {
            assert_eq!(hops(&headers(&[("x-shoal-hops", odd)])), u8::MAX, "{odd}");
        }
    }

    #[test]
    fn a_client_may_say_that_its_request_is_less_urgent_and_not_that_it_is_more() {
        let said = |value, allowed| priority(&headers(&[("x-shoal-priority", value)]), allowed);
        assert_eq!(said("low", Priority::Normal), Some(Priority::Low));
        assert_eq!(said("high", Priority::Normal), Some(Priority::Normal));
        assert_eq!(said("normal", Priority::High), Some(Priority::Normal));
        assert_eq!(said("urgent", Priority::High), None);
        assert_eq!(priority(&HeaderMap::new(), Priority::High), Some(Priority::High));
    }

    #[test]
    fn a_request_id_is_kept_if_it_is_one() {
        assert_eq!(request_id(Some(&headers(&[("x-request-id", "a-1_B.2")])), 7), "a-1_B.2");
        assert_eq!(request_id(None, 7), "00000000000000000000000000000007");
        for bad in ["", "a b", "a\"b", &"a".repeat(REQUEST_ID_MAX + 1)] {
            let id = request_id(Some(&headers(&[("x-request-id", bad)])), 7);
            assert_eq!(id, "00000000000000000000000000000007", "{bad}");
        }
    }

    #[test]
    fn answers_are_known_by_their_type() {
        let of = |media_type| Media::of(&headers(&[("content-type", media_type)]));
        assert_eq!(of("Text/Event-Stream ; charset=utf-8"), Media::Events);
        assert_eq!(of("application/JSON"), Media::Json);
        assert_eq!([of("text/event-streams"), Media::of(&HeaderMap::new())], [Media::Other; 2]);
    }
}
