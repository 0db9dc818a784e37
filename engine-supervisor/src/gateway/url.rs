//! URLs that can be read in one way only, so that what is allowed is what is asked.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// Longest host name, in bytes (RFC 1035 section 2.3.4).
const HOST_MAX: usize = 253;

/// An `http` or `https` URL: host, port and a plain path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayUrl {
    tls: bool,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    /// Empty, or segments each after a `/`.
    path: String,
}

/// Why a text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("it must start with `http://` or `https://`")]
    Scheme,
    /// Credentials in the URL.
    #[error("it holds a user or a password; keys are files on the node")]
    UserInfo,
    /// No host, or none that can be looked up.
    #[error("`{0}` is not a host name or an address")]
    Host(String),
    /// Not a TCP port.
    #[error("`{0}` is not a port")]
    Port(String),
    /// A part of the path that servers do not agree on.
    #[error("`{0}` cannot be a part of its path: only letters, digits and `-._~:` can, and not `.` or `..` alone")]
    Segment(String),
}

impl GatewayUrl {
    /// The URL of `path` on the same host; it starts with a `/`.
    ///
    /// # Errors
    /// If it is not a plain path.
    pub(crate) fn at(&self, path: &str) -> Result<Self, UrlError> {
        let path = path.strip_prefix('/').ok_or_else(|| UrlError::Segment(path.to_owned()))?;
        Ok(Self { path: plain_path(path)?, ..self.clone() })
    }

    /// The URL of `path`, which starts with a `/` and is plain, below this one.
    pub(crate) fn below(&self, path: &'static str) -> Self {
        Self { path: format!("{}{path}", self.path), ..self.clone() }
    }

    /// Whether `other` is this one, or below it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let below = other.path.strip_prefix(&self.path);
        self.is_same_origin(other) && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    pub(crate) fn is_same_origin(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    pub(crate) const fn tls(&self) -> bool {
        self.tls
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for GatewayUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(UrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = split_port(authority);
        let port = port.map_or(Ok(if tls { 443 } else { 80 }), parse_port)?;
        Ok(Self { tls, host: parse_host(host)?, port, path: plain_path(path)? })
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port, path } = self;
        let (scheme, implied) = if *tls { ("https", 443) } else { ("http", 80) };
        if *port == implied {
            write!(f, "{scheme}://{host}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

/// Host and port of an authority; the colons of an IPv6 address are within brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn parse_port(port: &str) -> Result<u16, UrlError> {
    // `parse` alone would take a sign.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|port| digits && *port != 0);
    number.ok_or_else(|| UrlError::Port(port.to_owned()))
}

fn parse_host(host: &str) -> Result<String, UrlError> {
    let error = || UrlError::Host(host.to_owned());
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']').and_then(|text| text.parse().ok()).ok_or_else(error)?;
        return Ok(format!("[{address}]"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let valid = !host.is_empty() && host.len() <= HOST_MAX && host.bytes().all(plain) && !host.contains("..");
    if valid && !host.starts_with(['.', '-']) { Ok(host.to_ascii_lowercase()) } else { Err(error()) }
}

/// `path`, which has lost its first `/`, with it and without a last one.
fn plain_path(path: &str) -> Result<String, UrlError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(String::new());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    match path.split('/').find(|part| matches!(*part, "" | "." | "..") || !part.bytes().all(plain)) {
        None => Ok(format!("/{path}")),
        Some(part) => Err(UrlError::Segment(part.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> GatewayUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_is_scheme_host_port_and_path() {
        for (text, shown) in [
            ("https://API.example.com", "https://api.example.com"),
            ("https://api.example.com:443/", "https://api.example.com"),
            ("http://10.0.0.1:8000/openai/", "http://10.0.0.1:8000/openai"),
            ("http://[0:0::1]:80/a/b", "http://[::1]/a/b"),
            ("http://[::1]", "http://[::1]"),
            ("https://my_stack.svc.cluster.local/v1beta/x-y~z:w", "https://my_stack.svc.cluster.local/v1beta/x-y~z:w"),
        ] {
            assert_eq!(url(text).to_string(), shown);
        }
        assert_eq!((url("https://a").port(), url("http://a").port(), url("http://a:1").port()), (443, 80, 1));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let error = |text: &str| text.parse::<GatewayUrl>().unwrap_err();
        for text in ["", "api.example.com", "ftp://a", "HTTPS://a", "https:/a", "file:///etc/passwd", "//a"] {
            assert_eq!(error(text), UrlError::Scheme, "{text}");
        }
        assert_eq!(error("https://user:password@a/"), UrlError::UserInfo);
        for text in [
            "https://",
            "https:///x",
            "https://a?b",
            "https://a#b",
            "https://a\\b",
            "https://[::1",
            "https://a b",
            "https://.a",
            "https://a..b",
            "https://[fe80::1%25eth0]",
            "https://ä.example",
        ] {
            assert!(matches!(error(text), UrlError::Host(_)), "{text}: {}", error(text));
        }
        for text in ["https://a:", "https://a:0", "https://a:+1", "https://a:65536", "https://a:x"] {
            assert!(matches!(error(text), UrlError::Port(_)), "{text}: {}", error(text));
        }
        for text in [
            "https://a/../b",
            "https://a/./b",
            "https://a//b",
            "https://a/%2e%2e/b",
            "https://a/b?c",
            "https://a/b#c",
            "https://a/b\\c",
            "https://a/b c",
            "https://a/b\r\nx: y",
        ] {
            assert!(matches!(error(text), UrlError::Segment(_)), "{text}: {}", error(text));
        }
    }

    #[test]
    fn a_url_covers_itself_and_what_is_below_it() {
        let allowed = url("https://a.example/team/x");
        for inside in
            ["https://a.example/team/x", "https://A.example:443/team/x/", "https://a.example/team/x/v1/models"]
        {
            assert!(allowed.covers(&url(inside)), "{inside}");
        }
        for outside in [
            "http://a.example/team/x",
            "https://a.example:444/team/x",
            "https://a.example.org/team/x",
            "https://b.a.example/team/x",
            "https://a.example/team",
            "https://a.example/team/xy",
            "https://a.example/Team/x",
        ] {
            assert!(!allowed.covers(&url(outside)), "{outside}");
        }
        assert!(url("https://a.example").covers(&allowed));
    }

    #[test]
    fn other_paths_of_the_host_are_plain_too() {
        let base = url("https://a/openai");
        assert_eq!(base.at("/metrics").unwrap(), url("https://a/metrics"));
        assert_eq!(base.below("/v1/models"), url("https://a/openai/v1/models"));
        for path in ["metrics", "", "/../x", "/a?b", "//a"] {
            assert!(base.at(path).is_err(), "{path}");
        }
    }

    proptest! {
        /// What is shown is what is asked: a URL is read as it is written, or not at all.
        #[test]
        fn a_url_means_what_it_shows(text in "https?://[-a-zA-Z0-9.:@\\[\\]/%?#\\\\_~ ]{0,40}") {
            if let Ok(url) = text.parse::<GatewayUrl>() {
                prop_assert_eq!(&url.to_string().parse::<GatewayUrl>().unwrap(), &url);
                let standard: http::Uri = url.to_string().parse().unwrap();
                prop_assert_eq!(standard.host(), Some(url.host()));
                let implied = if url.tls() { 443 } else { 80 };
                prop_assert_eq!(standard.port_u16().unwrap_or(implied), url.port());
                prop_assert_eq!(standard.path().trim_end_matches('/'), url.path());
            }
        }
    }
}
