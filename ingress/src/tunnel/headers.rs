//! Headers as they cross the mesh: a list of names and values, written from a map and read into one without anything between.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{
    Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::SerializeSeq as _,
};

/// Room that is made for headers on the mere word of a peer.
const ANNOUNCED_MAX: usize = 64;

pub(super) fn serialize<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(headers.len()))?;
    for (name, value) in headers {
        list.serialize_element(&(name.as_str(), Value(value.as_bytes())))?;
    }
    list.end()
}

/// Leaves out what is no header: the peer checked them when it got them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
    deserializer.deserialize_seq(Headers)
}

/// Bytes that are written as a whole and not one by one.
struct Value<'a>(&'a [u8]);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct Headers;

impl<'de> Visitor<'de> for Headers {
    type Value = HeaderMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of headers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HeaderMap, A::Error> {
        let mut headers = HeaderMap::with_capacity(list.size_hint().unwrap_or_default().min(ANNOUNCED_MAX));
        while let Some((name, value)) = list.next_element::<(&str, &[u8])>()? {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                headers.try_append(name, value).map_err(A::Error::custom)?;
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use shoal_types::wire;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Message(#[serde(with = "super")] HeaderMap);

    /// As they would be without what is in this file.
    type Plain = Vec<(String, Vec<u8>)>;

    fn crossed(plain: &Plain) -> Result<HeaderMap, wire::WireError> {
        wire::decode(&wire::encode(plain).unwrap()).map(|Message(headers)| headers)
    }

    proptest! {
        #[test]
        fn headers_cross_the_mesh_as_a_list_of_names_and_values(
            pairs in prop::collection::vec(("[a-c]{1,2}", "[ -~\u{e0}-\u{ff}]{0,40}"), 0..100),
        ) {
            let plain: Plain = pairs.into_iter().map(|(name, value)| (name, value.trim().as_bytes().to_vec())).collect();
            let headers = crossed(&plain).unwrap();
            let written = wire::encode(&Message(headers.clone())).unwrap();
            prop_assert_eq!(wire::decode(&written), Ok(Message(headers.clone())));
            // Those of one name stay in their order, and that is all that counts.
            let mut back: Plain = wire::decode(&written).unwrap();
            let mut sent = plain;
            back.sort_by(|a, b| a.0.cmp(&b.0));
            sent.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(back, sent);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = wire::decode::<Message>(&[&[1], &bytes[..]].concat());
        }
    }

    #[test]
    fn what_is_no_header_is_left_out() {
        let plain = [("", "x"), ("a b", "x"), ("ok", "a\nb"), ("A", "x")];
        let headers =
            crossed(&plain.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).to_vec()).unwrap();
        assert_eq!(headers, HeaderMap::from_iter([(HeaderName::from_static("a"), HeaderValue::from_static("x"))]));
    }

    /// Rule 9: everything is bounded.
    #[test]
    fn rule_9_more_headers_than_a_map_holds_are_an_error_and_no_panic() {
        let plain: Plain = (0..40_000).map(|number| (format!("h{number}"), Vec::new())).collect();
        assert!(crossed(&plain).is_err());
    }
}
