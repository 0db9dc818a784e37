//! What the node's configuration says about gateways.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_rustls::rustls::ClientConfig;

use super::GatewayUrl;

/// Which services specs may name, and how they are asked.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Nothing outside of these is asked for anything: same scheme, host and port, and a path that is one of these or
    /// below it.
    pub allow: Vec<GatewayUrl>,
    /// Directory of the files with keys; without it no spec can name one.
    pub key_directory: Option<PathBuf>,
    /// Whose certificates count.
    pub tls: Arc<ClientConfig>,
    /// Intervals and deadlines.
    pub timings: GatewayTimings,
}

/// Intervals and deadlines of looking after a service.
#[derive(Debug, Clone)]
pub struct GatewayTimings {
    /// Between two checks of a service that is well.
    pub interval: Duration,
    /// For each answer, connecting included.
    pub deadline: Duration,
    /// So many checks missed in a row, and a service that was ready is not.
    pub misses: u32,
    /// Longest time between two checks of one that is not ready; it doubles up to that.
    pub backoff_max: Duration,
}

impl Default for GatewayTimings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            deadline: Duration::from_secs(5),
            misses: 3,
            backoff_max: Duration::from_secs(60),
        }
    }
}
