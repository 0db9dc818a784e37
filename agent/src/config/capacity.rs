//! Who is told that the mesh needs more capacity.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_types::HumanDuration;

/// Who is told that replicas find no place, so that it can rent some. shoal itself rents nothing.
///
/// What is missing is sent as JSON, one document a time: to the program's standard input, or as the body of a POST. Of the
/// nodes that are configured to tell, one does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct CapacityConfig {
    /// A program; it should end within 30 s, and with status 0.
    pub(crate) command: Option<CapacityCommand>,
    /// A URL; it should answer with a 2xx.
    pub(crate) webhook: Option<CapacityWebhook>,
    /// How long capacity must have been missing before anybody is told.
    pub(crate) after: HumanDuration,
    /// Least time between two requests for the same endpoint.
    pub(crate) interval: HumanDuration,
}

impl Default for CapacityConfig {
    fn default() -> Self {
        Self {
            command: None,
            webhook: None,
            after: HumanDuration::from_secs(30),
            interval: HumanDuration::from_secs(5 * 60),
        }
    }
}

impl CapacityConfig {
    /// Whether anybody is to be told.
    pub(crate) const fn is_set(&self) -> bool {
        self.command.is_some() || self.webhook.is_some()
    }
}

/// A program that is told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CapacityCommand {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    #[serde(default)]
    pub(crate) args: Vec<String>,
}

/// A URL that is told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CapacityWebhook {
    /// `https://`, or `http://` on a network that can be trusted.
    pub(crate) url: String,
    /// File with a bearer token to send along.
    #[serde(default)]
    pub(crate) token_file: Option<PathBuf>,
}
