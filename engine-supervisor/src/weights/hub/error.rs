//! Why the hub does not give a model.

use std::path::PathBuf;

/// Why the hub does not give a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// No answer, or half of one.
    #[error("the hub {hub} cannot be reached for `{model}`: {reason}")]
    Unreachable {
        /// Its URL.
        hub: String,
        /// What was asked for.
        model: String,
        /// Why not.
        reason: String,
    },
    /// It wants to know who asks, or does not like who does. Hugging Face says the same of what does not exist.
    #[error("the hub {hub} does not give `{model}` {}: check its name, and that the token may read it", whose(*.token))]
    Denied {
        /// Its URL.
        hub: String,
        /// What was asked for.
        model: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// It has no such thing.
    #[error("the hub {hub} has no `{model}` at revision `{revision}`")]
    NotFound {
        /// Its URL.
        hub: String,
        /// What was asked for.
        model: String,
        /// At which revision.
        revision: String,
    },
    /// It answers with an error.
    #[error("the hub {hub} answers {status} for `{model}`")]
    Status {
        /// Its URL.
        hub: String,
        /// What was asked for.
        model: String,
        /// Its answer.
        status: u16,
    },
    /// What it says of a model makes no sense.
    #[error("the hub {hub} lists `{model}` in a way that is not understood: {reason}")]
    List {
        /// Its URL.
        hub: String,
        /// What was asked for.
        model: String,
        /// What is wrong.
        reason: String,
    },
    /// The token cannot be read.
    #[error("cannot read the token file {path} (`weights.hub.tokenFile`): {reason}", path = .path.display())]
    Token {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

const fn whose(token: bool) -> &'static str {
    if token { "to the owner of this node's token" } else { "without a token (`weights.hub.tokenFile`)" }
}

impl HubError {
    /// Whether asking again may help.
    pub(in crate::weights) const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429 || *status == 408,
            Self::Denied { .. } | Self::NotFound { .. } | Self::List { .. } | Self::Token { .. } => false,
        }
    }
}
