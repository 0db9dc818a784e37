//! What draws a request to a replica.

use http::{HeaderMap, HeaderName};
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
        let session = || SESSION.iter().find_map(|name| headers.get(name));
        match route.policy {
            RoutingPolicy::LeastLoad => Self::Load,
            RoutingPolicy::RoundRobin => Self::Turn,
            RoutingPolicy::Session if let Some(session) = session() => {
                Self::Session(seed(&[route.endpoint.as_str().as_bytes(), session.as_bytes()]))
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
