//! What draws a request to a replica.

use http::{HeaderMap, HeaderName, HeaderValue};
use shoal_types::RoutingPolicy;

use super::{hash::seed, prefix::Prefix};
use crate::{head::Prompt, routes::Route};

/// Headers by which a client says of which session a request is: llm-d's, and the one of its gateway.
const SESSION: [HeaderName; 2] = [HeaderName::from_static("x-session-id"), HeaderName::from_static("x-session-token")];

/// What draws a request to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// Only that it has little to do.
    Load,
    /// That it is its turn.
    Turn,
    /// That it has the session with this hash.
    Session(u64),
    /// That it has the beginning of its prompt.
    Prefix(Prefix),
}

impl Affinity {
    /// That of a request for `route`, by its policy. `adapter` is what the prompt is computed with beside the model; engines
    /// keep the caches of adapters apart, and so of what clients give as `cache_salt`.
    pub(crate) fn new(route: &Route, adapter: &str, headers: &HeaderMap, prompt: &Prompt<'_>) -> Self {
        match route.policy {
            RoutingPolicy::LeastLoad => Self::Load,
            RoutingPolicy::RoundRobin => Self::Turn,
            RoutingPolicy::Session if let Some(session) = session(headers, prompt) => {
                Self::Session(seed(&[route.endpoint.as_str().as_bytes(), session]))
            }
            // Where there is but one, nothing is to be found out.
            RoutingPolicy::Prefix | RoutingPolicy::Session if route.replicas.len() == 1 => Self::Load,
            RoutingPolicy::Prefix | RoutingPolicy::Session => {
                let parts = [route.endpoint.as_str().as_bytes(), adapter.as_bytes(), prompt.salt.unwrap_or_default()];
                Prefix::new(seed(&parts), prompt).map_or(Self::Load, Self::Prefix)
            }
        }
    }

    /// Its blocks and bytes, as far as they are known.
    pub(crate) fn prompt(&self) -> (&[u64], usize) {
        match self {
            Self::Prefix(prefix) => (prefix.blocks(), prefix.bytes()),
            Self::Load | Self::Turn | Self::Session(_) => (&[], 0),
        }
    }
}

/// Which session a request is of, by its headers, else by its body, without the quotes there. What is empty says of none.
fn session<'a>(headers: &'a HeaderMap, prompt: &Prompt<'a>) -> Option<&'a [u8]> {
    let unquoted = |text: &'a [u8]| text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    let of_headers = SESSION.into_iter().filter_map(|name| headers.get(name)).map(HeaderValue::as_bytes);
    of_headers.chain(prompt.session.map(unquoted)).find(|session| !session.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: Option<&'static str>, body: Option<&str>) -> Option<Vec<u8>> {
        let headers = header.map(|value| (SESSION[0].clone(), HeaderValue::from_static(value))).into_iter().collect();
        session(&headers, &Prompt { session: body.map(str::as_bytes), ..Prompt::default() }).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_header_says_of_which_session_a_request_is_else_its_body() {
        assert_eq!(of(Some("a"), Some("\"b\"")), Some(b"a".to_vec()));
        assert_eq!(of(None, Some("\"b\"")), of(Some("b"), None));
        assert_eq!(of(None, Some("7")), Some(b"7".to_vec()));
        assert_eq!(of(Some(""), Some("\"b\"")), Some(b"b".to_vec()));
        // What many clients send because they know of none is no session that they all have in common.
        for nothing in [of(None, None), of(Some(""), None), of(None, Some("\"\""))] {
            assert_eq!(nothing, None);
        }
    }
}
