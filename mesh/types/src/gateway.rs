//! Services that shoal routes to and does not run.

use std::{fmt, sync::Arc};

use crate::EngineAddress;

/// What answers for a replica of this node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Backend {
    /// An engine that runs here.
    Engine(EngineAddress),
    /// A service that runs elsewhere, outside of shoal.
    Gateway(Arc<GatewayTarget>),
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(address) => address.fmt(f),
            Self::Gateway(target) => target.fmt(f),
        }
    }
}

/// Where a gateway's service is and how it is asked. The URL of the spec, taken apart, and the key of its file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GatewayTarget {
    /// Whether it is asked over TLS.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What comes before `/v1/…`: empty, or a path that starts with `/` and does not end with one.
    pub base: String,
    /// What goes into `Authorization: Bearer`, if anything.
    pub key: Option<String>,
    /// What the service calls the model.
    pub model: String,
}

impl fmt::Display for GatewayTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.base)
    }
}

/// Without the key: this may be logged.
impl fmt::Debug for GatewayTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayTarget({self}, model {}, {})", self.model, if self.key.is_some() { "key" } else { "no key" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let target = GatewayTarget {
            tls: true,
            host: "api.example.com".to_owned(),
            port: 443,
            base: "/openai".to_owned(),
            key: Some("sk-secret".to_owned()),
            model: "m".to_owned(),
        };
        assert_eq!(target.to_string(), "https://api.example.com:443/openai");
        assert!(!format!("{target:?}").contains("secret"));
    }
}
