//! Headers as they cross the mesh: a list of names and values, written from a map and read into one without anything between.

use std::{borrow::Cow, fmt};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::SerializeSeq,
};

use shoal_types::Load;

use super::load;
use crate::headers;

/// Headers in one frame at most: twice what a client may send, and hyper takes from an engine; both ends add a few. A map panics when it
/// becomes larger than it can be.
const HEADERS_MAX: usize = 2 * headers::HEADERS_MAX;
/// Room for those that are added where they arrive: a map that grows is made anew.
const ADDED: usize = 3;

pub(super) fn serialize<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(headers.len()))?;
    write(headers.iter(), &mut list)?;
    list.end()
}

/// Leaves out what is no header: the peer checked them when it got them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, HeaderMap>, D::Error> {
    let read = deserializer.deserialize_seq(List { takes_load: false })?;
    Ok(Cow::Owned(read.headers))
}

/// Headers of an answer, and the load of its replica: what a stream's trailer says of that comes too late. It crosses as one of the
/// headers, since those can grow without a new version of frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AnswerHeaders {
    /// None of which is called as the load is: those do not cross.
    pub(crate) headers: HeaderMap,
    pub(crate) load: Option<Load>,
}

impl Serialize for AnswerHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let headers = || self.headers.iter().filter(|(name, _)| name.as_str() != load::NAME);
        let mut list = serializer.serialize_seq(Some(headers().count() + usize::from(self.load.is_some())))?;
        write(headers(), &mut list)?;
        if let Some(load) = self.load {
            list.serialize_element(&(load::NAME, Value(load::text(load).as_bytes())))?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for AnswerHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List { takes_load: true })
    }
}

fn write<'a, L: SerializeSeq>(
    headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    list: &mut L,
) -> Result<(), L::Error> {
    for (name, value) in headers {
        list.serialize_element(&(name.as_str(), Value(value.as_bytes())))?;
    }
    Ok(())
}

/// Bytes that are written as a whole and not one by one.
struct Value<'a>(&'a [u8]);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// How a list is read.
struct List {
    /// What is called as the load is, is that and no header.
    takes_load: bool,
}

impl<'de> Visitor<'de> for List {
    type Value = AnswerHeaders;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of headers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AnswerHeaders, A::Error> {
        let count = list.size_hint().unwrap_or_default().min(HEADERS_MAX);
        let (mut headers, mut load) = (HeaderMap::with_capacity(count + ADDED), None);
        // Strings and bytes cross in the same way; whether it is a name is seen when it is made one.
        while let Some((name, value)) = list.next_element::<(&[u8], &[u8])>()? {
            if headers.len() == HEADERS_MAX {
                return Err(A::Error::custom(format_args!("it has more than {HEADERS_MAX} headers")));
            }
            if self.takes_load && name.eq_ignore_ascii_case(load::NAME.as_bytes()) {
                load = load::read(value);
            } else if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        Ok(AnswerHeaders { headers, load })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_types::wire;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Message(#[serde(with = "super")] Cow<'static, HeaderMap>);

    /// As they would be without what is in this file.
    type Plain = Vec<(String, Vec<u8>)>;

    fn crossed(plain: &Plain) -> Result<HeaderMap, wire::WireError> {
        wire::decode(&wire::encode(plain).unwrap()).map(|Message(headers)| headers.into_owned())
    }

    proptest! {
        #[test]
        fn headers_cross_the_mesh_as_a_list_of_names_and_values(
            pairs in prop::collection::vec(("[a-c]{1,2}", "[ -~\u{e0}-\u{ff}]{0,40}"), 0..100),
        ) {
            let plain: Plain = pairs.into_iter().map(|(name, value)| (name, value.trim().as_bytes().to_vec())).collect();
            let headers = crossed(&plain).unwrap();
            let written = wire::encode(&Message(Cow::Owned(headers.clone()))).unwrap();
            prop_assert_eq!(wire::decode(&written), Ok(Message(Cow::Owned(headers))));
            // Those of one name stay in their order, and that is all that counts.
            let mut back: Plain = wire::decode(&written).unwrap();
            let mut sent = plain;
            back.sort_by(|a, b| a.0.cmp(&b.0));
            sent.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(back, sent);
        }

        #[test]
        fn any_bytes_are_read_without_panic(pairs: Vec<(Vec<u8>, Vec<u8>)>, cut: prop::sample::Index) {
            let frame = wire::encode(&pairs).unwrap();
            let _ = wire::decode::<Message>(&frame);
            prop_assert!(wire::decode::<Message>(&frame[..cut.index(frame.len())]).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_load_crosses_beside_the_headers_of_an_answer(
            inflight: u32, running: Option<u32>, waiting: Option<u32>, kv_cache: Option<u8>, is_known: bool,
        ) {
            let load = is_known.then_some(Load { inflight, running, waiting, kv_cache });
            let own = |name| (HeaderName::from_static(name), HeaderValue::from_static("the engine's own"));
            let sent = AnswerHeaders { headers: HeaderMap::from_iter([own("a"), own(load::NAME)]), load };
            let expected = AnswerHeaders { headers: HeaderMap::from_iter([own("a")]), load };
            prop_assert_eq!(wire::decode(&wire::encode(&sent).unwrap()), Ok(expected));
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
    fn rule_9_so_many_headers_are_taken_and_no_more() {
        let plain = |count: usize| (0..count).map(|number| (format!("h{number}"), Vec::new())).collect();
        assert_eq!(crossed(&plain(HEADERS_MAX)).unwrap().len(), HEADERS_MAX);
        for count in [HEADERS_MAX + 1, 24_576, 40_000] {
            assert!(crossed(&plain(count)).is_err());
        }
    }
}
