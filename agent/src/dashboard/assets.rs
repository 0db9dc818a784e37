//! The files of the dashboard, and what a browser is told to make of them.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Write as _,
    sync::LazyLock,
};

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// Only what this node serves, and nothing within pages: what somebody has named an endpoint can never become a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Path below `/ui/`, type, text.
macro_rules! sources {
    ($($path:literal: $kind:ident),+ $(,)?) => {
        &[$(($path, $kind, include_str!(concat!("../../ui/", $path)))),+]
    };
}

/// All of them. A module that is missing here is not found by the browser, which the tests see.
const SOURCES: &[(&str, &str, &str)] = sources! {
    "index.html": HTML,
    "app.css": CSS,
    "icon.svg": IMAGE,
    "main.js": SCRIPT,
    "lib/api.js": SCRIPT,
    "lib/chart.js": SCRIPT,
    "lib/dom.js": SCRIPT,
    "lib/format.js": SCRIPT,
    "lib/parts.js": SCRIPT,
    "lib/series.js": SCRIPT,
    "lib/store.js": SCRIPT,
    "pages/endpoint.js": SCRIPT,
    "pages/endpoints.js": SCRIPT,
    "pages/events.js": SCRIPT,
    "pages/keys.js": SCRIPT,
    "pages/login.js": SCRIPT,
    "pages/node.js": SCRIPT,
    "pages/nodes.js": SCRIPT,
    "pages/overview.js": SCRIPT,
    "pages/playground.js": SCRIPT,
    "pages/request.js": SCRIPT,
    "pages/requests.js": SCRIPT,
    "pages/spec.js": SCRIPT,
    "pages/topology.js": SCRIPT,
};

/// One file, ready to be sent.
#[derive(Debug)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    plain: &'static str,
    gzip: Bytes,
    /// By which a browser asks whether it has it already.
    tag: HeaderValue,
}

/// Compressed when the first is asked for.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| SOURCES.iter().map(Asset::new).collect());

impl Asset {
    fn new(&(path, kind, plain): &(&'static str, &'static str, &'static str)) -> Self {
        let mut hasher = DefaultHasher::new();
        plain.hash(&mut hasher);
        let tag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()));
        let tag = tag.unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Self { path, kind, plain, gzip: gzip(plain), tag }
    }

    /// As the browser wants it: perhaps it has it already, or can unpack it.
    fn response(&self, request: &HeaderMap) -> Response {
        let has = |name: HeaderName, word: &str| {
            request.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(word))
        };
        let tag = self.tag.to_str().unwrap_or_default();
        let fixed = [
            (header::CONTENT_TYPE, self.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::VARY, "accept-encoding"),
            // The next version of the program has other files under the same names.
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, tag),
        ];
        if has(header::IF_NONE_MATCH, tag) {
            (StatusCode::NOT_MODIFIED, fixed).into_response()
        } else if has(header::ACCEPT_ENCODING, "gzip") {
            (fixed, [(header::CONTENT_ENCODING, "gzip")], self.gzip.clone()).into_response()
        } else {
            (fixed, self.plain).into_response()
        }
    }
}

fn gzip(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(text.as_bytes());
    encoder.finish().unwrap_or_default().into()
}

pub(super) async fn index(headers: HeaderMap) -> Response {
    find("index.html", &headers)
}

pub(super) async fn file(Path(path): Path<String>, headers: HeaderMap) -> Response {
    find(&path, &headers)
}

fn find(path: &str, headers: &HeaderMap) -> Response {
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    asset.map_or_else(|| (StatusCode::NOT_FOUND, "no such file\n").into_response(), |asset| asset.response(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of all files together, as they are sent.
    const BUNDLE_MAX: usize = 120 << 10;

    #[test]
    fn all_files_together_are_small() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.gzip.len()).sum();
        assert!(bytes < BUNDLE_MAX, "{bytes} bytes");
    }

    #[test]
    fn every_source_in_the_tree_is_served() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ui");
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    dirs.push(entry);
                } else {
                    let path = entry.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    assert!(SOURCES.iter().any(|(served, ..)| *served == path), "{path} is not in SOURCES");
                }
            }
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere_and_nothing_foreign_becomes_markup() {
        for (path, kind, text) in SOURCES {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
                assert!(!text.contains(word), "{path} has {word}");
            }
            let foreign = text.match_indices("http").filter(|(at, _)| {
                let rest = &text[*at..];
                (rest.starts_with("http://") || rest.starts_with("https://")) && !rest.starts_with("http://www.w3.org/")
            });
            assert!(*kind == SCRIPT || foreign.count() == 0, "{path}");
            assert!(!text.contains(" style=") && !text.contains("<style"), "{path} has a style of its own");
        }
    }

    #[test]
    fn a_browser_gets_a_file_once_and_packed() {
        let ask = |name: HeaderName, value: &str| {
            find("main.js", &HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]))
        };
        let packed = ask(header::ACCEPT_ENCODING, "gzip, deflate");
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(packed.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        let tag = packed.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(ask(header::IF_NONE_MATCH, &tag).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(find("../Cargo.toml", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
