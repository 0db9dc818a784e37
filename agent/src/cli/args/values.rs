//! How values of flags are read.

use std::{collections::BTreeMap, time::Duration};

use shoal_types::{EndpointName, HumanDuration};

use super::Resource;

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<HumanDuration>().map(|duration| duration.0).map_err(|error| error.to_string())
}

pub(super) fn host_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not HOST:PORT")),
    }
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// A name alone, or as `kind/NAME`, which is how `-o name` prints it.
fn name_of(resource: Resource, text: &str) -> Result<String, String> {
    match text.split_once('/') {
        None => Ok(text.to_owned()),
        Some((kind, name)) if Resource::of(kind) == Some(resource) && !name.is_empty() => Ok(name.to_owned()),
        Some(_) => Err(format!("`{text}` is not {}/NAME", resource.words()[1])),
    }
}

pub(super) fn endpoint(text: &str) -> Result<EndpointName, String> {
    name_of(Resource::Endpoints, text)?.parse().map_err(|error| format!("{error}"))
}

pub(super) fn node(text: &str) -> Result<String, String> {
    name_of(Resource::Nodes, text)
}

/// A replica, or an endpoint.
pub(super) fn replica(text: &str) -> Result<String, String> {
    name_of(Resource::Replicas, text).or_else(|_| name_of(Resource::Endpoints, text))
}

pub(super) fn key(text: &str) -> Result<String, String> {
    name_of(Resource::Keys, text)
}

pub(super) fn token(text: &str) -> Result<String, String> {
    name_of(Resource::Tokens, text)
}

/// Labels as flags gave them; the last of equal keys wins.
pub(crate) fn label_map(labels: Vec<(String, String)>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_as_it_is_printed() {
        for text in ["gpu-1", "node/gpu-1", "no/gpu-1"] {
            assert_eq!(node(text).as_deref(), Ok("gpu-1"));
        }
        assert_eq!(node("endpoint/gpu-1"), Err("`endpoint/gpu-1` is not node/NAME".to_owned()));
        assert!(node("node/").is_err());
        assert_eq!(endpoint("ep/llama").map(|name| name.to_string()).as_deref(), Ok("llama"));
        assert!(endpoint("endpoint/A!").is_err());
        assert_eq!((replica("rep/a").as_deref(), replica("endpoint/b").as_deref()), (Ok("a"), Ok("b")));
        assert_eq!((key("key/team").as_deref(), token("token/1").as_deref()), (Ok("team"), Ok("1")));
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert!(host_port("gpu-1:7701").is_ok() && host_port("[::1]:7701").is_ok());
        for wrong in ["gpu-1", ":7701", "gpu-1:http", "gpu-1:70000"] {
            assert!(host_port(wrong).is_err(), "{wrong}");
        }
    }
}
