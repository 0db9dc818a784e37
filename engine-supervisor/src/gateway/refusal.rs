//! Why a node does not stand for a service.

use super::{GatewayUrl, KeyError, UrlError};

/// Each is a sentence for the one who wrote the spec or the node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayRefusal {
    /// The spec's URL, or one made of it and a path of the spec, is none.
    #[error("`{url}` of the engine is not a URL that shoal asks: {source}")]
    Url {
        /// What the spec has.
        url: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// shoal adds that itself.
    #[error("the engine's URL `{0}` ends with `/v1`: leave that out, shoal adds it to what it asks for")]
    Version(GatewayUrl),
    /// Not on the node's list.
    #[error("this node does not allow the URL `{0}`; its configuration can (`engines.gateway.allow`)")]
    NotAllowed(GatewayUrl),
    /// There is no such key here.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// GPUs would be held for nothing.
    #[error("a gateway runs nothing on this node and takes no GPUs; set `resources.gpus` to 0")]
    Gpus,
}
