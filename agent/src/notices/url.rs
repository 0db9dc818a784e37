//! Where a metadata service is.

use std::{fmt, str::FromStr};

use http::{Uri, uri::Scheme};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// AWS, GCP and Azure all serve metadata here. By address, since a name could be answered by anybody's resolver.
const LINK_LOCAL: &str = "169.254.169.254";

/// Base URL of a metadata service: plain HTTP, since none has a certificate.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub(crate) struct MetadataUrl {
    /// Host, with a port if it is not 80.
    authority: String,
    /// Before every path; empty or `/…`, without a slash at its end.
    prefix: String,
}

/// Why a text is no such URL.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the base URL of a metadata service: write it like `http://169.254.169.254`, without a query")]
pub(crate) struct ParseUrlError(String);

impl MetadataUrl {
    /// The value of a `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What to connect to: host and port.
    pub(super) fn address(&self) -> String {
        let has_port = self.authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
        if has_port { self.authority.clone() } else { format!("{}:80", self.authority) }
    }

    /// The request target of `path` below this URL.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl Default for MetadataUrl {
    fn default() -> Self {
        Self { authority: LINK_LOCAL.to_owned(), prefix: String::new() }
    }
}

impl fmt::Display for MetadataUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

impl FromStr for MetadataUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseUrlError> {
        let error = || ParseUrlError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| error())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(error)?;
        if uri.scheme() != Some(&Scheme::HTTP) || authority.host().is_empty() || uri.query().is_some() {
            return Err(error());
        }
        Ok(Self { authority: authority.to_string(), prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl Serialize for MetadataUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MetadataUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_without_query_is_a_base() {
        for (text, address, target) in [
            ("http://169.254.169.254", "169.254.169.254:80", "/x"),
            ("http://127.0.0.1:8099/", "127.0.0.1:8099", "/x"),
            ("http://[fd00:ec2::254]/a/b/", "[fd00:ec2::254]:80", "/a/b/x"),
            ("http://[::1]:81", "[::1]:81", "/x"),
        ] {
            let url: MetadataUrl = text.parse().unwrap();
            assert_eq!((url.address().as_str(), url.target("/x").as_str()), (address, target), "{text}");
            assert_eq!(url.to_string().parse::<MetadataUrl>().unwrap(), url);
        }
        for text in ["", "169.254.169.254", "https://a", "http://a?b=c", "http://u:p@a", "/a", "http://"] {
            assert!(text.parse::<MetadataUrl>().is_err(), "{text}");
        }
    }
}
