//! Who is told of single requests.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_types::MemorySize;

use super::ConfigError;

/// Where each request of a client leaves a line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AccessLogConfig {
    /// A file; without it standard output.
    pub(crate) file: Option<PathBuf>,
    /// Largest size of the file. Then it becomes `.1`, in place of the one before.
    pub(crate) max_size: MemorySize,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { file: None, max_size: MemorySize::from_bytes(64 << 20) }
    }
}

/// Where traces go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TelemetryConfig {
    /// A collector of OpenTelemetry; without it nothing is traced here.
    pub(crate) otlp: Option<OtlpConfig>,
}

/// A collector of OpenTelemetry.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OtlpConfig {
    /// Its URL for OTLP over HTTP, without `/v1/traces`, such as http://127.0.0.1:4318.
    pub(crate) endpoint: String,
    /// Share of the requests that are traced, of those whose client says nothing about it, from 0 to 1. What the client says
    /// in `traceparent` goes before.
    #[serde(default)]
    pub(crate) sample_ratio: f64,
}

impl OtlpConfig {
    /// Whether it can be used.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field, message: String| Err(ConfigError::Value { field, message });
        let Self { endpoint, sample_ratio } = self;
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return wrong("telemetry.otlp.endpoint", format!("`{endpoint}` does not start with https:// or http://"));
        }
        if !(0.0..=1.0).contains(sample_ratio) {
            return wrong("telemetry.otlp.sampleRatio", format!("{sample_ratio} is not between 0 and 1"));
        }
        Ok(())
    }
}
