//! `/v1/models`: what can be asked for here, and at every other node.

use bytes::Bytes;
use serde::Serialize;
use shoal_types::EndpointName;

use crate::{
    error::RequestError,
    routes::{Route, RoutingTable},
};

/// Longest name that is repeated in an error, in characters.
const NAME_MAX: usize = 100;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    /// Seconds since the epoch.
    created: u64,
    owned_by: &'static str,
    /// The model or the adapter that the name stands for.
    root: &'a str,
    /// Of an adapter: the model below it. As vLLM lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
}

impl<'a> Model<'a> {
    fn new(id: &'a str, route: &'a Route) -> Self {
        let (root, parent) =
            route.adapter(id).map_or_else(|| (route.model(id), None), |(adapter, model)| (adapter, Some(model)));
        Self { id, object: "model", created: route.created.as_millis() / 1000, owned_by: "shoal", root, parent }
    }
}

/// All names that a client may send as `model`, whether or not a replica is ready, as far as they are of endpoints that are
/// `allowed`.
pub(crate) fn list(routes: &RoutingTable, allowed: impl Fn(&EndpointName) -> bool) -> Bytes {
    let names = routes.names().into_iter().filter(|(_, route)| allowed(&route.endpoint));
    let data = names.map(|(name, route)| Model::new(name, route)).collect();
    json(&List { object: "list", data })
}

/// The one called `name`, which means `route`.
pub(crate) fn one(route: &Route, name: &str) -> Bytes {
    json(&Model::new(name, route))
}

/// Why there is nothing called `name`. What is not `allowed` is not proposed.
pub(crate) fn unknown(routes: &RoutingTable, name: &str, allowed: impl Fn(&EndpointName) -> bool) -> RequestError {
    let proposed = |nearest: &&str| routes.route(nearest).is_some_and(|route| allowed(&route.endpoint));
    let nearest = routes.nearest(name).filter(proposed).map(str::to_owned);
    let model = name.chars().take(NAME_MAX).collect();
    if routes.is_complete() {
        RequestError::UnknownModel { model, nearest }
    } else {
        RequestError::NotKnownYet { model }
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Structs of text and numbers can always be written as JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// The text that `path` stands for (RFC 3986 section 2.1), as model ids have slashes, which SDKs escape. What is no
/// escape stays as it is; what is then no UTF-8 is no name, and becomes one that nothing has.
pub(crate) fn unescape(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.first_chunk::<2>().and_then(hex_byte)).flatten();
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_types::{Hlc, NodeId, Revision, UnixMillis};

    use super::*;
    use crate::{QueueBounds, RouteRevision};

    #[test]
    fn all_names_are_listed_as_the_sdk_expects() {
        let table = RoutingTable::new([Route {
            endpoint: "llama".parse().unwrap(),
            created: UnixMillis::from_millis(5_500),
            timeout: Duration::from_secs(1),
            may_wake: true,
            revisions: vec![RouteRevision {
                revision: Revision(Hlc {
                    time: UnixMillis::from_millis(1),
                    counter: 0,
                    node: NodeId::from_bytes([1; 16]),
                }),
                model: "meta/Llama".into(),
                aliases: ["gpt-4".to_owned()].into(),
                adapters: ["sql".to_owned()].into(),
                weight: 100,
                continues_messages: true,
            }],
            streams: Default::default(),
            max_inflight: None,
            queue: QueueBounds::default(),
            replicas: Vec::new(),
            policy: Default::default(),
        }]);
        let value: serde_json::Value = serde_json::from_slice(&list(&table, |_| true)).unwrap();
        let ids: Vec<_> = value["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["gpt-4", "llama", "meta/Llama", "sql"]);
        let none: serde_json::Value = serde_json::from_slice(&list(&table, |_| false)).unwrap();
        assert_eq!(none["data"], serde_json::json!([]));
        let one = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&one(table.route(name).unwrap(), name)).unwrap()
        };
        let mut expected = serde_json::json!({"id": "gpt-4", "object": "model", "created": 5, "owned_by": "shoal", "root": "meta/Llama"});
        assert_eq!(one("gpt-4"), expected);
        (expected["id"], expected["root"], expected["parent"]) = ("sql".into(), "sql".into(), "meta/Llama".into());
        assert_eq!(one("sql"), expected);
    }

    #[test]
    fn escapes_are_undone_and_nothing_else() {
        assert_eq!(unescape("meta%2FLlama%2f3"), "meta/Llama/3");
        for plain in ["a%", "a%2", "a%zz", "a+b", "%+1"] {
            assert_eq!(unescape(plain), plain);
        }
    }
}
