//! Why there is no configuration.

use std::path::PathBuf;

use shoal_types::SpecError;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file that was named cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not right.
    #[error("the configuration {path} is not right: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: SpecError,
    },
    /// The file has more than one document.
    #[error("the configuration {0} has more than one YAML document; put everything into one")]
    SeveralDocuments(PathBuf),
    /// A value that cannot work.
    #[error("configuration: {field}: {message}")]
    Value {
        /// Which.
        field: &'static str,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A label given by flag or environment cannot be what it should.
    #[error("label {key}: {message}")]
    Label {
        /// Which.
        key: String,
        /// What is wrong.
        message: String,
    },
}
