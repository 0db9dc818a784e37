//! Where a request carries its key.

use http::{HeaderMap, HeaderName, header};

/// Headers that hold a key and nothing else: Azure's way, and Anthropic's.
const BARE: [HeaderName; 2] = [HeaderName::from_static("api-key"), HeaderName::from_static("x-api-key")];

/// What the client shows as its key: `Authorization: Bearer`, else one of the headers of other SDKs.
pub(crate) fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.to_str().ok()?));
    bearer.or_else(|| BARE.iter().find_map(|name| headers.get(name)?.to_str().ok()).map(str::trim))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_the_sdks_put_it() {
        let shown = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())]);
            credential(&headers).map(str::to_owned)
        };
        for (name, value) in
            [("authorization", "Bearer  k"), ("authorization", "bearer k"), ("api-key", "k"), ("x-api-key", " k ")]
        {
            assert_eq!(shown(name, value).as_deref(), Some("k"), "{name}: {value}");
        }
        for (name, value) in [("authorization", "Basic k"), ("authorization", "k"), ("cookie", "k")] {
            assert_eq!(shown(name, value), None, "{name}: {value}");
        }
    }
}
