//! The load of a replica as it rides along with the head of an answer: what a stream's trailer says comes too late.
//!
//! It is a header, since those can grow without a new version of frames. It only ever crosses the mesh.

use http::{HeaderMap, HeaderName, HeaderValue};
use shoal_types::Load;

const LOAD: HeaderName = HeaderName::from_static("x-shoal-load");

/// Three counts, a percentage, and what is between them.
const TEXT_MAX: usize = 3 * 10 + 3 + 3;

/// Puts `load` among `headers`, in place of whatever an engine may call so.
pub(crate) fn put_load(headers: &mut HeaderMap, load: Load) {
    let Load { inflight, running, waiting, kv_cache } = load;
    let (mut text, mut digits) = (String::with_capacity(TEXT_MAX), itoa::Buffer::new());
    text.push_str(digits.format(inflight));
    for number in [running, waiting, kv_cache.map(u32::from)] {
        text.push(',');
        text.push_str(number.map_or("", |number| digits.format(number)));
    }
    // Digits and commas are a valid header value.
    headers.insert(LOAD, HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("")));
}

/// Takes the load out of `headers`. `None` if there is none, or none that can be read; what follows it is for later
/// versions.
pub(crate) fn take_load(headers: &mut HeaderMap) -> Option<Load> {
    let value = headers.remove(LOAD)?;
    let mut numbers = value.to_str().ok()?.split(',');
    let inflight = numbers.next()?.parse().ok()?;
    let mut next = || match numbers.next()? {
        "" => Some(None),
        number => number.parse::<u32>().ok().map(Some),
    };
    let (running, waiting, kv_cache) = (next()?, next()?, next()?);
    Some(Load { inflight, running, waiting, kv_cache: kv_cache.and_then(|percent| u8::try_from(percent).ok()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(value: &'static str) -> Option<Load> {
        let mut headers = HeaderMap::from_iter([(LOAD, HeaderValue::from_static(value))]);
        let load = take_load(&mut headers);
        assert!(headers.is_empty());
        load
    }

    #[test]
    fn what_cannot_be_read_is_not_a_load() {
        for value in ["", "1", "1,2", "-1,,,", "1,x,,", "4294967296,,,"] {
            assert_eq!(taken(value), None, "{value}");
        }
        assert_eq!(take_load(&mut HeaderMap::new()), None);
        assert_eq!(taken("7,,,,and more"), Some(Load { inflight: 7, ..Load::default() }));
    }

    proptest! {
        #[test]
        fn a_load_crosses_unchanged(
            inflight: u32, running: Option<u32>, waiting: Option<u32>, kv_cache: Option<u8>,
        ) {
            let (mut headers, load) = (HeaderMap::new(), Load { inflight, running, waiting, kv_cache });
            headers.append(LOAD, HeaderValue::from_static("the engine's own"));
            put_load(&mut headers, load);
            prop_assert_eq!(take_load(&mut headers), Some(load));
            prop_assert!(headers.is_empty());
        }
    }
}
